#include "queue_answer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue_summary.h"
#include "queue_walk.h"
#include "scheduler.h"
#include "settle.h"
#include "startup_scan.h"

#define CHANGES_AT_ONCE 256u
#define PROGRESS_MS 2000u

/* Empty, or what a list says that is not whole. */
static const char *still_reading(const struct forwarder *f, char text[96])
{
	size_t left = startup_scan_left(f);
	text[0] = '\0';
	if (left > 0)
		(void)snprintf(text, 96, "the queue is still being read after the start: about %zu messages to go", left);
	return text;
}

/* ---- listings */

struct listing {
	struct forwarder *f;
	struct control_client *client;
	struct queue_walk *walk;
	uint64_t told_ms;
};

static void listing_end(void *ctx, int err)
{
	struct listing *l = ctx;
	struct control_client *client = l->client;
	char text[96];
	const char *note = still_reading(l->f, text);
	control_on_gone(client, NULL, NULL);
	control_on_room(client, NULL, NULL);
	free(l);
	control_end(client, err, err ? err_name(err) : note);
}

static void listing_gone(void *ctx)
{
	struct listing *l = ctx;
	queue_walk_cancel(&l->walk);
	free(l);
}

static void listing_room(void *ctx)
{
	struct listing *l = ctx;
	queue_walk_go_on(l->walk);
}

static bool list_message(void *ctx, struct fwd_message *m, const struct attempt *a)
{
	struct listing *l = ctx;
	struct kv kv;
	kv_init(&kv);
	queue_summary_put(&kv, l->f, m, a);
	l->told_ms = loop_now_ms(l->f->loop);
	return control_line(l->client, &kv) != ERR_AGAIN;
}

/* An asker gives up on a daemon that says nothing for long; a filter may take none of a hundred thousand. */
static void listing_alive(void *ctx)
{
	struct listing *l = ctx;
	struct kv kv;
	uint64_t now = loop_now_ms(l->f->loop);
	if (now < l->told_ms + PROGRESS_MS)
		return;
	l->told_ms = now;
	kv_init(&kv);
	kv_text(&kv, "what", "progress");
	(void)control_line(l->client, &kv);
}

void queue_answer_list(struct forwarder *f, struct control_client *client, const struct queue_filter *filter, bool is_brief)
{
	struct listing *l = calloc(1, sizeof *l);
	struct queue_walk_events events = { .message = list_message, .alive = listing_alive, .end = listing_end, .ctx = l };
	int err = l ? queue_walk_start(f, filter, !is_brief, &events, &l->walk) : ERR_NOMEM;
	if (err) {
		free(l);
		control_end(client, err, err_name(err));
		return;
	}
	l->f = f;
	l->client = client;
	l->told_ms = loop_now_ms(f->loop);
	control_on_gone(client, listing_gone, l);
	control_on_room(client, listing_room, l);
}

/* ---- changes */

struct change {
	struct forwarder *f;
	struct control_client *client; /* NULL: the asker is gone; what is under way ends all the same */
	struct queue_walk *walk;       /* NULL: over, or ids were given */
	enum { CHANGE_RETRY, CHANGE_DELETE, CHANGE_HOLD, CHANGE_RELEASE } what;
	bool is_by_filter;
	uint64_t matched, done, busy, failed;
	unsigned under_way;
	uint64_t told_ms;
	struct reason why;             /* of the first that failed */
};

static const struct {
	const char *verb;
	enum settle_wish wish; /* not for retry */
} changes[] = { [CHANGE_RETRY] = { "retry", SETTLE_RELEASE },
		[CHANGE_DELETE] = { "delete", SETTLE_DELETE },
		[CHANGE_HOLD] = { "hold", SETTLE_HOLD },
		[CHANGE_RELEASE] = { "release", SETTLE_RELEASE } };

static const char *complaint(const struct change *c, int err)
{
	switch (err) {
	case ERR_NOTFOUND: return "no such message";
	case ERR_AGAIN: return "no such message yet: the queue is still being read after the start";
	case ERR_BUSY: return "it is being delivered at this moment: try again";
	case ERR_INVAL:
		return c->what == CHANGE_HOLD      ? "it is held already"
		       : c->what == CHANGE_RELEASE ? "it is not held"
						   : "it is held: release it first";
	case ERR_SYNTAX: return "that is no message id";
	default: return err_name(err);
	}
}

static void count(struct change *c, struct span id, int err)
{
	if (err == 0) {
		c->done++;
		return;
	}
	if (err == ERR_BUSY)
		c->busy++;
	else
		c->failed++;
	if (!c->why.text[0])
		reason_set(&c->why, err, "%.*s: %s", SPAN_FMT(id), complaint(c, err));
}

static void put_counts(const struct change *c, struct kv *kv, const char *what)
{
	kv_init(kv);
	kv_text(kv, "what", what);
	kv_u64(kv, "matched", c->matched);
	kv_u64(kv, "done", c->done);
	kv_u64(kv, "busy", c->busy);
	kv_u64(kv, "failed", c->failed);
}

