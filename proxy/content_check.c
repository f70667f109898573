#include "content_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arena.h"
#include "content_engine.h"

#define HOLD_REASON_CAP 500u

struct content_check {
	struct session_host *host;
	uint32_t needs;
	void *states[CONTENT_ENGINES_MAX]; /* of the engines it needs */
	size_t engine; /* whose turn it is, or comes next */
	struct loop_task turn;
	bool is_paused;
	content_drained_fn drained;
	void *drained_ctx;

	/* the message as it is now */
	struct arena arena;
	struct content_image image;
	struct spool_envelope envelope;
	int changed_fd; /* -1: nobody has changed it */
	uint64_t changed_bytes; /* of it, in memory: counted against the worker's budget */

	struct milter_talk *milters;
	struct content_verdict verdict;
	content_checked_fn done;
	void *ctx;
};

const char *content_check_missing(const struct session_host *host, uint32_t needs)
{
	for (size_t i = 0; content_engines[i]; i++)
		if (content_engines[i]->is_configured(host))
			needs &= ~(uint32_t)content_engines[i]->need;
	for (uint32_t bit = 1; bit && bit <= needs; bit <<= 1)
		if (needs & bit)
			return verdict_need_name((enum verdict_need)bit);
	return NULL;
}

int content_check_create(struct session_host *host, uint64_t sid, uint32_t needs, struct content_check **out)
{
	struct content_check *c = calloc(1, sizeof *c);
	int err = 0;
	if (!c)
		return ERR_NOMEM;
	c->host = host;
	c->needs = needs;
	c->changed_fd = -1;
	for (size_t i = 0; !err && content_engines[i]; i++)
		if (needs & content_engines[i]->need)
			err = content_engines[i]->open(c, host, sid, &c->states[i]);
	if (err)
		content_check_destroy(&c);
	else
		*out = c;
	return err;
}

void content_check_use_milters(struct content_check *c, struct milter_talk *milters)
{
	c->milters = milters;
}

struct milter_talk *content_engine_milters(const struct content_check *c)
{
	return c->milters;
}

void content_check_on_drained(struct content_check *c, content_drained_fn drained, void *ctx)
{
	c->drained = drained;
	c->drained_ctx = ctx;
}

enum step content_check_push(struct content_check *c, struct span wire)
{
	for (size_t i = 0; content_engines[i]; i++)
		if ((c->needs & content_engines[i]->need) && content_engines[i]->push)
			content_engines[i]->push(c->states[i], wire);
	return c->is_paused ? STEP_WAIT : STEP_DONE;
}

void content_engine_pause(struct content_check *c)
{
	c->is_paused = true;
}

void content_engine_drained(struct content_check *c)
{
	bool was_paused = c->is_paused;
	c->is_paused = false;
	if (was_paused && c->drained && !c->done)
		c->drained(c->drained_ctx);
}

/* ---- what engines have changed */

/* Thousands may meet thousands here: what is compared is a number mostly. */
struct hashed_path {
	uint64_t hash;
	struct span path;
};

static struct hashed_path hashed(struct span path)
{
	return (struct hashed_path){ span_hash_nocase(path), path };
}

static bool is_among(const struct hashed_path *list, size_t count, struct hashed_path p)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].hash == p.hash && span_eq_nocase(list[i].path, p.path))
			return true;
	return false;
}

/* ERR_TOOLONG: more than an envelope takes; *by_out has added them. */
static int take_recipients(struct content_check *c, const struct content_change *change, const char **by_out)
{
	struct spool_envelope *e = &c->envelope;
	const size_t room = e->recipient_count + change->added_count + 1;
	struct spool_recipient *list = arena_alloc(&c->arena, room * sizeof *list);
	struct hashed_path *paths = arena_alloc(&c->arena, room * sizeof *paths);
	struct hashed_path *removed = arena_alloc(&c->arena, (change->removed_count + 1) * sizeof *removed);
	size_t count = 0, bytes = 0;
	if (!list || !paths || !removed)
		return ERR_NOMEM;
	for (size_t i = 0; i < change->removed_count; i++)
		removed[i] = hashed(change->removed[i]);
	for (size_t i = 0; i < e->recipient_count; i++) {
		const struct hashed_path path = hashed(e->recipients[i].path);
		if (is_among(removed, change->removed_count, path))
			continue;
		bytes += spool_envelope_recipient_len(&e->recipients[i]);
		paths[count] = path;
		list[count++] = e->recipients[i];
	}
	for (size_t i = 0; i < change->added_count; i++) {
		const struct content_recipient *added = &change->added[i];
		const struct hashed_path path = hashed(added->path);
		if (is_among(paths, count, path))
			continue;
		list[count] = (struct spool_recipient){
			.path = arena_copy(&c->arena, added->path), .notify = added->notify, .orcpt = arena_copy(&c->arena, added->orcpt)
		};
		if (!list[count].path.ptr || !list[count].orcpt.ptr)
			return ERR_NOMEM;
		paths[count] = path;
		bytes += spool_envelope_recipient_len(&list[count++]);
		if (bytes > SPOOL_ENVELOPE_RCPT_CAP) {
			*by_out = added->by;
			return ERR_TOOLONG;
		}
	}
	e->recipients = list;
	e->recipient_count = count;
	return 0;
}

static bool begins_the_same(const struct content_image *before, int fd, uint64_t len)
{
	char old[4096], new[4096];
	size_t n = before->own_len;
	if (n > sizeof old || n > len)
		return false;
	if (before->fd < 0)
		memcpy(old, before->memory.ptr, n);
	else if (pread(before->fd, old, n, 0) != (ssize_t)n)
		return false;
	return pread(fd, new, n, 0) == (ssize_t)n && memcmp(old, new, n) == 0;
}

