/* session_reply.h - reply slots: replies leave in the order of their commands, whenever they become ready.
 * A command that is answered at once while nobody waits goes straight to the output buffer and costs no slot.  A command that waits takes a
 * slot; whatever is answered behind it queues up.  A slot may also hold its reply back for a while (noto-delay, tarpitting).
 * Owns: the slots.  Calls back: ready(ctx) on the loop when a held reply was released, so that the owner writes and goes on.
 */
#ifndef POSTERN_SESSION_REPLY_H
#define POSTERN_SESSION_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "loop.h"
#include "span.h"

struct reply_slot;

struct reply_queue {
	struct loop *loop;
	struct buf *out;       /* borrowed: where replies go */
	loop_fn ready;
	void *ctx;
	struct reply_slot *head, *tail;
	uint32_t count;
	bool is_closing;       /* a reply that ends the session was given, perhaps into a slot that waits: no command is worth running */
	bool closes;           /* that reply has left: nothing follows it */
};

void reply_queue_init(struct reply_queue *q, struct loop *loop, struct buf *out, loop_fn ready, void *ctx);
void reply_queue_free(struct reply_queue *q);

/* Reserve the place of a reply that comes later.  NULL without memory. */
struct reply_slot *reply_queue_reserve(struct reply_queue *q);

/* Fill a slot: lines is one or more whole reply lines with their CRLF.  closes: the session ends behind this reply.  hold_ms: not
 * before that time.  slot NULL: a reply to the command at hand, in its turn.  ERR_NOMEM: the session must end. */
int reply_queue_fill(struct reply_queue *q, struct reply_slot *slot, struct span lines, bool closes, uint64_t hold_ms);

/* Is nothing waiting? */
static inline bool reply_queue_is_empty(const struct reply_queue *q)
{
	return q->head == NULL;
}

#endif