/* Everything is counted: the answer, if somebody still wants it. */
static void end_if_over(struct change *c)
{
	struct control_client *client = c->client;
	if (c->walk || c->under_way > 0)
		return;
	if (client) {
		struct kv kv;
		char text[96];
		if (c->is_by_filter && !c->why.text[0])
			reason_set(&c->why, ERR_AGAIN, "%s", still_reading(c->f, text));
		put_counts(c, &kv, "changed");
		control_on_gone(client, NULL, NULL);
		control_on_room(client, NULL, NULL);
		(void)control_line(client, &kv);
		control_end(client, c->failed ? ERR_INVAL : c->busy ? ERR_BUSY : c->why.text[0] ? ERR_AGAIN : 0, c->why.text);
	}
	free(c);
}

static void tell_progress(struct change *c)
{
	uint64_t now = loop_now_ms(c->f->loop);
	struct kv kv;
	if (!c->client || now < c->told_ms + PROGRESS_MS)
		return;
	c->told_ms = now;
	put_counts(c, &kv, "progress");
	(void)control_line(c->client, &kv);
}

static void change_written(void *ctx, int err)
{
	struct change *c = ctx;
	c->under_way--;
	count(c, SPAN_LIT("a message"), err);
	tell_progress(c);
	if (c->walk && c->under_way < CHANGES_AT_ONCE)
		queue_walk_go_on(c->walk);
	end_if_over(c);
}

static int retry(struct forwarder *f, struct fwd_message *m)
{
	if (m->state == FWD_HELD)
		return ERR_INVAL;
	/* One that is being tried is being tried. */
	if (m->state == FWD_WAITING || m->state == FWD_READY)
		scheduler_retry(f->scheduler, m);
	return 0;
}

static void apply(struct change *c, struct fwd_message *m)
{
	struct spool_id id = m->id;
	c->matched++;
	int err = c->what == CHANGE_RETRY ? retry(c->f, m) : settle_wish(c->f->settle, m, changes[c->what].wish, change_written, c);
	if (err == 0 && c->what != CHANGE_RETRY)
		c->under_way++;
	else
		count(c, span_of(id.text), err < 0 ? err : 0);
}

static bool change_message(void *ctx, struct fwd_message *m, const struct attempt *a)
{
	struct change *c = ctx;
	(void)a;
	if (c->under_way >= CHANGES_AT_ONCE)
		return false;
	apply(c, m);
	tell_progress(c);
	return true;
}

static void change_changed(void *ctx, struct fwd_message *m)
{
	struct change *c = ctx;
	c->matched++;
	count(c, span_of(m->id.text), ERR_BUSY);
}

static void change_alive(void *ctx)
{
	tell_progress(ctx);
}

static void change_walked(void *ctx, int err)
{
	struct change *c = ctx;
	c->walk = NULL;
	if (err)
		count(c, SPAN_LIT("the queue"), err);
	end_if_over(c);
}

static void change_gone(void *ctx)
{
	struct change *c = ctx;
	c->client = NULL;
	queue_walk_cancel(&c->walk);
	end_if_over(c);
}

static struct change *change_create(struct forwarder *f, struct control_client *client, struct span verb)
{
	struct change *c = calloc(1, sizeof *c);
	if (!c) {
		control_end(client, ERR_NOMEM, err_name(ERR_NOMEM));
		return NULL;
	}
	c->f = f;
	c->client = client;
	c->told_ms = loop_now_ms(f->loop);
	while (!span_eq(verb, span_of(changes[c->what].verb)))
		c->what++;
	control_on_gone(client, change_gone, c);
	return c;
}

bool queue_answer_is_change(struct span verb)
{
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		if (span_eq(verb, span_of(changes[i].verb)))
			return true;
	}
	return false;
}

void queue_answer_change_some(struct forwarder *f, struct control_client *client, struct span verb, const struct queue_filter *filter)
{
	struct change *c = change_create(f, client, verb);
	struct queue_walk_events events = { change_message, change_changed, change_alive, change_walked, c };
	if (!c)
		return;
	c->is_by_filter = true;
	int err = queue_walk_start(f, filter, false, &events, &c->walk);
	if (err)
		change_walked(c, err);
}

static int find(struct forwarder *f, struct span word, struct fwd_message **out)
{
	struct spool_id id;
	int err = spool_id_parse(word, &id);
	if (!err)
		*out = fwd_table_find(&f->messages, &id);
	return err ? err : *out ? 0 : f->startup_scan ? ERR_AGAIN : ERR_NOTFOUND;
}

/* Every id is tried; the answer names the first that could not be changed. */
void queue_answer_change_ids(struct forwarder *f, struct control_client *client, struct span verb, const struct span *ids, size_t id_count)
{
	struct change *c = change_create(f, client, verb);
	if (!c)
		return;
	c->under_way++; /* so that none of them ends it before the last */
	for (size_t i = 0; i < id_count; i++) {
		struct fwd_message *m;
		int err = find(f, ids[i], &m);
		if (err)
			count(c, ids[i], err);
		else
			apply(c, m);
	}
	c->under_way--;
	end_if_over(c);
}
