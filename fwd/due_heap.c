#include "due_heap.h"

#include <stdlib.h>

#include "err.h"

static void place(struct due_heap *heap, size_t at, struct fwd_message *m)
{
	heap->items[at] = m;
	m->heap_index = at;
}

static void sift_up(struct due_heap *heap, size_t at)
{
	struct fwd_message *m = heap->items[at];
	while (at > 0 && heap->items[(at - 1) / 2]->next_time > m->next_time) {
		place(heap, at, heap->items[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	place(heap, at, m);
}

static void sift_down(struct due_heap *heap, size_t at)
{
	struct fwd_message *m = heap->items[at];
	for (;;) {
		size_t child = 2 * at + 1;
		if (child >= heap->count)
			break;
		if (child + 1 < heap->count && heap->items[child + 1]->next_time < heap->items[child]->next_time)
			child++;
		if (heap->items[child]->next_time >= m->next_time)
			break;
		place(heap, at, heap->items[child]);
		at = child;
	}
	place(heap, at, m);
}

int due_heap_add(struct due_heap *heap, struct fwd_message *message)
{
	if (heap->count == heap->room) {
		size_t room = heap->room ? heap->room * 2 : 64;
		struct fwd_message **items = realloc(heap->items, room * sizeof *items);
		if (!items)
			return ERR_NOMEM;
		heap->items = items;
		heap->room = room;
	}
	heap->items[heap->count] = message;
	sift_up(heap, heap->count++);
	return 0;
}

void due_heap_remove(struct due_heap *heap, struct fwd_message *message)
{
	size_t at = message->heap_index;
	struct fwd_message *last = heap->items[--heap->count];
	if (last == message)
		return;
	heap->items[at] = last;
	last->heap_index = at;
	sift_up(heap, at);
	sift_down(heap, last->heap_index);
}

struct fwd_message *due_heap_first(const struct due_heap *heap)
{
	return heap->count ? heap->items[0] : NULL;
}

void due_heap_free(struct due_heap *heap)
{
	free(heap->items);
	*heap = (struct due_heap){ NULL, 0, 0 };
}
