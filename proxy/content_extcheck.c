#include "content_extcheck.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check_args.h"
#include "check_file.h"
#include "checker_link.h"
#include "log.h"
#include "wire_form.h"

/* A question waits as long as its command may run, and the disk takes its time. */
#define ANSWER_GRACE_MS 20000u

/* What the checker handed back, while a job looks whether it may go into the spool.  Outlives a session that has gone. */
struct returned {
	struct extcheck *owner; /* NULL: gone */
	int fd;
	uint64_t len;
	int err;
};

struct extcheck {
	struct content_check *check;
	struct session_host *host;
	uint64_t sid;
	struct checker_asked *asked;
	struct returned *returned;
	struct checker_answer answer;
	bool is_counted; /* among those under way */
};

static void stop_counting(struct extcheck *x)
{
	if (x->is_counted)
		counter_sub(x->host->counters, COUNTER_EXTCHECKS, 1);
	x->is_counted = false;
}

/* ---- the verdict */

static void fill_verdict(const struct checker_answer *a, struct content_verdict *v)
{
	static const struct content_verdict verdicts[CHECKER_RESULT_COUNT] = {
		[CHECKER_ACCEPT] = { .outcome = CONTENT_PASS },
		[CHECKER_REJECT] = { CONTENT_REFUSE, 552, "5.7.1", "The message check has refused this message", "" },
		[CHECKER_RETRY] = { CONTENT_REFUSE, 451, "4.7.1", "The message check wants this message later, try again", "" },
		[CHECKER_KILLED] = { CONTENT_REFUSE, 451, "4.3.0", "The message could not be checked, try again later", "" },
		[CHECKER_TIMEOUT] = { CONTENT_REFUSE, 451, "4.3.0", "The message could not be checked in time, try again later", "" },
		[CHECKER_BUSY] = { CONTENT_REFUSE, 451, "4.3.2", "Too many messages are being checked, try again later", "" },
		[CHECKER_FAILED] = { CONTENT_REFUSE, 451, "4.3.0", "The message could not be checked, try again later", "" },
	};
	*v = verdicts[a->result];
	(void)snprintf(v->why, sizeof v->why, "external check: %s%s%s", checker_result_name((enum checker_result)a->result), a->said[0] ? ": " : "", a->said);
}

static void count(const struct extcheck *x)
{
	static const enum counter counters[CHECKER_RESULT_COUNT] = {
		[CHECKER_ACCEPT] = COUNTER_EXTCHECK_ACCEPTED, [CHECKER_REJECT] = COUNTER_EXTCHECK_REJECTED,
		[CHECKER_RETRY] = COUNTER_EXTCHECK_RETRY,     [CHECKER_KILLED] = COUNTER_EXTCHECK_FAILED,
		[CHECKER_TIMEOUT] = COUNTER_EXTCHECK_TIMEOUT, [CHECKER_BUSY] = COUNTER_EXTCHECK_BUSY,
		[CHECKER_FAILED] = COUNTER_EXTCHECK_FAILED,
	};
	counter_add(x->host->counters, counters[x->answer.result], 1);
	if (x->answer.changed_len)
		counter_add(x->host->counters, COUNTER_EXTCHECK_CHANGED, 1);
}

static void log_answer(const struct extcheck *x)
{
	const struct checker_answer *a = &x->answer;
	bool is_trouble = a->result != CHECKER_ACCEPT && a->result != CHECKER_REJECT && a->result != CHECKER_RETRY;
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "extcheck");
	kv_hex(&kv, "sid", x->sid);
	kv_text(&kv, "result", checker_result_name((enum checker_result)a->result));
	if (a->result == CHECKER_KILLED)
		kv_i64(&kv, "signal", a->code);
	else if (!is_trouble)
		kv_i64(&kv, "exit", a->code);
	kv_u64(&kv, "ms", a->ms);
	if (a->changed_len)
		kv_u64(&kv, "changed_size", a->changed_len);
	kv_text(&kv, "out", a->said);
	log_kv(is_trouble ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, &kv);
}

/* The end; x may be gone when it returns. */
static void conclude(struct extcheck *x, int changed_fd)
{
	const struct content_change change = { .fd = changed_fd, .len = x->answer.changed_len };
	struct content_verdict verdict;
	stop_counting(x);
	count(x);
	log_answer(x);
	fill_verdict(&x->answer, &verdict);
	content_engine_done(x->check, &verdict, changed_fd >= 0 ? &change : NULL);
}

static void conclude_failed(struct extcheck *x, const char *why)
{
	x->answer.result = CHECKER_FAILED;
	x->answer.changed_len = 0;
	(void)snprintf(x->answer.said, sizeof x->answer.said, "%s", why);
	conclude(x, -1);
}

/* ---- the answer */

