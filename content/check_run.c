#include "check_run.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "span.h"

#define OUTPUT_CAP 1024u
#define HEAR_BYTES 4096u
#define FILES_MAX 1024u
#define PROCESSES_MAX 2048u /* of its user: a fork bomb stops there */

struct check_run {
	struct loop *loop;
	check_run_fn done;
	void *ctx;
	pid_t pid; /* 0: it is over */
	uint64_t begin_ms;
	struct loop_timer *timer;
	bool is_timed_out;
	int output_fd, failure_fd; /* failure_fd: errno of an execve() that failed */
	struct loop_io *output_io;
	size_t output_len;
	char output[OUTPUT_CAP];
};

/* ---- the child */

static void limit(int resource, uint64_t value)
{
	struct rlimit both;
	/* The hard limit may be lower already. */
	if (getrlimit((__rlimit_resource_t)resource, &both) == 0 && (both.rlim_max == RLIM_INFINITY || both.rlim_max > value)) {
		both.rlim_cur = both.rlim_max = (rlim_t)value;
		(void)setrlimit((__rlimit_resource_t)resource, &both);
	}
}

static void default_signals(void)
{
	const struct sigaction preset = { .sa_handler = SIG_DFL };
	sigset_t none;
	for (int signum = 1; signum < NSIG; signum++)
		(void)sigaction(signum, &preset, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Another thread may hold any lock at the fork: nothing but system calls from here on. */
static void become_command(const struct check_run_options *options, char *const environment[], int output_fd, int failure_fd)
{
	default_signals();
	/* Should the checker die, nobody would watch its time any more. */
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	(void)setsid();
	limit(RLIMIT_CORE, 0);
	limit(RLIMIT_NOFILE, FILES_MAX);
	limit(RLIMIT_NPROC, PROCESSES_MAX);
	limit(RLIMIT_FSIZE, options->file_bytes);
	/* A role's descriptor 0 leads to /dev/null, which a chroot need not have. */
	if (dup2(output_fd, STDOUT_FILENO) >= 0 && dup2(output_fd, STDERR_FILENO) >= 0)
		(void)execve(options->words[0], options->words, environment);
	const int errnum = errno;
	ssize_t n = write(failure_fd, &errnum, sizeof errnum);
	(void)n;
	_exit(127);
}

/* ---- what it says */

static void hear(void *ctx, unsigned events)
{
	struct check_run *r = ctx;
	char bytes[HEAR_BYTES];
	(void)events;
	ssize_t n = read(r->output_fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_io_destroy(&r->output_io);
		return;
	}
	/* The rest is read too: nobody is to wait for room in a pipe. */
	size_t room = OUTPUT_CAP - r->output_len;
	size_t len = (size_t)n < room ? (size_t)n : room;
	memcpy(r->output + r->output_len, bytes, len);
	r->output_len += len;
}

static void first_line(const struct check_run *r, char out[CHECK_SAID_CAP])
{
	struct span rest = { r->output, r->output_len }, line = SPAN_NONE;
	while (line.len == 0 && span_cut(&rest, '\n', &line))
		line = span_trim(line);
	/* ERR_TOOLONG for a NUL in it: then it is no text that anybody could read. */
	if (span_to_cstr(span_sub(line, 0, CHECK_SAID_CAP - 1), out, CHECK_SAID_CAP) != 0)
		out[0] = '\0';
}

/* ---- its life */

static void kill_session(const struct check_run *r)
{
	/* The leader may not have come to setsid() yet. */
	if (kill(-r->pid, SIGKILL) != 0)
		(void)kill(r->pid, SIGKILL);
}

static void time_is_up(void *ctx)
{
	struct check_run *r = ctx;
	r->is_timed_out = true;
	kill_session(r);
}

static int spawn(struct check_run *r, const struct check_run_options *options, int output_fd, int failure_fd)
{
	char tmp_dir[300];
	char *const environment[] = { (char *)(uintptr_t)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
				      (char *)(uintptr_t)"LC_ALL=C", tmp_dir, NULL };
	(void)snprintf(tmp_dir, sizeof tmp_dir, "TMPDIR=%s", options->tmp_dir);
	r->pid = fork();
	if (r->pid == 0)
		become_command(options, environment, output_fd, failure_fd);
	return r->pid < 0 ? err_from_errno(errno) : 0;
}

static int system_says(struct reason *why)
{
	const int errnum = errno;
	return reason_set(why, err_from_errno(errnum), "no process can be started: %s", strerror(errnum));
}

static int start(struct check_run *r, const struct check_run_options *options, struct reason *why)
{
	int output[2], failure[2];
	if (pipe2(output, O_CLOEXEC) != 0)
		return system_says(why);
	r->output_fd = output[0];
	if (pipe2(failure, O_CLOEXEC) != 0) {
		int failed = system_says(why);
		(void)close(output[1]);
		return failed;
	}
	r->failure_fd = failure[0];
	(void)fcntl(r->output_fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(r->failure_fd, F_SETFL, O_NONBLOCK);
	int err = loop_io_create(r->loop, r->output_fd, hear, r, &r->output_io);
	if (!err)
		err = loop_io_want(r->output_io, LOOP_READ);
	if (!err)
		err = loop_timer_create(r->loop, time_is_up, r, &r->timer);
	if (err)
		reason_set(why, err, "no process can be watched (%s)", err_name(err));
	else if (spawn(r, options, output[1], failure[1]) != 0)
		err = system_says(why);
	(void)close(output[1]);
	(void)close(failure[1]);
	if (err)
		return err;
	r->begin_ms = loop_now_ms(r->loop);
	loop_timer_start(r->timer, options->timeout_ms);
	return 0;
}

int check_run_start(const struct check_run_options *options, check_run_fn done, void *ctx, struct check_run **out, struct reason *why)
{
	struct check_run *r = calloc(1, sizeof *r);
	if (!r)
		return reason_set(why, ERR_NOMEM, "no process can be started: out of memory");
	r->loop = options->loop;
	r->done = done;
	r->ctx = ctx;
	r->output_fd = r->failure_fd = -1;
	int err = start(r, options, why);
	if (err) {
		r->pid = 0;
		check_run_destroy(&r);
		return err;
	}
	*out = r;
	return 0;
}

pid_t check_run_pid(const struct check_run *r)
{
	return r->pid;
}

void check_run_exited(struct check_run *r, int status)
{
	struct check_exit exit = { .end = CHECK_EXITED, .ms = loop_now_ms(r->loop) - r->begin_ms };
	int errnum;
	kill_session(r);
	r->pid = 0;
	loop_timer_stop(r->timer);
	/* The news of its end may be quicker than its last words. */
	for (unsigned budget = OUTPUT_CAP / HEAR_BYTES + 1; r->output_io && budget > 0; budget--)
		hear(r, LOOP_READ);
	first_line(r, exit.said);
	if (read(r->failure_fd, &errnum, sizeof errnum) == (ssize_t)sizeof errnum) {
		exit.end = CHECK_NOT_STARTED;
		exit.code = errnum;
	} else if (r->is_timed_out) {
		exit.end = CHECK_TIMED_OUT;
	} else if (WIFEXITED(status)) {
		exit.code = WEXITSTATUS(status);
	} else {
		exit.end = CHECK_SIGNALED;
		exit.code = WTERMSIG(status);
	}
	r->done(r->ctx, &exit);
}

void check_run_destroy(struct check_run **run)
{
	struct check_run *r = *run;
	if (!r)
		return;
	*run = NULL;
	if (r->pid > 0)
		kill_session(r);
	loop_timer_destroy(&r->timer);
	loop_io_destroy(&r->output_io);
	if (r->output_fd >= 0)
		(void)close(r->output_fd);
	if (r->failure_fd >= 0)
		(void)close(r->failure_fd);
	free(r);
}
