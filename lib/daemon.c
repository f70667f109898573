#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "kv.h"
#include "priv.h"
#include "span.h"

/* nobody: syslog's socket is open by then, and nothing else is needed. */
#define LOGGER_UID 65534
#define LOGGER_BUFFER (KV_LINE_CAP + 256u)
#define LOGGER_PAUSE_MIN_MS 200
#define LOGGER_PAUSE_MAX_MS 30000

#define PID_FILE_TRIES 10

static int ready_pipe = -1;

/* Open and lock.  ERR_AGAIN: its last owner took the file away between our open and our lock; it has no name any more, and would keep
 * nobody out. */
static int open_locked(const char *path, int *fd_out, struct reason *why)
{
	struct stat ours, named;
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
	if (fstat(fd, &ours) != 0 || stat(path, &named) != 0 || ours.st_ino != named.st_ino || ours.st_dev != named.st_dev) {
		(void)close(fd);
		return reason_set(why, ERR_AGAIN, "pid file %s: others take it away as fast as we make it", path);
	}
	*fd_out = fd;
	return 0;
}

int daemon_pid_file_take(const char *path, int *fd_out, struct reason *why)
{
	int err = ERR_AGAIN;
	for (int tries = 0; err == ERR_AGAIN && tries < PID_FILE_TRIES; tries++)
		err = open_locked(path, fd_out, why);
	if (err)
		return err;
	(void)fchmod(*fd_out, 0644);
	err = daemon_pid_file_write(*fd_out, why);
	return err ? reason_prefix(why, err, "%s", path) : 0;
}

int daemon_pid_file_write(int fd, struct reason *why)
{
	char text[32];
	int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
	errno = ENOSPC; /* what a short write means */
	if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)len, 0) != len)
		return reason_set(why, err_from_errno(errno), "the pid cannot be written: %s", strerror(errno));
	return 0;
}

void daemon_pid_file_remove(const char *path, int fd)
{
	/* Unlinked while the lock is held: nobody else's file can be hit. */
	(void)unlink(path);
	(void)close(fd);
}

void daemon_leave_terminal(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null >= 0) {
		(void)dup2(null, STDIN_FILENO);
		(void)dup2(null, STDOUT_FILENO);
		if (null > STDOUT_FILENO)
			(void)close(null);
	}
	/* Fails only for the leader of a group, which a child just forked is not. */
	(void)setsid();
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
	daemon_leave_terminal();
	if (chdir("/") != 0)
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
		daemon_leave_terminal();
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
static void log_line(char *line)
{
	int priority = LOG_NOTICE;
	if (line[0] == '<' && line[1] >= '0' && line[1] <= '7' && line[2] == '>') {
		priority = line[1] - '0';
		line += 3;
	}
	syslog(priority, "%s", line);
}

/* Hands on the whole lines and moves the rest to the front; returns its length. */
static size_t log_lines(char *text, size_t len)
{
	char *line = text, *end;
	while ((end = memchr(line, '\n', (size_t)(text + len - line)))) {
		*end = '\0';
		log_line(line);
		line = end + 1;
	}
	len = (size_t)(text + len - line);
	memmove(text, line, len);
	return len;
}

static volatile sig_atomic_t is_orphan;

static void become_orphan(int signum)
{
	(void)signum;
	is_orphan = 1;
}

/* Until the pipe ends, or the parent: then its successor reads on, and what we have read is still handed on. */
static void copy_to_syslog(const char *ident)
{
	static char text[LOGGER_BUFFER + 1];
	size_t len = 0;
	ssize_t n;
	openlog(ident, LOG_NDELAY, LOG_MAIL);
	while (!is_orphan && (n = read(STDIN_FILENO, text + len, LOGGER_BUFFER - len)) > 0) {
		len = log_lines(text, len + (size_t)n);
		if (len == LOGGER_BUFFER) {
			text[len] = '\0';
			log_line(text);
			len = 0;
		}
	}
}

/* Until the pipe has ended: true.  False: the child died before. */
static bool run_child(const char *ident)
{
	pid_t parent = getpid(), pid = fork();
	if (pid == 0) {
		const struct sigaction action = { .sa_handler = become_orphan }; /* without SA_RESTART: it ends the read */
		(void)sigaction(SIGUSR1, &action, NULL);
		(void)prctl(PR_SET_PDEATHSIG, SIGUSR1, 0, 0, 0);
		if (getppid() == parent)
			copy_to_syslog(ident);
		_exit(0);
	}
	int status = 1;
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0;
}

int daemon_logger_run(const char *ident)
{
	static const int ignored[] = { SIGTERM, SIGINT, SIGHUP, SIGQUIT };
	struct priv_plan plan = { .user = { LOGGER_UID, LOGGER_UID } };
	long pause_ms = LOGGER_PAUSE_MIN_MS;
	(void)prctl(PR_SET_NAME, "postern-logger", 0, 0, 0);
	/* Who stops everything at once means the others; their last words are worth waiting for. */
	for (size_t i = 0; i < sizeof ignored / sizeof ignored[0]; i++)
		(void)signal(ignored[i], SIG_IGN);
	/* Once as root, in case its socket is not for everyone; the children use it as it is. */
	openlog(ident, LOG_NDELAY, LOG_MAIL);
	if (priv_drop(&plan, NULL) != 0)
		return 1;
	while (!run_child(ident)) {
		const struct timespec pause = { pause_ms / 1000, pause_ms % 1000 * 1000000 };
		(void)nanosleep(&pause, NULL);
		pause_ms = pause_ms * 2 > LOGGER_PAUSE_MAX_MS ? LOGGER_PAUSE_MAX_MS : pause_ms * 2;
	}
	return 0;
}
