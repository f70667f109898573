#include "sendmail_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "buf.h"
#include "smtp_dot.h"

#define WIRE_CHUNK 65536u
#define LONE_DOT_SCAN (256u << 10) /* longer bodies are not searched */
#define OUTPUT_CAP 1024u /* of what the program says */
#define HEAR_CHUNK 512u

struct sendmail_pipe {
	struct loop *loop;
	char program[256];
	uint64_t timeout_ms;
	struct attempt *attempt;
	sendmail_done_fn done;
	void *ctx;
	struct loop_task task;      /* the next call, or done */
	struct loop_timer *timer;

	/* one call */
	size_t first, past;         /* its recipients in attempt.todo */
	pid_t pid;
	int in_fd, out_fd;          /* our ends of its standard input and output */
	struct loop_io *in_io, *out_io;
	uint64_t wire_sent;
	struct smtp_undot undot;
	struct buf native;          /* not yet written */
	struct buf output;
	bool is_fed;                /* it has got everything */
	bool is_timed_out;
};

enum spool_outcome sendmail_outcome(int wait_status, bool *is_broken_out)
{
	*is_broken_out = false;
	if (!WIFEXITED(wait_status))
		return SPOOL_OUTCOME_DEFERRED;
	switch (WEXITSTATUS(wait_status)) {
	case EX_OK: return SPOOL_OUTCOME_DELIVERED;
	/* What smtpfwdd tried again; and what need not be the message's fault: msmtp says 69 where a server said 450, and 68 where the
	 * DNS did not answer.  But it may be, so it holds up no other. */
	case EX_NOHOST:
	case EX_UNAVAILABLE:
	case EX_OSERR:
	case EX_IOERR:
	case EX_TEMPFAIL:
	case EX_USAGE:
	case EX_SOFTWARE:
	case EX_CANTCREAT: return SPOOL_OUTCOME_DEFERRED;
	/* At 78, and when it could not run the program, smtpfwdd itself gave up.  126 and 127 are how a shell says the latter. */
	case EX_OSFILE:
	case EX_NOPERM:
	case EX_CONFIG:
	case 126:
	case 127: *is_broken_out = true; return SPOOL_OUTCOME_DEFERRED;
	default: return SPOOL_OUTCOME_FAILED;
	}
}

static void begin_call(void *ctx);

static void close_input(struct sendmail_pipe *p)
{
	loop_io_destroy(&p->in_io);
	if (p->in_fd >= 0)
		(void)close(p->in_fd);
	p->in_fd = -1;
}

static void close_call(struct sendmail_pipe *p)
{
	close_input(p);
	loop_io_destroy(&p->out_io);
	if (p->out_fd >= 0)
		(void)close(p->out_fd);
	p->out_fd = -1;
	loop_timer_stop(p->timer);
}

/* is_broken: nor would the calls for the other recipients do any better. */
static void settle_call(struct sendmail_pipe *p, enum spool_outcome outcome, bool is_broken, struct span text)
{
	if (is_broken)
		p->past = p->attempt->todo_count;
	p->attempt->is_our_fault = is_broken;
	for (size_t i = p->first; i < p->past; i++)
		attempt_settle(p->attempt, i, outcome, 0, text);
	p->first = p->past;
	loop_task_post(p->loop, &p->task);
}

/* ---- feeding */

/* False: nothing more comes. */
static bool refill(struct sendmail_pipe *p)
{
	static char wire[WIRE_CHUNK];
	const struct spool_body_source *body = &p->attempt->body;
	while (p->native.len == 0 && p->wire_sent < body->len) {
		uint64_t left = body->len - p->wire_sent;
		ssize_t n = pread(body->fd, wire, left < sizeof wire ? (size_t)left : sizeof wire,
				  (off_t)(body->offset + p->wire_sent));
		if (n <= 0 || smtp_undot_push(&p->undot, (struct span){ wire, (size_t)n }, &p->native) != 0)
			return false;
		p->wire_sent += (uint64_t)n;
	}
	return p->native.len > 0;
}

static void feed(void *ctx, unsigned events)
{
	struct sendmail_pipe *p = ctx;
	(void)events;
	if (!refill(p)) {
		/* A message that ends too early must not be taken for a whole one: kill before the end of file says so. */
		p->is_fed = p->undot.has_ended && p->wire_sent == p->attempt->body.len;
		if (!p->is_fed)
			(void)kill(p->pid, SIGKILL);
		close_input(p);
		return;
	}
	ssize_t n = write(p->in_fd, p->native.data, p->native.len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		/* It does not want the rest; its exit status says what that means. */
		close_input(p);
		return;
	}
	buf_consume(&p->native, (size_t)n);
	loop_timer_start(p->timer, p->timeout_ms);
}

