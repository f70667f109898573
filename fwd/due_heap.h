/* due_heap.h - the waiting messages, ordered by the time at which they are due.
 * Borrows: the messages; each knows its place in the heap, so that any one can be taken out.
 */
#ifndef POSTERN_DUE_HEAP_H
#define POSTERN_DUE_HEAP_H

#include "fwd_message.h"

struct due_heap {
	struct fwd_message **items;
	size_t count, room;
};

int due_heap_add(struct due_heap *heap, struct fwd_message *message);
void due_heap_remove(struct due_heap *heap, struct fwd_message *message);
/* The one due first; NULL when nothing waits. */
struct fwd_message *due_heap_first(const struct due_heap *heap);
void due_heap_free(struct due_heap *heap);

#endif
