#include "list_index.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

/* ---- building */

static void *grown(void *items, size_t count, size_t *room, size_t size)
{
	if (count < *room)
		return items;
	size_t wanted = *room * 2 + 64;
	void *more = realloc(items, wanted * size);
	if (more)
		*room = wanted;
	return more;
}

static uint32_t load_v4(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static int add_v4(struct list_index_builder *b, const struct cidr *net)
{
	struct range_v4 *v4 = grown(b->v4, b->v4_count, &b->v4_room, sizeof *v4);
	if (!v4)
		return ERR_NOMEM;
	b->v4 = v4;
	uint32_t first = load_v4(net->addr.bytes), host = net->bits >= 32 ? 0 : UINT32_MAX >> net->bits;
	b->v4[b->v4_count++] = (struct range_v4){ first, first | host };
	return 0;
}

static int add_v6(struct list_index_builder *b, const struct cidr *net)
{
	struct range_v6 *v6 = grown(b->v6, b->v6_count, &b->v6_room, sizeof *v6);
	if (!v6)
		return ERR_NOMEM;
	b->v6 = v6;
	struct range_v6 *range = &b->v6[b->v6_count++];
	for (unsigned i = 0; i < 16; i++) {
		unsigned fixed = net->bits > i * 8 ? net->bits - i * 8 : 0;
		range->first[i] = net->addr.bytes[i];
		range->last[i] = (uint8_t)(net->addr.bytes[i] | (fixed >= 8 ? 0 : 0xff >> fixed));
	}
	return 0;
}

static int add_text(struct list_index_builder *b, const struct pattern_key *key)
{
	struct list_text *texts = grown(b->texts, b->text_count, &b->text_room, sizeof *texts);
	if (!texts)
		return ERR_NOMEM;
	b->texts = texts;
	b->texts[b->text_count++] = (struct list_text){
		.offset = key->text.len ? (uint32_t)(key->text.ptr - b->source.ptr) : 0,
		.tag = (uint16_t)pattern_key_hash(key),
		.kind = (uint8_t)(key->kind + 1),
		.len = (uint8_t)key->text.len,
	};
	return 0;
}

int list_index_add(struct list_index_builder *b, const struct pattern_key *key)
{
	key_filter_add(&b->filter, key);
	if (key->kind != KEY_NET)
		return add_text(b, key);
	return key->net.addr.family == ADDR_V6 ? add_v6(b, &key->net) : add_v4(b, &key->net);
}

void list_index_abandon(struct list_index_builder *b)
{
	free(b->texts);
	free(b->v4);
	free(b->v6);
	*b = (struct list_index_builder){ .source = b->source };
}

/* ---- networks */

static int compare_v4(const void *left, const void *right)
{
	const struct range_v4 *a = left, *b = right;
	return a->first < b->first ? -1 : a->first > b->first;
}

static int compare_v6(const void *left, const void *right)
{
	const struct range_v6 *a = left, *b = right;
	return memcmp(a->first, b->first, sizeof a->first);
}

/* Sorted by where they begin, networks lie inside what went before them or behind it. */
static int finish_v4(struct list_index_builder *b, struct arena *arena, struct list_index *out)
{
	uint32_t n = 0;
	if (b->v4_count == 0)
		return 0;
	qsort(b->v4, b->v4_count, sizeof *b->v4, compare_v4);
	for (size_t i = 0; i < b->v4_count; i++) {
		if (n == 0 || b->v4[i].first > b->v4[n - 1].last)
			b->v4[n++] = b->v4[i];
		else if (b->v4[i].last > b->v4[n - 1].last)
			b->v4[n - 1].last = b->v4[i].last;
	}
	out->v4 = arena_alloc(arena, n * sizeof *out->v4);
	if (!out->v4)
		return ERR_NOMEM;
	memcpy(out->v4, b->v4, n * sizeof *out->v4);
	out->v4_count = n;
	return 0;
}

static int finish_v6(struct list_index_builder *b, struct arena *arena, struct list_index *out)
{
	uint32_t n = 0;
	if (b->v6_count == 0)
		return 0;
	qsort(b->v6, b->v6_count, sizeof *b->v6, compare_v6);
	for (size_t i = 0; i < b->v6_count; i++) {
		if (n == 0 || memcmp(b->v6[i].first, b->v6[n - 1].last, 16) > 0)
			b->v6[n++] = b->v6[i];
		else if (memcmp(b->v6[i].last, b->v6[n - 1].last, 16) > 0)
			memcpy(b->v6[n - 1].last, b->v6[i].last, 16);
	}
	out->v6 = arena_alloc(arena, n * sizeof *out->v6);
	if (!out->v6)
		return ERR_NOMEM;
	memcpy(out->v6, b->v6, n * sizeof *out->v6);
	out->v6_count = n;
	return 0;
}

static bool has_v4(const struct list_index *index, uint32_t addr)
{
	uint32_t low = 0, high = index->v4_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (index->v4[middle].last < addr)
			low = middle + 1;
		else
			high = middle;
	}
	return low < index->v4_count && index->v4[low].first <= addr;
}

