/* message_heap.h - messages in an order of which only the first is ever asked for: those that wait, by the time at which they are due;
 * those in a line, oldest first.
 * A pairing heap whose links are in the messages: nothing is allocated, so adding never fails, and any one can be taken out.  A message
 * is in one heap at most.
 * Borrows: the messages.
 */
#ifndef POSTERN_MESSAGE_HEAP_H
#define POSTERN_MESSAGE_HEAP_H

#include "fwd_message.h"

enum message_order { MESSAGE_BY_DUE_TIME, MESSAGE_BY_AGE };

struct message_heap {
	enum message_order order;
	struct fwd_message *root;
	size_t count;
};

void message_heap_add(struct message_heap *heap, struct fwd_message *message);
void message_heap_remove(struct message_heap *heap, struct fwd_message *message);
/* NULL: it is empty. */
static inline struct fwd_message *message_heap_first(const struct message_heap *heap)
{
	return heap->root;
}

#endif