static void drop_changed(struct content_check *c)
{
	if (c->changed_fd >= 0)
		close(c->changed_fd);
	c->changed_fd = -1;
	c->host->changed_bytes -= c->changed_bytes;
	c->changed_bytes = 0;
}

/* ERR_NOSPACE: too much lies in memory already, and the disk is slower than those who change messages. */
static int take_message(struct content_check *c, const struct content_change *change)
{
	size_t own_len = begins_the_same(&c->image, change->fd, change->len) ? c->image.own_len : 0;
	drop_changed(c);
	c->changed_fd = change->fd;
	c->image = (struct content_image){ .fd = change->fd, .len = change->len, .own_len = own_len };
	if (c->host->changed_bytes > CONTENT_CHANGED_BYTES_MAX)
		return ERR_NOSPACE;
	c->changed_bytes = change->len;
	c->host->changed_bytes += change->len;
	return 0;
}

/* A filter may write whatever it likes; an envelope takes no line ends, and a message whose filter wants it held must not fail for that. */
static int take_hold(struct content_check *c, struct span reason)
{
	char *text = arena_alloc(&c->arena, HOLD_REASON_CAP);
	reason = span_sub(span_trim(reason), 0, HOLD_REASON_CAP);
	if (!text)
		return ERR_NOMEM;
	for (size_t i = 0; i < reason.len; i++)
		text[i] = (unsigned char)reason.ptr[i] < ' ' || reason.ptr[i] == 0x7f ? ' ' : reason.ptr[i];
	c->envelope.hold = span_trim((struct span){ text, reason.len });
	if (!c->envelope.hold.len)
		c->envelope.hold = SPAN_LIT("no reason was given");
	return 0;
}

static int take_change(struct content_check *c, const struct content_change *change, const char **by_out)
{
	int err = change->fd >= 0 ? take_message(c, change) : 0;
	if (err)
		return err;
	if (change->has_sender) {
		c->envelope.from = arena_copy(&c->arena, change->sender);
		if (!c->envelope.from.ptr)
			return ERR_NOMEM;
	}
	if (change->hold_reason.ptr && take_hold(c, change->hold_reason) != 0)
		return ERR_NOMEM;
	return change->added_count || change->removed_count ? take_recipients(c, change, by_out) : 0;
}

/* ---- one engine after the other */

static void refuse_change(struct content_verdict *v, int err, const char *by)
{

	static const struct content_verdict no_memory = { CONTENT_REFUSE, 451, "4.3.0", "Local error, try again later", "out of memory" };
	static const struct content_verdict too_much = { CONTENT_REFUSE, 452, "4.3.1", "Too much mail at once, try again later",
							 "too many changed messages wait for the disk" };
	/* A client is told so at RCPT (RFC 5321 section 4.5.3.1.10); those that somebody adds are too many only now. */
	static const struct content_verdict recipients = { CONTENT_REFUSE, 452, "4.5.3", "A content filter has added too many recipients", "" };
	*v = err == ERR_NOSPACE ? too_much : err == ERR_TOOLONG ? recipients : no_memory;
	if (err == ERR_TOOLONG)
		(void)snprintf(v->why, sizeof v->why, "milter %s has added more recipients than an envelope has room for (%u bytes)", by,
			       SPOOL_ENVELOPE_RCPT_CAP);
}

static void tell(struct content_check *c)
{
	const struct content_result result = {
		.verdict = &c->verdict,
		.changed = c->changed_fd >= 0 ? &c->image : NULL,
		.envelope = &c->envelope,
	};
	c->done(c->ctx, &result);
}

void content_engine_done(struct content_check *c, const struct content_verdict *verdict, const struct content_change *change)
{
	c->verdict = *verdict;
	const char *by = "";
	int err = change ? take_change(c, change, &by) : 0;
	if (err && c->verdict.outcome == CONTENT_PASS)
		refuse_change(&c->verdict, err, by);
	/* Nobody is left to whom it could be sent. */
	if (c->verdict.outcome == CONTENT_PASS && c->envelope.recipient_count == 0)
		c->verdict.outcome = CONTENT_DISCARD;
	c->engine++;
	loop_task_post(c->host->loop, &c->turn);
}

static void next_engine(void *ctx)
{
	struct content_check *c = ctx;
	const struct content_engine *engine;
	while (c->verdict.outcome == CONTENT_PASS && (engine = content_engines[c->engine]) != NULL) {
		if (c->needs & engine->need) {
			engine->run(c->states[c->engine], &c->image, &c->envelope);
			return;
		}
		c->engine++;
	}
	tell(c);
}

void content_check_run(struct content_check *c, const struct content_image *image, const struct spool_envelope *envelope, content_checked_fn done,
		       void *ctx)
{
	c->image = *image;
	c->envelope = *envelope;
	c->done = done;
	c->ctx = ctx;
	c->turn = (struct loop_task){ .fn = next_engine, .ctx = c };
	loop_task_post(c->host->loop, &c->turn);
}

void content_check_destroy(struct content_check **check)
{
	struct content_check *c = *check;
	if (!c)
		return;
	*check = NULL;
	loop_task_cancel(&c->turn);
	for (size_t i = 0; content_engines[i]; i++)
		if (c->states[i])
			content_engines[i]->close(c->states[i]);
	drop_changed(c);
	arena_free(&c->arena);
	free(c);
}