static bool has_v6(const struct list_index *index, const uint8_t addr[16])
{
	uint32_t low = 0, high = index->v6_count;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (memcmp(index->v6[middle].last, addr, 16) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < index->v6_count && memcmp(index->v6[low].first, addr, 16) <= 0;
}

/* ---- texts */

static uint32_t slot_of(const struct list_index *index, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * index->text_slots >> 32);
}

static struct span text_at(const struct list_index *index, const struct list_text *text)
{
	return span_sub(index->source, text->offset, (size_t)text->offset + text->len);
}

/* The slot of that text, or the empty one where it belongs: the table is never full. */
static struct list_text *find_text(const struct list_index *index, const struct key_probe *probe)
{
	uint32_t at = slot_of(index, probe->hash);
	for (;;) {
		struct list_text *text = &index->texts[at];
		if (text->kind == 0 || (text->tag == (uint16_t)probe->hash && text->kind == (unsigned)probe->kind + 1 &&
					span_eq_nocase(text_at(index, text), probe->text)))
			return text;
		at = at + 1 == index->text_slots ? 0 : at + 1;
	}
}

static int finish_texts(struct list_index_builder *b, struct arena *arena, struct list_index *out)
{
	if (b->text_count == 0)
		return 0;
	/* A quarter stays empty: runs stay short. */
	out->text_slots = (uint32_t)(b->text_count + b->text_count / 3 + 2);
	out->texts = arena_alloc(arena, out->text_slots * sizeof *out->texts);
	if (!out->texts)
		return ERR_NOMEM;
	for (size_t i = 0; i < b->text_count; i++) {
		struct pattern_key key = { .kind = (enum key_kind)(b->texts[i].kind - 1), .text = text_at(out, &b->texts[i]) };
		struct key_probe probe = { pattern_key_hash(&key), key.kind, key.text };
		*find_text(out, &probe) = b->texts[i];
	}
	return 0;
}

int list_index_finish(struct list_index_builder *b, struct arena *arena, struct list_index *out)
{
	*out = (struct list_index){ .source = b->source, .filter = b->filter };
	int err = finish_v4(b, arena, out);
	if (!err)
		err = finish_v6(b, arena, out);
	if (!err)
		err = finish_texts(b, arena, out);
	list_index_abandon(b);
	return err;
}

/* ---- matching */

static bool has_addr(const struct list_index *index, const struct addr *addr)
{
	return addr->family == ADDR_V6 ? has_v6(index, addr->bytes) : addr->family == ADDR_V4 && has_v4(index, load_v4(addr->bytes));
}

bool list_index_match(const struct list_index *index, const struct match *m)
{
	struct key_probe probes[KEY_PROBES_MAX];
	struct fact_key key = { .kind = FACT_NAME };
	if (has_addr(index, &m->facts->client.addr))
		return true;
	if (index->text_slots == 0)
		return false;
	/* A list is of one place: in a source list there are names, in the others addresses. */
	const bool has_names = index->filter.kinds & (1u << KEY_NAME | 1u << KEY_NAME_SUFFIX | 1u << KEY_NAME_DOMAIN);
	const struct fact *name = has_names ? facts_find(m->facts, &key) : NULL;
	size_t count = 0;
	if (!has_names)
		count = key_probe_address(&index->filter, m, probes);
	else if (name && name->state == FACT_PRESENT)
		count = key_probe_name(&index->filter, name->value.text, probes);
	for (size_t i = 0; i < count; i++)
		if (find_text(index, &probes[i])->kind)
			return true;
	return false;
}
