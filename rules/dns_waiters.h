/* dns_waiters.h - who waits for an answer of the resolver.  A waiter stands in the ring of its question, then in the ring of those whose
 * answer is ready, which are told on the next turn of the loop.
 * Promise: each is told once, or not at all after it was dropped; ids are never used again.
 * Owns: the waiters, and the answers that those hold who are ready.  Borrows: the loop, from dns_waiters_start on; fixed answers live for ever.
 * Calls back: as dns_source.h says.  A callback may ask again and drop others.
 */
#ifndef POSTERN_DNS_WAITERS_H
#define POSTERN_DNS_WAITERS_H

#include <stdbool.h>
#include <stdint.h>

#include "dns_cache.h"
#include "dns_source.h"
#include "loop.h"

/* Also the head of a ring, which is no waiter itself. */
struct dns_waiter {
	struct dns_waiter *prev, *next;
	uint64_t id; /* the slot in the low half, a generation in the high one */
	dns_answer_fn fn;
	void *ctx;
	struct dns_cached *cached;      /* ready: held */
	const struct dns_answer *fixed; /* ready: instead of a cached one */
};

struct dns_waiters {
	struct loop *loop;
	struct loop_task deliver;
	struct dns_waiter ready; /* head of a ring */
	struct dns_waiter **slots;
	uint32_t slot_count, *free_slots, free_count, generation;
};

/* The address of the struct must not change afterwards. */
void dns_waiters_init(struct dns_waiters *all);
void dns_waiters_start(struct dns_waiters *all, struct loop *loop);

void dns_waiter_ring_init(struct dns_waiter *head);
static inline bool dns_waiter_ring_is_empty(const struct dns_waiter *head)
{
	return head->next == head;
}

/* A new one, in no ring yet: the caller puts it into one before it returns to the loop.  NULL: no memory. */
struct dns_waiter *dns_waiters_add(struct dns_waiters *all, dns_answer_fn fn, void *ctx);

/* Behind the others of the ring. */
void dns_waiter_join(struct dns_waiter *head, struct dns_waiter *w);

/* Out of its ring, if it is in one.  Takes over the hold on cached; cached may be NULL, then fixed is the answer. */
void dns_waiters_make_ready(struct dns_waiters *all, struct dns_waiter *w, struct dns_cached *cached, const struct dns_answer *fixed);

/* Will not be told; an id that is gone is normal. */
void dns_waiters_drop(struct dns_waiters *all, uint64_t id);

/* Drops all, and gives the memory back. */
void dns_waiters_free(struct dns_waiters *all);

#endif
