#include "message_heap.h"

#include <string.h>

/* Of the same second, the one whose id was given first. */
static bool is_before(const struct message_heap *heap, const struct fwd_message *a, const struct fwd_message *b)
{
	int64_t time_a = heap->order == MESSAGE_BY_AGE ? a->accepted_time : a->next_time;
	int64_t time_b = heap->order == MESSAGE_BY_AGE ? b->accepted_time : b->next_time;
	return time_a != time_b ? time_a < time_b : memcmp(a->id.text, b->id.text, SPOOL_ID_LEN) < 0;
}

/* heap_prev: the left sibling, of a first child the parent; heap_next: the right sibling. */
static struct fwd_message *meld(const struct message_heap *heap, struct fwd_message *a, struct fwd_message *b)
{
	if (!a || !b)
		return a ? a : b;
	if (is_before(heap, b, a)) {
		struct fwd_message *swap = a;
		a = b;
		b = swap;
	}
	b->heap_prev = a;
	b->heap_next = a->heap_child;
	if (b->heap_next)
		b->heap_next->heap_prev = b;
	a->heap_child = b;
	a->heap_prev = a->heap_next = NULL;
	return a;
}

/* Siblings become one heap: pairs from the left, then those from the right. */
static struct fwd_message *meld_all(const struct message_heap *heap, struct fwd_message *first)
{
	struct fwd_message *pairs = NULL, *root = NULL;
	while (first) {
		struct fwd_message *a = first, *b = a->heap_next;
		first = b ? b->heap_next : NULL;
		a->heap_prev = a->heap_next = NULL;
		if (b)
			b->heap_prev = b->heap_next = NULL;
		a = meld(heap, a, b);
		a->heap_next = pairs;
		pairs = a;
	}
	while (pairs) {
		struct fwd_message *next = pairs->heap_next;
		pairs->heap_next = NULL;
		root = meld(heap, root, pairs);
		pairs = next;
	}
	return root;
}

void message_heap_add(struct message_heap *heap, struct fwd_message *message)
{
	message->heap_child = message->heap_prev = message->heap_next = NULL;
	heap->root = meld(heap, heap->root, message);
	heap->count++;
}

void message_heap_remove(struct message_heap *heap, struct fwd_message *message)
{
	struct fwd_message *m = message, *children = meld_all(heap, m->heap_child);
	if (heap->root == m) {
		heap->root = children;
	} else {
		*(m->heap_prev->heap_child == m ? &m->heap_prev->heap_child : &m->heap_prev->heap_next) = m->heap_next;
		if (m->heap_next)
			m->heap_next->heap_prev = m->heap_prev;
		heap->root = meld(heap, heap->root, children);
	}
	m->heap_child = m->heap_prev = m->heap_next = NULL;
	heap->count--;
}
