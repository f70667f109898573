/* queue_walk.h - goes through the messages that wait and hands out those that a filter takes, oldest first.
 * What the filter needs of envelopes is read in loop jobs, a few hundred messages at a time, while the ones before are handed out:
 * so a queue of any length neither stops the loop nor needs memory for more than its ids (15 bytes each, while the walk lasts).
 * Messages that come or go meanwhile may be missed.  One that was tried or settled between being read and being handed out is another
 * message to a filter that looks at its recipients: it is not handed out, but told by `changed`.
 * Calls back: on the loop, never before the starting function has returned.  A job can't be taken back: see forwarder.read_jobs.
 */
#ifndef POSTERN_QUEUE_WALK_H
#define POSTERN_QUEUE_WALK_H

#include <stdbool.h>

#include "attempt.h"
#include "forwarder.h"
#include "queue_filter.h"

struct queue_walk;

struct queue_walk_events {
	/* a: what was read, only for the call; NULL when nothing was asked to be read, or it can't be.  False: no room, offer it again
	 * after queue_walk_go_on. */
	bool (*message)(void *ctx, struct fwd_message *m, const struct attempt *a);
	/* The filter took m as it was; nobody knows whether it takes it as it is.  NULL: hand it out all the same, as a listing may. */
	void (*changed)(void *ctx, struct fwd_message *m);
	/* Something was read, whether or not it is handed out: a sign of life.  May be NULL. */
	void (*alive)(void *ctx);
	/* Once, unless cancelled; the walk is gone then.  ERR_NOMEM. */
	void (*end)(void *ctx, int err);
	void *ctx;
};

/* reads_all: read every message that is handed out, also where the filter needs nothing. */
int queue_walk_start(struct forwarder *f, const struct queue_filter *filter, bool reads_all, const struct queue_walk_events *events,
                     struct queue_walk **out);
void queue_walk_go_on(struct queue_walk *walk);
void queue_walk_cancel(struct queue_walk **walk);

/* As listings show it. */
const char *queue_walk_state(const struct fwd_message *m);

#endif