static void look_at_returned(void *ctx)
{
	struct returned *r = ctx;
	/* Sealed: what is looked at here is what will be stored. */
	r->err = fcntl(r->fd, F_GET_SEALS) == CHECK_FILE_SEALS ? wire_form_check_file(r->fd, r->len) : ERR_PERM;
}

static void returned_looked_at(void *ctx)
{
	struct returned *r = ctx;
	struct extcheck *x = r->owner;
	if (x)
		x->returned = NULL;
	if (x && !r->err) {
		conclude(x, r->fd);
	} else {
		(void)close(r->fd);
		if (x)
			conclude_failed(x, "the checker handed back what is no message");
	}
	free(r);
}

static void take_changed(struct extcheck *x, int fd)
{
	struct returned *r = x->answer.changed_len <= x->host->conf.conf.max_size_bytes * 2 + CHECKER_HEADER_ROOM ? malloc(sizeof *r) : NULL;
	if (r) {
		*r = (struct returned){ .owner = x, .fd = fd, .len = x->answer.changed_len };
		x->returned = r;
		if (loop_job_start(x->host->loop, look_at_returned, returned_looked_at, r) == 0)
			return;
		x->returned = NULL;
		free(r);
	}
	(void)close(fd);
	conclude_failed(x, "the changed message can't be taken");
}

static void answered(void *ctx, const struct checker_answer *answer, int changed_fd)
{
	struct extcheck *x = ctx;
	x->asked = NULL;
	x->answer = *answer;
	if (answer->result == CHECKER_ACCEPT && answer->changed_len) {
		if (changed_fd >= 0)
			take_changed(x, changed_fd);
		else
			conclude_failed(x, "the changed message did not arrive");
		return;
	}
	x->answer.changed_len = 0;
	if (changed_fd >= 0)
		(void)close(changed_fd);
	conclude(x, -1);
}

/* ---- the question */

static int make_memory_file(struct span bytes, int *fd_out)
{
	int fd = memfd_create("postern-check", MFD_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	while (bytes.len) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0) {
			int err = err_from_errno(errno);
			(void)close(fd);
			return err;
		}
		bytes = span_sub(bytes, (size_t)n, bytes.len);
	}
	*fd_out = fd;
	return 0;
}

static int make_args(const struct spool_envelope *e, int *fd_out)
{
	struct buf packet = { .cap = CHECK_ARGS_BYTES_MAX };
	char client[ADDR_TEXT_CAP];
	int err = check_args_begin(&packet, addr_format(&e->client.addr, client), e->from);
	for (size_t i = 0; !err && i < e->recipient_count; i++)
		err = check_args_recipient(&packet, e->recipients[i].path);
	if (!err)
		err = make_memory_file(buf_span(&packet), fd_out);
	buf_free(&packet);
	return err;
}

static int ask(struct extcheck *x, const struct content_image *image, const struct spool_envelope *envelope)
{
	const struct conf *conf = &x->host->conf.conf;
	int args_fd = -1, memory_fd = -1;
	int err = make_args(envelope, &args_fd);
	/* A large message lies in a file already, which is lent. */
	if (!err && image->fd < 0)
		err = make_memory_file(image->memory, &memory_fd);
	if (!err)
		err = checker_link_ask(x->host->checker, image->len, image->fd < 0 ? memory_fd : image->fd, args_fd,
				       conf->check_timeout_s * 2000 + ANSWER_GRACE_MS, answered, x, &x->asked);
	if (args_fd >= 0)
		(void)close(args_fd);
	if (memory_fd >= 0)
		(void)close(memory_fd);
	return err;
}

static void extcheck_run(void *state, const struct content_image *image, const struct spool_envelope *envelope)
{
	struct extcheck *x = state;
	int err = ask(x, image, envelope);
	if (!err) {
		x->is_counted = true;
		counter_add(x->host->counters, COUNTER_EXTCHECKS, 1);
		return;
	}
	conclude_failed(x, err == ERR_REFUSED ? "the checker does not run" : err == ERR_AGAIN ? "the checker is behind" : err_name(err));
}

/* ---- the engine */

static bool extcheck_is_configured(const struct session_host *host)
{
	return host->conf.conf.check_command[0] != '\0';
}

static int extcheck_open(struct content_check *check, struct session_host *host, uint64_t sid, void **state_out)
{
	struct extcheck *x = calloc(1, sizeof *x);
	if (!x)
		return ERR_NOMEM;
	*x = (struct extcheck){ .check = check, .host = host, .sid = sid };
	*state_out = x;
	return 0;
}

static void extcheck_close(void *state)
{
	struct extcheck *x = state;
	stop_counting(x);
	checker_link_cancel(&x->asked);
	if (x->returned)
		x->returned->owner = NULL;
	free(x);
}

const struct content_engine content_extcheck = {
	.need = NEED_EXTCHK,
	.is_configured = extcheck_is_configured,
	.open = extcheck_open,
	.run = extcheck_run,
	.close = extcheck_close,
};