static void hear(void *ctx, unsigned events)
{
	struct sendmail_pipe *p = ctx;
	char bytes[HEAR_CHUNK];
	(void)events;
	ssize_t n = read(p->out_fd, bytes, sizeof bytes);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		loop_io_destroy(&p->out_io);
		return;
	}
	size_t room = OUTPUT_CAP - p->output.len;
	(void)buf_append(&p->output, bytes, (size_t)n < room ? (size_t)n : room);
}

static void time_is_up(void *ctx)
{
	struct sendmail_pipe *p = ctx;
	p->is_timed_out = true;
	(void)kill(p->pid, SIGKILL);
}

/* ---- the child */

static int spawn(struct sendmail_pipe *p, char *const argv[], const int in[2], const int out[2])
{
	static char *const envp[] = { (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)(uintptr_t) "LC_ALL=C",
				      NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int failed = posix_spawn_file_actions_init(&actions);
	if (failed)
		return err_from_errno(failed);
	failed = posix_spawnattr_init(&attr);
	if (failed) {
		(void)posix_spawn_file_actions_destroy(&actions);
		return err_from_errno(failed);
	}
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	(void)posix_spawnattr_setsigmask(&attr, &none);
	(void)posix_spawnattr_setsigdefault(&attr, &all);
	(void)posix_spawnattr_setpgroup(&attr, 0);
	(void)posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	failed = posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	if (!failed)
		failed = posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	if (!failed)
		failed = posix_spawn_file_actions_adddup2(&actions, out[1], STDERR_FILENO);
	if (!failed)
		failed = posix_spawn(&p->pid, p->program, &actions, &attr, argv, envp);
	(void)posix_spawnattr_destroy(&attr);
	(void)posix_spawn_file_actions_destroy(&actions);
	return err_from_errno(failed);
}

static char *path_arg(struct attempt *a, struct span path)
{
	struct span copy = arena_copy(&a->arena, path.len ? path : SPAN_LIT("<>"));
	return (char *)(uintptr_t)copy.ptr;
}

/* A line that is one dot: sendmail would take it for the end. */
static bool may_have_lone_dot(const struct spool_body_source *body)
{
	static char wire[LONE_DOT_SCAN];
	if (body->len > sizeof wire)
		return true;
	ssize_t n = pread(body->fd, wire, (size_t)body->len, (off_t)body->offset);
	return n < 4 || memcmp(wire, "..\r\n", 4) == 0 || memmem(wire, (size_t)n, "\r\n..\r\n", 6) != NULL;
}

/* The seeds' form, PROG -f FROM RCPT..., which also simple programs understand; -i and -- only for messages that would otherwise
 * be cut or misread.  The arguments live in the attempt's arena. */
static char **make_argv(struct sendmail_pipe *p)
{
	struct attempt *a = p->attempt;
	size_t count = p->past - p->first, n = 0;
	char **argv = arena_alloc(&a->arena, (count + 6) * sizeof *argv);
	if (!argv)
		return NULL;
	argv[n++] = p->program;
	if (may_have_lone_dot(&a->body))
		argv[n++] = (char *)(uintptr_t)"-i";
	argv[n++] = (char *)(uintptr_t)"-f";
	argv[n++] = path_arg(a, a->envelope.from);
	for (size_t i = p->first; i < p->past; i++) {
		if (a->envelope.recipients[a->todo[i].index].path.ptr[0] == '-') {
			argv[n++] = (char *)(uintptr_t)"--";
			break;
		}
	}
	for (size_t i = p->first; i < p->past; i++)
		argv[n++] = path_arg(a, a->envelope.recipients[a->todo[i].index].path);
	for (size_t i = 0; i < n; i++) {
		if (!argv[i])
			return NULL;
	}
	return argv;
}

static int start_child(struct sendmail_pipe *p)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 };
	char **argv = make_argv(p);
	int err = argv ? 0 : ERR_NOMEM;
	if (!err && (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0))
		err = err_from_errno(errno);
	if (!err)
		err = spawn(p, argv, in, out);
	if (in[0] >= 0)
		(void)close(in[0]);
	if (out[1] >= 0)
		(void)close(out[1]);
	p->in_fd = in[1];
	p->out_fd = out[0];
	if (err)
		return err;
	(void)fcntl(p->in_fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(p->out_fd, F_SETFL, O_NONBLOCK);
	err = loop_io_create(p->loop, p->in_fd, feed, p, &p->in_io);
	if (!err)
		err = loop_io_create(p->loop, p->out_fd, hear, p, &p->out_io);
	if (!err)
		err = loop_io_want(p->in_io, LOOP_WRITE);
	if (!err)
		err = loop_io_want(p->out_io, LOOP_READ);
	if (err)
		(void)kill(p->pid, SIGKILL); /* its end settles the call */
	return 0;
}

