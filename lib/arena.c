#include "arena.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 1024u

struct arena_block {
	struct arena_block *next;
	size_t size;
	size_t used;
	alignas(max_align_t) char data[];
};

void *arena_alloc(struct arena *a, size_t size)
{
	const size_t align = alignof(max_align_t);
	if (size > SIZE_MAX / 2)
		return NULL;
	size = (size + align - 1) / align * align;
	if (size == 0)
		size = align;
	struct arena_block *block = a->head;
	if (!block || block->size - block->used < size) {
		/* Grow with what was used before, so that a big rule set needs few blocks and a small transaction little memory. */
		size_t room = a->used_bytes > BLOCK_BYTES ? a->used_bytes : BLOCK_BYTES;
		if (room > 1u << 20)
			room = 1u << 20;
		if (room < size)
			room = size;
		block = malloc(sizeof *block + room);
		if (!block)
			return NULL;
		block->size = room;
		block->used = 0;
		block->next = a->head;
		a->head = block;
	}
	void *out = block->data + block->used;
	block->used += size;
	a->used_bytes += size;
	memset(out, 0, size);
	return out;
}

struct span arena_copy(struct arena *a, struct span s)
{
	char *copy = arena_alloc(a, s.len + 1);
	if (!copy)
		return SPAN_NONE;
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	return (struct span){ copy, s.len };
}

void arena_free(struct arena *a)
{
	while (a->head) {
		struct arena_block *block = a->head;
		a->head = block->next;
		free(block);
	}
	a->used_bytes = 0;
}
