#include "session_reply.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

struct reply_slot {
	struct reply_slot *next;
	struct reply_queue *queue;
	struct loop_timer *timer; /* only while it is held back */
	bool is_ready, closes;
	struct span lines;        /* owned copy */
};

void reply_queue_init(struct reply_queue *q, struct loop *loop, struct buf *out, loop_fn ready, void *ctx)
{
	memset(q, 0, sizeof *q);
	q->loop = loop;
	q->out = out;
	q->ready = ready;
	q->ctx = ctx;
}

static void slot_free(struct reply_slot *slot)
{
	loop_timer_destroy(&slot->timer);
	free((void *)(uintptr_t)slot->lines.ptr);
	free(slot);
}

void reply_queue_free(struct reply_queue *q)
{
	while (q->head) {
		struct reply_slot *slot = q->head;
		q->head = slot->next;
		slot_free(slot);
	}
	q->tail = NULL;
	q->count = 0;
}

struct reply_slot *reply_queue_reserve(struct reply_queue *q)
{
	struct reply_slot *slot = calloc(1, sizeof *slot);
	if (!slot)
		return NULL;
	slot->queue = q;
	if (q->tail)
		q->tail->next = slot;
	else
		q->head = slot;
	q->tail = slot;
	q->count++;
	return slot;
}

static int emit(struct reply_queue *q, struct span lines, bool closes)
{
	if (q->closes)
		return 0;
	q->closes = closes;
	return buf_append_span(q->out, lines);
}

/* Everything at the head that is ready leaves. */
static int release(struct reply_queue *q)
{
	int err = 0;
	while (!err && q->head && q->head->is_ready) {
		struct reply_slot *slot = q->head;
		err = emit(q, slot->lines, slot->closes);
		q->head = slot->next;
		if (!q->head)
			q->tail = NULL;
		q->count--;
		slot_free(slot);
	}
	return err;
}

static void hold_over(void *ctx)
{
	struct reply_slot *slot = ctx;
	struct reply_queue *q = slot->queue;
	slot->is_ready = true;
	if (release(q) != 0)
		q->closes = true;
	q->ready(q->ctx);
}

int reply_queue_fill(struct reply_queue *q, struct reply_slot *slot, struct span lines, bool closes, uint64_t hold_ms)
{
	if (closes)
		q->is_closing = true;
	if (!slot && !q->head && hold_ms == 0)
		return emit(q, lines, closes);
	if (!slot)
		slot = reply_queue_reserve(q);
	if (!slot)
		return ERR_NOMEM;
	char *copy = malloc(lines.len ? lines.len : 1);
	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, lines.ptr, lines.len);
	slot->lines = (struct span){ copy, lines.len };
	slot->closes = closes;
	if (hold_ms) {
		int err = loop_timer_create(q->loop, hold_over, slot, &slot->timer);
		if (!err)
			loop_timer_start(slot->timer, hold_ms);
		return err;
	}
	slot->is_ready = true;
	return release(q);
}