static void begin_call(void *ctx)
{
	struct sendmail_pipe *p = ctx;
	if (p->first == p->attempt->todo_count) {
		p->done(p->ctx, p->attempt);
		return;
	}
	p->past = p->first + SENDMAIL_RECIPIENTS_MAX;
	if (p->past > p->attempt->todo_count)
		p->past = p->attempt->todo_count;
	p->wire_sent = 0;
	p->is_fed = p->is_timed_out = false;
	smtp_undot_init(&p->undot);
	buf_clear(&p->native);
	buf_clear(&p->output);
	int err = start_child(p);
	if (err) {
		char text[320];
		int len = snprintf(text, sizeof text, "can't start %s: %s", p->program,
				   err == ERR_NOTFOUND ? "no such program" :
				   err == ERR_PERM     ? "it is not to be executed by this user" :
							 err_name(err));
		close_call(p);
		p->pid = 0;
		/* Out of processes or memory for a moment is no reason to hold the queue. */
		bool is_broken = err != ERR_NOMEM && err != ERR_AGAIN;
		settle_call(p, SPOOL_OUTCOME_DEFERRED, is_broken, (struct span){ text, len < 0 ? 0 : (size_t)len });
		return;
	}
	loop_timer_start(p->timer, p->timeout_ms);
}

void sendmail_pipe_exited(struct sendmail_pipe *pipe, int status)
{
	struct sendmail_pipe *p = pipe;
	char text[SPOOL_STATUS_TEXT_CAP];
	bool is_broken;
	enum spool_outcome outcome = sendmail_outcome(status, &is_broken);
	const char *what = WIFEXITED(status) ? "exit status" : "signal";
	int number = WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status);
	/* The news of its end may be quicker than its last words. */
	for (unsigned budget = OUTPUT_CAP / HEAR_CHUNK + 1; p->out_io && budget > 0; budget--)
		hear(p, LOOP_READ);
	/* It says that all is well, and has not read all. */
	if (outcome == SPOOL_OUTCOME_DELIVERED && !p->is_fed)
		outcome = SPOOL_OUTCOME_DEFERRED;
	struct span said = span_trim(buf_span(&p->output));
	int len = snprintf(text, sizeof text, "%s: %s %d%s%s%.*s", p->program, what, number,
			   p->is_timed_out ? " (killed: no progress)"
			   : is_broken     ? " (an operator has to look)"
					   : "",
			   said.len ? ": " : "", (int)(said.len < 300 ? said.len : 300), said.ptr ? said.ptr : "");
	struct span why = { text, len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1 };
	p->pid = 0;
	close_call(p);
	settle_call(p, outcome, is_broken, why);
}

pid_t sendmail_pipe_pid(const struct sendmail_pipe *pipe)
{
	return pipe->pid;
}

int sendmail_pipe_start(const struct sendmail_options *options, struct attempt *a, sendmail_done_fn done, void *ctx,
			struct sendmail_pipe **out)
{
	struct sendmail_pipe *p = calloc(1, sizeof *p);
	if (!p)
		return ERR_NOMEM;
	p->loop = options->loop;
	(void)snprintf(p->program, sizeof p->program, "%s", options->program);
	p->timeout_ms = options->timeout_ms;
	p->attempt = a;
	p->done = done;
	p->ctx = ctx;
	p->in_fd = p->out_fd = -1;
	p->task = (struct loop_task){ .fn = begin_call, .ctx = p };
	(void)snprintf(a->remote, sizeof a->remote, "%s", p->program);
	int err = loop_timer_create(p->loop, time_is_up, p, &p->timer);
	if (err) {
		free(p);
		return err;
	}
	loop_task_post(p->loop, &p->task);
	*out = p;
	return 0;
}

void sendmail_pipe_destroy(struct sendmail_pipe **pipe)
{
	struct sendmail_pipe *p = *pipe;
	if (!p)
		return;
	if (p->pid > 0)
		(void)kill(p->pid, SIGKILL);
	close_call(p);
	loop_task_cancel(&p->task);
	loop_timer_destroy(&p->timer);
	buf_free(&p->native);
	buf_free(&p->output);
	free(p);
	*pipe = NULL;
}
