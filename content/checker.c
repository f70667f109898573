#include "checker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_args.h"
#include "check_children.h"
#include "check_file.h"
#include "err.h"
#include "log.h"

#define COMPLAIN_EVERY_MS 60000u
#define WIRE_BYTES_MAX(bytes) (2 * (bytes) + CHECKER_HEADER_ROOM) /* of a message of so many bytes of native text, if all of it were dots and line ends */
#define FILE_BYTES_MIN (UINT64_C(1) << 30) /* a command may append to a log of its own */

enum phase {
	PHASE_WAITING,   /* in line */
	PHASE_PREPARING, /* a job reads the arguments and writes the file */
	PHASE_RUNNING,
	PHASE_FINISHING, /* a job looks what has become of the file, and removes it */
	PHASE_REMOVING,  /* a job only removes it */
};

struct question {
	struct checker *checker;
	struct question *prev, *next; /* of all, oldest first */
	uint32_t owner;
	bool is_cancelled;
	enum phase phase;
	uint64_t asked_ms, number, max_bytes;
	uint64_t wire_len;
	int wire_fd, args_fd;
	struct check_args args;
	struct check_file file;
	struct check_run *run;
	int err; /* of a job */
	struct reason why;
	struct checker_answer answer;
	int changed_fd;
};

struct checker {
	struct loop *loop;
	int place_fd, children_fd;
	struct checker_options options;
	checker_answer_fn answer;
	loop_fn idle;
	void *ctx;
	struct loop_signal *child_signal;
	struct loop_timer *line_timer;
	struct loop_task turn;
	struct question *first, *last;
	size_t waiting, busy;
	uint64_t last_number;
	uint64_t complain_ms; /* when the operator is told of trouble again */
};

const char *checker_result_name(enum checker_result result)
{
	static const char *const names[CHECKER_RESULT_COUNT] = { "accept", "reject", "retry", "killed", "timeout", "busy", "failed" };
	return names[result];
}

/* ---- the list */

