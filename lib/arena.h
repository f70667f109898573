/* arena.h - memory that is given back all at once: one per transaction, one per rule set.
 * Owns: every block it handed out, until arena_free.  A zeroed struct is a valid empty arena and holds no memory.
 * Fails: NULL without memory; the arena stays usable.
 */
#ifndef POSTERN_ARENA_H
#define POSTERN_ARENA_H

#include <stddef.h>

#include "span.h"

struct arena_block;

struct arena {
	struct arena_block *head;
	size_t used_bytes; /* handed out so far */
};

/* Zeroed memory, aligned for any type. */
void *arena_alloc(struct arena *a, size_t size);

/* A copy of the bytes with a NUL behind them (which is not counted in the span).  ptr NULL without memory. */
struct span arena_copy(struct arena *a, struct span s);

void arena_free(struct arena *a);

#endif
