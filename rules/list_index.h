/* list_index.h - a FILE= list of any length in little memory: networks as sorted ranges, texts in one hash table that points into the
 * list's own text.
 * Promise: list_index_match says what comparing each added pattern would say, once the client's name is settled; while it is not, it
 * speaks for the patterns without names only (the set keeps one name pattern, which is unknown or pending for all of them).
 * Owns: memory in the arena, after finish; the builder holds memory until finish or abandon.  Borrows: the text of the list.
 * Costs: 8 bytes a distinct IPv4 network, 32 an IPv6 one, about 11 a name, domain or address.
 */
#ifndef POSTERN_LIST_INDEX_H
#define POSTERN_LIST_INDEX_H

#include "arena.h"
#include "pattern_key.h"

struct range_v4 {
	uint32_t first, last;
};

struct range_v6 {
	uint8_t first[16], last[16];
};

/* One text.  kind counts from 1; 0: an empty slot. */
struct list_text {
	uint32_t offset;
	uint16_t tag;
	uint8_t kind, len;
};

struct list_index {
	struct key_filter filter;
	struct span source;
	struct list_text *texts; /* a hash table */
	struct range_v4 *v4;     /* sorted, disjoint */
	struct range_v6 *v6;
	uint32_t text_slots, v4_count, v6_count;
};

/* A zeroed struct with its source (the list's text) set is valid and empty. */
struct list_index_builder {
	struct span source;
	struct key_filter filter;
	struct list_text *texts;
	struct range_v4 *v4;
	struct range_v6 *v6;
	size_t text_count, text_room, v4_count, v4_room, v6_count, v6_room;
};

/* The key must say all, and its text lie in the source.  0 or ERR_NOMEM. */
int list_index_add(struct list_index_builder *b, const struct pattern_key *key);

/* The builder is empty afterwards, also on ERR_NOMEM. */
int list_index_finish(struct list_index_builder *b, struct arena *arena, struct list_index *out);
void list_index_abandon(struct list_index_builder *b);

bool list_index_match(const struct list_index *index, const struct match *m);

#endif