static void append(struct checker *c, struct question *q)
{
	q->prev = c->last;
	*(c->last ? &c->last->next : &c->first) = q;
	c->last = q;
	c->waiting++;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

static void leave(struct question *q)
{
	struct checker *c = q->checker;
	*(q->prev ? &q->prev->next : &c->first) = q->next;
	*(q->next ? &q->next->prev : &c->last) = q->prev;
	if (q->phase == PHASE_WAITING)
		c->waiting--;
	else
		c->busy--;
	close_fd(&q->wire_fd);
	close_fd(&q->args_fd);
	close_fd(&q->changed_fd);
	check_args_free(&q->args);
	check_run_destroy(&q->run);
	free(q);
	loop_task_post(c->loop, &c->turn);
}

static void tell_and_leave(struct question *q)
{
	struct checker *c = q->checker;
	int changed_fd = q->changed_fd;
	q->changed_fd = -1;
	if (q->is_cancelled)
		close_fd(&changed_fd);
	else
		c->answer(c->ctx, q->owner, &q->answer, changed_fd);
	leave(q);
}

static void fail(struct question *q, const char *why)
{
	q->answer.result = CHECKER_FAILED;
	(void)span_to_cstr(span_sub(span_of(why), 0, CHECK_SAID_CAP - 1), q->answer.said, CHECK_SAID_CAP);
}

/* A fault of this host's and not of the message: every message would meet it.  Each has its line in the log anyway. */
static void complain(struct checker *c, const char *why)
{
	if (loop_now_ms(c->loop) < c->complain_ms)
		return;
	c->complain_ms = loop_now_ms(c->loop) + COMPLAIN_EVERY_MS;
	log_event(LOG_LEVEL_ERR, "extcheck-trouble", "%s: messages that need the checker get 451", why);
}

static void fail_for_all(struct question *q, const char *why)
{
	fail(q, why);
	complain(q->checker, why);
}

/* ---- the file's end */

static void work_finish(void *ctx)
{
	struct question *q = ctx;
	if (q->phase == PHASE_FINISHING)
		q->err = check_file_take(&q->file, q->wire_fd, q->wire_len, q->max_bytes, &q->changed_fd, &q->answer.changed_len, &q->why);
	check_file_remove(&q->file);
}

static void finished(void *ctx)
{
	struct question *q = ctx;
	if (q->err)
		fail(q, q->why.text);
	tell_and_leave(q);
}

static void finish(struct question *q, enum phase phase)
{
	q->phase = phase;
	if (loop_job_start(q->checker->loop, work_finish, finished, q) == 0)
		return;
	/* Out of memory, and the file stays: the next start removes it. */
	fail(q, "out of memory");
	check_file_abandon(&q->file);
	tell_and_leave(q);
}

/* ---- the command */

static bool is_there(const struct checker_options *options)
{
	char program[CONF_COMMAND_CAP];
	(void)snprintf(program, sizeof program, "%.*s", (int)strcspn(options->command, " \t"), options->command);
	return access(program, F_OK) == 0;
}

static void command_ended(void *ctx, const struct check_exit *exit)
{
	struct question *q = ctx;
	struct checker_answer *a = &q->answer;
	char why[CHECK_SAID_CAP];
	a->code = exit->code;
	a->ms = exit->ms;
	memcpy(a->said, exit->said, sizeof a->said);
	switch (exit->end) {
	case CHECK_EXITED:
		a->result = exit->code == 0 ? CHECKER_ACCEPT : exit->code == 1 ? CHECKER_REJECT : CHECKER_RETRY;
		/* Of a loader that misses a library, and of a shell that misses a program. */
		if (exit->code == 127 || exit->code == 126) {
			(void)snprintf(why, sizeof why, "the command ended with status %d, as where a program or library is missing (%.120s)", exit->code, exit->said);
			complain(q->checker, why);
		}
		break;
	case CHECK_SIGNALED: a->result = CHECKER_KILLED; break;
	case CHECK_TIMED_OUT: a->result = CHECKER_TIMEOUT; break;
	case CHECK_NOT_STARTED:
		a->code = 0;
		(void)snprintf(why, sizeof why, "the command can't be run: %s%s", strerror(exit->code),
			       exit->code == ENOENT && is_there(&q->checker->options) ? ": the program is there, its interpreter or loader is not" : "");
		fail_for_all(q, why);
		break;
	}
	finish(q, a->result == CHECKER_ACCEPT ? PHASE_FINISHING : PHASE_REMOVING);
}

static int start_command(struct question *q)
{
	struct checker *c = q->checker;
	char dir[sizeof c->options.dir + 1 + CHECK_PLACE_NAME_LEN], file[sizeof dir + sizeof CHECK_FILE_NAME];
	(void)snprintf(dir, sizeof dir, "%s/%s", c->options.dir, q->file.dir);
	(void)snprintf(file, sizeof file, "%s/" CHECK_FILE_NAME, dir);
	char **words = check_args_vector(&q->args, c->options.command, file);
	if (!words)
		return reason_set(&q->why, ERR_NOMEM, "no process can be started: out of memory");
	uint64_t file_bytes = c->options.max_bytes * 2;
	const struct check_run_options run = {
		.loop = c->loop,
		.words = words,
		.tmp_dir = dir,
		.timeout_ms = c->options.timeout_ms,
		.file_bytes = file_bytes > FILE_BYTES_MIN ? file_bytes : FILE_BYTES_MIN,
	};
	int err = check_run_start(&run, command_ended, q, &q->run, &q->why);
	free(words);
	return err;
}

/* ---- the file's beginning */

static int read_args(struct question *q)
{
	struct stat st;
	if (fstat(q->args_fd, &st) != 0 || st.st_size <= 0 || st.st_size > (off_t)CHECK_ARGS_BYTES_MAX)
		return ERR_SYNTAX;
	size_t len = (size_t)st.st_size;
	char *packet = malloc(len);
	if (!packet)
		return ERR_NOMEM;
	ssize_t n = pread(q->args_fd, packet, len, 0);
	int err = n == (ssize_t)len ? check_args_parse((struct span){ packet, len }, &q->args) : ERR_SYNTAX;
	free(packet);
	return err;
}

static void work_prepare(void *ctx)
{
	struct question *q = ctx;
	q->err = read_args(q);
	if (q->err)
		reason_set(&q->why, q->err, "the session's question makes no sense (%s)", err_name(q->err));
	else
		q->err = check_file_make(q->checker->place_fd, q->number, q->wire_fd, q->wire_len, &q->file, &q->why);
}

static void prepared(void *ctx)
{
	struct question *q = ctx;
	close_fd(&q->args_fd);
	if (q->err) {
		/* Once it is cancelled its file may be emptied under the job's hands: nothing to worry about. */
		if (!q->is_cancelled)
			fail_for_all(q, q->why.text);
		tell_and_leave(q);
		return;
	}
	int err = q->is_cancelled ? 0 : start_command(q);
	if (err)
		fail_for_all(q, q->why.text);
	if (err || q->is_cancelled)
		finish(q, PHASE_REMOVING);
	else
		q->phase = PHASE_RUNNING;
}

static void prepare(struct question *q)
{
	struct checker *c = q->checker;
	q->phase = PHASE_PREPARING;
	q->number = ++c->last_number;
	q->max_bytes = c->options.max_bytes;
	c->waiting--;
	c->busy++;
	if (loop_job_start(c->loop, work_prepare, prepared, q) != 0) {
		fail(q, "out of memory");
		tell_and_leave(q);
	}
}

/* ---- the line */

/* Files whose reading nobody can delay; their contents may be anything. */
static bool is_file(int fd)
{
	struct stat st;
	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static void turn(void *ctx)
{
	struct checker *c = ctx;
	const uint64_t now_ms = loop_now_ms(c->loop);
	struct question *q = c->first, *next, *oldest = NULL;
	for (; q && c->waiting; q = next) {
		next = q->next;
		if (q->phase != PHASE_WAITING)
			continue;
		if (!is_file(q->wire_fd) || !is_file(q->args_fd)) {
			fail(q, "the session's question came without its files");
			tell_and_leave(q);
		} else if (q->wire_len > WIRE_BYTES_MAX(c->options.max_bytes)) {
			/* A session process that is taken over must not fill the disk, nor keep a job for ever. */
			fail(q, "the session's message is larger than any");
			tell_and_leave(q);
		} else if (now_ms >= q->asked_ms + c->options.timeout_ms) {
			q->answer.result = CHECKER_BUSY;
			tell_and_leave(q);
		} else if (c->busy < c->options.jobs) {
			prepare(q);
		} else if (!oldest) {
			oldest = q;
		}
	}
	if (oldest)
		loop_timer_start(c->line_timer, oldest->asked_ms + c->options.timeout_ms - now_ms);
	if (checker_is_idle(c))
		c->idle(c->ctx);
}

static void refuse(struct checker *c, uint32_t owner, uint64_t ticket, enum checker_result result)
{
	const struct checker_answer answer = { .ticket = ticket, .result = (int32_t)result };
	c->answer(c->ctx, owner, &answer, -1);
}

void checker_ask(struct checker *c, uint32_t owner, uint64_t ticket, uint64_t wire_len, int wire_fd, int args_fd)
{
	struct question *q = c->waiting < CHECKER_WAITING_MAX ? calloc(1, sizeof *q) : NULL;
	if (!q) {
		close_fd(&wire_fd);
		close_fd(&args_fd);
		refuse(c, owner, ticket, CHECKER_BUSY);
		return;
	}
	*q = (struct question){
		.checker = c,
		.owner = owner,
		.asked_ms = loop_now_ms(c->loop),
		.wire_len = wire_len,
		.wire_fd = wire_fd,
		.args_fd = args_fd,
		.file = CHECK_FILE_NONE,
		.answer = { .ticket = ticket },
		.changed_fd = -1,
	};
	append(c, q);
	loop_task_post(c->loop, &c->turn);
}

/* What a job works on can only be marked. */
static void cancel(struct question *q)
{
	if (q->phase == PHASE_WAITING) {
		leave(q);
		return;
	}
	q->is_cancelled = true;
	if (q->phase == PHASE_RUNNING) {
		check_run_destroy(&q->run);
		finish(q, PHASE_REMOVING);
	}
}

void checker_cancel(struct checker *c, uint32_t owner, uint64_t ticket)
{
	for (struct question *q = c->first; q; q = q->next) {
		if (q->owner == owner && q->answer.ticket == ticket && !q->is_cancelled) {
			cancel(q);
			return;
		}
	}
}

void checker_forget(struct checker *c, uint32_t owner)
{
	for (struct question *q = c->first, *next; q; q = next) {
		next = q->next;
		if (q->owner == owner && !q->is_cancelled)
			cancel(q);
	}
}

/* ---- children */

static struct question *find_run(void *ctx, pid_t pid)
{
	struct checker *c = ctx;
	for (struct question *q = c->first; q; q = q->next)
		if (q->phase == PHASE_RUNNING && check_run_pid(q->run) == pid)
			return q;
	return NULL;
}

static bool is_running(void *ctx, pid_t pid)
{
	return find_run(ctx, pid) != NULL;
}

static int wait_status(const siginfo_t *info)
{
	return info->si_code == CLD_EXITED ? W_EXITCODE(info->si_status, 0) : W_EXITCODE(0, info->si_status);
}

static void child_ended(void *ctx, int signum)
{
	struct checker *c = ctx;
	siginfo_t info = { .si_pid = 0 };
	(void)signum;
	while (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid > 0) {
		pid_t pid = info.si_pid;
		struct question *q = find_run(c, pid);
		if (q)
			check_run_exited(q->run, wait_status(&info));
		(void)waitpid(pid, NULL, WNOHANG);
		info.si_pid = 0;
	}
	check_children_kill_strays(c->children_fd, is_running, c);
}

/* ---- the whole */

int checker_create(struct loop *loop, int place_fd, int children_fd, const struct checker_options *options, checker_answer_fn answer, loop_fn idle, void *ctx,
		   struct checker **out)
{
	struct checker *c = calloc(1, sizeof *c);
	if (!c)
		return ERR_NOMEM;
	*c = (struct checker){ .loop = loop, .place_fd = place_fd, .children_fd = children_fd, .options = *options, .answer = answer, .idle = idle, .ctx = ctx };
	c->turn = (struct loop_task){ .fn = turn, .ctx = c };
	/* What a command of an earlier process still does in its directory must not meet ours. */
	if (getrandom(&c->last_number, sizeof c->last_number, GRND_NONBLOCK) < 0)
		c->last_number = (uint64_t)loop_wall_time() << 32;
	int err = loop_timer_create(loop, turn, c, &c->line_timer);
	if (!err)
		err = loop_signal_create(loop, SIGCHLD, child_ended, c, &c->child_signal);
	if (err)
		checker_destroy(&c);
	else
		*out = c;
	return err;
}

void checker_set_options(struct checker *c, const struct checker_options *options)
{
	c->options = *options;
	loop_task_post(c->loop, &c->turn);
}

bool checker_is_idle(const struct checker *c)
{
	return !c->first;
}

void checker_destroy(struct checker **checker)
{
	struct checker *c = *checker;
	if (!c)
		return;
	*checker = NULL;
	loop_task_cancel(&c->turn);
	loop_timer_destroy(&c->line_timer);
	loop_signal_destroy(&c->child_signal);
	free(c);
}
