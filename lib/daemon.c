#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "kv.h"
#include "priv.h"
#include "span.h"

/* nobody: syslog's socket is open by then, and nothing else is needed. */
#define LOGGER_UID 65534

static int ready_pipe = -1;

int daemon_pid_file_take(const char *path, int *fd_out, struct reason *why)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "pid file %s: %s", path, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		char pid[32] = "";
		ssize_t n = read(fd, pid, sizeof pid - 1);
		if (n > 0)
			pid[strcspn(pid, "\n")] = '\0';
		(void)close(fd);
		return reason_set(why, ERR_BUSY, "already running with pid %s (pid file %s)", pid[0] ? pid : "?", path);
	}
	struct stat ours, named;
	if (fstat(fd, &ours) != 0 || stat(path, &named) != 0 || ours.st_ino != named.st_ino || ours.st_dev != named.st_dev) {
		/* Its last owner took it away between our open and our lock: this file has no name any more, and would keep nobody out. */
		(void)close(fd);
		return reason_set(why, ERR_BUSY, "pid file %s: another one is just ending, start again", path);
	}
	(void)fchmod(fd, 0644);
	*fd_out = fd;
	return daemon_pid_file_write(fd);
}

int daemon_pid_file_write(int fd)
{
	char text[32];
	int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
		return err_from_errno(errno);
	return 0;
}

void daemon_pid_file_remove(const char *path, int fd)
{
	/* Unlinked while the lock is held: nobody else's file can be hit. */
	(void)unlink(path);
	(void)close(fd);
}

int daemon_detach(struct reason *why)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return reason_set(why, err_from_errno(errno), "pipe: %s", strerror(errno));
	pid_t pid = fork();
	if (pid < 0)
		return reason_set(why, err_from_errno(errno), "fork: %s", strerror(errno));
	if (pid > 0) {
		char byte;
		ssize_t n;
		(void)close(fds[1]);
		do
			n = read(fds[0], &byte, 1);
		while (n < 0 && errno == EINTR);
		_exit(n == 1 ? 0 : 1);
	}
	(void)close(fds[0]);
	ready_pipe = fds[1];
	/* Now, not when all is ready: the roles inherit these, and who waits for the end of our output would wait for theirs. */
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
		(void)close(null);
	}
	if (setsid() < 0 || chdir("/") != 0)
		return reason_set(why, err_from_errno(errno), "detaching: %s", strerror(errno));
	return 0;
}

void daemon_detached(void)
{
	if (ready_pipe < 0)
		return;
	ssize_t n = write(ready_pipe, "", 1);
	(void)n;
	(void)close(ready_pipe);
	ready_pipe = -1;
}

int daemon_logger_start(const char *ident, int *pipe_fd, int *pid_out, struct reason *why)
{
	if (*pipe_fd < 0) {
		int fds[2];
		if (pipe2(fds, O_CLOEXEC) != 0)
			return reason_set(why, err_from_errno(errno), "pipe: %s", strerror(errno));
		/* Writers drop lines rather than wait for syslog; a full pipe holds 64 KiB of them. */
		(void)fcntl(fds[1], F_SETFL, O_NONBLOCK);
		if (dup2(fds[1], STDERR_FILENO) < 0)
			return reason_set(why, err_from_errno(errno), "dup2: %s", strerror(errno));
		(void)close(fds[1]);
		*pipe_fd = fds[0];
	}
	pid_t pid = fork();
	if (pid < 0)
		return reason_set(why, err_from_errno(errno), "fork: %s", strerror(errno));
	if (pid == 0) {
		char *argv[] = { (char *)(uintptr_t)ident, (char *)(uintptr_t)LOGGER_ROLE_ARG, NULL };
		char *envp[] = { NULL };
		(void)dup2(*pipe_fd, STDIN_FILENO);
		/* Its own end must not keep the pipe open, or it would never see the end. */
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (null >= 0)
			(void)dup2(null, STDERR_FILENO);
		(void)execve("/proc/self/exe", argv, envp);
		_exit(1);
	}
	*pid_out = (int)pid;
	return 0;
}

/* "<4>tag[1]: text": the priority and what follows it. */
static int split_priority(char **text)
{
	char *line = *text;
	if (line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>') {
		*text = line + 3;
		return line[1] - '0';
	}
	return LOG_NOTICE;
}

int daemon_logger_run(const char *ident)
{
	char line[KV_LINE_CAP + 256];
	struct priv_plan plan = { .user = { LOGGER_UID, LOGGER_UID } };
	(void)prctl(PR_SET_NAME, "postern-logger", 0, 0, 0);
	/* The group gets SIGTERM too when somebody stops the whole session; the last words of the others are worth waiting for. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	openlog(ident, LOG_NDELAY, LOG_MAIL);
	if (priv_drop(&plan, NULL) != 0)
		return 1;
	FILE *in = fdopen(STDIN_FILENO, "r");
	while (in && fgets(line, sizeof line, in)) {
		char *text = line;
		line[strcspn(line, "\n")] = '\0';
		int priority = split_priority(&text);
		syslog(priority, "%s", text);
	}
	return 0;
}
