#include "dns_waiters.h"

#include <stdlib.h>

#include "err.h"

static void leave(struct dns_waiter *w)
{
	if (!w->next)
		return;
	w->prev->next = w->next;
	w->next->prev = w->prev;
	w->prev = w->next = NULL;
}

void dns_waiter_ring_init(struct dns_waiter *head)
{
	*head = (struct dns_waiter){ .prev = head, .next = head };
}

void dns_waiter_join(struct dns_waiter *head, struct dns_waiter *w)
{
	w->next = head;
	w->prev = head->prev;
	w->prev->next = head->prev = w;
}

static int grow(struct dns_waiters *all)
{
	uint32_t count = all->slot_count ? all->slot_count * 2 : 64;
	struct dns_waiter **slots = realloc(all->slots, count * sizeof(struct dns_waiter *));
	if (!slots)
		return ERR_NOMEM;
	all->slots = slots;
	uint32_t *free_slots = realloc(all->free_slots, count * sizeof *free_slots);
	if (!free_slots)
		return ERR_NOMEM;
	all->free_slots = free_slots;
	for (uint32_t i = count; i-- > all->slot_count;) {
		slots[i] = NULL;
		free_slots[all->free_count++] = i;
	}
	all->slot_count = count;
	return 0;
}

struct dns_waiter *dns_waiters_add(struct dns_waiters *all, dns_answer_fn fn, void *ctx)
{
	if (all->free_count == 0 && grow(all))
		return NULL;
	struct dns_waiter *w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	uint32_t slot = all->free_slots[--all->free_count];
	w->id = (uint64_t)++all->generation << 32 | (slot + 1);
	w->fn = fn;
	w->ctx = ctx;
	all->slots[slot] = w;
	return w;
}

static void give_back(struct dns_waiters *all, struct dns_waiter *w)
{
	uint32_t slot = (uint32_t)w->id - 1;
	leave(w);
	dns_cached_release(&w->cached);
	all->slots[slot] = NULL;
	all->free_slots[all->free_count++] = slot;
	free(w);
}

void dns_waiters_make_ready(struct dns_waiters *all, struct dns_waiter *w, struct dns_cached *cached, const struct dns_answer *fixed)
{
	leave(w);
	w->cached = cached;
	w->fixed = fixed;
	dns_waiter_join(&all->ready, w);
	loop_task_post(all->loop, &all->deliver);
}

static void deliver(void *ctx)
{
	struct dns_waiters *all = ctx;
	struct dns_waiter now; /* those who are ready by now; who comes in meanwhile waits for the next turn */
	if (dns_waiter_ring_is_empty(&all->ready))
		return;
	now = all->ready;
	now.next->prev = now.prev->next = &now;
	dns_waiter_ring_init(&all->ready);
	while (!dns_waiter_ring_is_empty(&now)) {
		struct dns_waiter *w = now.next;
		struct dns_cached *cached = w->cached;
		struct dns_waiter copy = *w;
		w->cached = NULL;
		give_back(all, w);
		copy.fn(copy.ctx, copy.id, cached ? dns_cached_answer(cached) : copy.fixed);
		dns_cached_release(&cached);
	}
}

void dns_waiters_init(struct dns_waiters *all)
{
	*all = (struct dns_waiters){ .deliver = { .fn = deliver, .ctx = all } };
	dns_waiter_ring_init(&all->ready);
}

void dns_waiters_start(struct dns_waiters *all, struct loop *loop)
{
	all->loop = loop;
}

void dns_waiters_drop(struct dns_waiters *all, uint64_t id)
{
	uint64_t slot = (id & UINT32_MAX) - 1;
	struct dns_waiter *w = id && slot < all->slot_count ? all->slots[slot] : NULL;
	if (w && w->id == id)
		give_back(all, w);
}

void dns_waiters_free(struct dns_waiters *all)
{
	if (all->loop)
		loop_task_cancel(&all->deliver);
	for (uint32_t i = 0; i < all->slot_count; i++)
		if (all->slots[i])
			give_back(all, all->slots[i]);
	free(all->slots);
	free(all->free_slots);
	dns_waiters_init(all);
}
