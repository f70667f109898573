#include "filter_index.h"

#include <stdlib.h>

/* Bits of the bitmap for each text, so that few places look like a text that are none. */
#define BITS_EACH 64u
#define BITMAP_BITS_MIN 15u
#define BITMAP_BITS_MAX 23u

#define NONE UINT32_MAX

struct entry {
	uint32_t next;  /* of the same bucket */
	uint32_t id;
	uint32_t bytes; /* that are hashed, as load4 and load2 give them */
	uint8_t window; /* where they lie in the text */
	struct filter_literal literal;
};

/* Texts whose windows have the same number of bytes. */
struct table {
	uint64_t *bitmap;
	uint32_t *buckets; /* of entries */
	unsigned shift;    /* of the hash, to the number of a bit */
	unsigned bucket_shift;
	size_t count;
};

struct filter_index {
	struct entry *entries;
	uint32_t count;
	struct table longs, shorts; /* windows of four bytes, of two */
};

/* ---- hashes
 * Case is not taken off byte by byte: one bit less in all of them at once.  It makes some bytes alike that are not; who compares will see. */

static uint32_t load4(const char *p)
{
	uint32_t v;
	memcpy(&v, p, sizeof v);
	return v | 0x20202020u;
}

static uint32_t load2(const char *p)
{
	uint16_t v;
	memcpy(&v, p, sizeof v);
	return v | 0x2020u;
}

static uint32_t hash(uint32_t v)
{
	return v * 0x9e3779b1u;
}

static uint32_t bit_of(const struct table *t, uint32_t hashed)
{
	return hashed >> t->shift;
}

static bool has_bit(const struct table *t, uint32_t hashed)
{
	uint32_t bit = bit_of(t, hashed);
	return t->bitmap[bit >> 6] >> (bit & 63) & 1;
}

static uint32_t bucket_of(const struct table *t, uint32_t hashed)
{
	return hashed >> t->bucket_shift;
}

/* ---- building */

static int table_create(struct table *t, size_t count)
{
	unsigned bits = BITMAP_BITS_MIN;
	unsigned bucket_bits = 4;
	while (bits < BITMAP_BITS_MAX && ((size_t)1 << bits) < count * BITS_EACH)
		bits++;
	while (bucket_bits < BITMAP_BITS_MAX && ((size_t)1 << bucket_bits) < count * 2)
		bucket_bits++;
	size_t buckets = (size_t)1 << bucket_bits;
	t->count = count;
	t->shift = 32 - bits;
	t->bucket_shift = 32 - bucket_bits;
	t->bitmap = calloc((size_t)1 << (bits - 6), sizeof *t->bitmap);
	t->buckets = malloc(buckets * sizeof *t->buckets);
	if (!t->bitmap || !t->buckets)
		return ERR_NOMEM;
	memset(t->buckets, 0xff, buckets * sizeof *t->buckets);
	return 0;
}

static unsigned crowd(const struct filter_index *index, const struct table *t, uint32_t hashed)
{
	unsigned n = 0;
	for (uint32_t e = t->buckets[bucket_of(t, hashed)]; e != NONE && n < 16; e = index->entries[e].next)
		n++;
	return n;
}

/* The window that is rarest, and not that of many others. */
static unsigned choose_window(const struct filter_index *index, const struct table *t, const struct filter_literal *l, unsigned size)
{
	unsigned best = 0;
	int best_worth = INT32_MIN;
	for (unsigned at = 0; at + size <= l->len; at++) {
		int worth = 0;
		for (unsigned i = 0; i < size; i++)
			worth += (int)filter_literal_rarity(l->bytes[at + i]);
		worth -= 2 * (int)crowd(index, t, hash(size == 4 ? load4(l->bytes + at) : load2(l->bytes + at)));
		if (worth > best_worth) {
			best_worth = worth;
			best = at;
		}
	}
	return best;
}

static void put(struct filter_index *index, uint32_t at, const struct filter_index_text *text)
{
	struct entry *e = &index->entries[at];
	unsigned size = text->literal.len >= 4 ? 4 : 2;
	struct table *t = size == 4 ? &index->longs : &index->shorts;
	*e = (struct entry){ .id = text->id, .literal = text->literal };
	e->window = (uint8_t)choose_window(index, t, &e->literal, size);
	const char *window = e->literal.bytes + e->window;
	e->bytes = size == 4 ? load4(window) : load2(window);
	uint32_t hashed = hash(e->bytes), bit = bit_of(t, hashed);
	uint32_t *bucket = &t->buckets[bucket_of(t, hashed)];
	e->next = *bucket;
	*bucket = at;
	t->bitmap[bit >> 6] |= UINT64_C(1) << (bit & 63);
}

int filter_index_create(const struct filter_index_text *texts, size_t count, struct filter_index **out)
{
	struct filter_index *index = calloc(1, sizeof *index);
	size_t shorts = 0;
	if (!index || count >= NONE) {
		free(index);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < count; i++)
		shorts += texts[i].literal.len < 4;
	index->entries = malloc((count + 1) * sizeof *index->entries);
	index->count = (uint32_t)count;
	if (!index->entries || table_create(&index->longs, count - shorts) != 0 || table_create(&index->shorts, shorts) != 0) {
		filter_index_destroy(&index);
		return ERR_NOMEM;
	}
	for (size_t i = 0; i < count; i++)
		put(index, (uint32_t)i, &texts[i]);
	*out = index;
	return 0;
}

/* ---- passing */

static bool is_there(const struct entry *e, struct span bytes, size_t window_at)
{
	if (window_at < e->window || bytes.len - (window_at - e->window) < e->literal.len)
		return false;
	const char *p = bytes.ptr + window_at - e->window;
	for (unsigned i = 0; i < e->literal.len; i++)
		if (span_lower(p[i]) != e->literal.bytes[i])
			return false;
	return true;
}

/* The entries at pass->at from pass->entry on. */
static bool next_entry(const struct filter_index *index, struct filter_index_pass *pass, struct filter_find *out)
{
	while (pass->entry != NONE) {
		const struct entry *e = &index->entries[pass->entry];
		pass->entry = e->next;
		if (e->bytes == pass->window && is_there(e, pass->bytes, pass->at)) {
			*out = (struct filter_find){ pass->at - e->window, e->id };
			return true;
		}
	}
	return false;
}

/* The first place at or behind `at` where a text may be; bytes.len: none. */
static size_t next_place(const struct table *t, struct span bytes, size_t at)
{
	size_t end = bytes.len < 4 ? 0 : bytes.len - 3;
	/* In locals: the compiler can't know that nobody changes them. */
	const uint64_t *bitmap = t->bitmap;
	const unsigned shift = t->shift;
	for (; at < end; at++) {
		uint32_t bit = hash(load4(bytes.ptr + at)) >> shift;
		if (bitmap[bit >> 6] >> (bit & 63) & 1)
			return at;
	}
	return bytes.len;
}

static bool is_at4(const struct table *t, struct span bytes, size_t at)
{
	return at + 4 <= bytes.len && has_bit(t, hash(load4(bytes.ptr + at)));
}

static bool is_at2(const struct table *t, struct span bytes, size_t at)
{
	return at + 2 <= bytes.len && has_bit(t, hash(load2(bytes.ptr + at)));
}

static size_t next_place_with_shorts(const struct filter_index *index, struct span bytes, size_t at)
{
	while (at < bytes.len && !is_at2(&index->shorts, bytes, at) && !is_at4(&index->longs, bytes, at))
		at++;
	return at;
}

/* The entries of the window's bucket come next. */
static void look_at(const struct table *t, struct filter_index_pass *pass, uint32_t window)
{
	uint32_t hashed = hash(window);
	pass->window = window;
	pass->entry = has_bit(t, hashed) ? t->buckets[bucket_of(t, hashed)] : NONE;
}

static void look_for_longs(const struct filter_index *index, struct filter_index_pass *pass, size_t at)
{
	const struct table *t = &index->longs;
	if (index->count == 0)
		at = pass->bytes.len;
	pass->at = index->shorts.count ? next_place_with_shorts(index, pass->bytes, at) : next_place(t, pass->bytes, at);
	pass->is_short = false;
	pass->entry = NONE;
	if (pass->at + 4 <= pass->bytes.len)
		look_at(t, pass, load4(pass->bytes.ptr + pass->at));
}

static void look_for_shorts(const struct filter_index *index, struct filter_index_pass *pass)
{
	pass->is_short = true;
	pass->entry = NONE;
	if (pass->at + 2 <= pass->bytes.len)
		look_at(&index->shorts, pass, load2(pass->bytes.ptr + pass->at));
}

void filter_index_start(const struct filter_index *index, struct filter_index_pass *pass, struct span bytes)
{
	pass->bytes = bytes;
	look_for_longs(index, pass, 0);
}

bool filter_index_next(const struct filter_index *index, struct filter_index_pass *pass, struct filter_find *out)
{
	while (pass->at < pass->bytes.len) {
		if (next_entry(index, pass, out))
			return true;
		if (!pass->is_short && index->shorts.count)
			look_for_shorts(index, pass);
		else
			look_for_longs(index, pass, pass->at + 1);
	}
	return false;
}

size_t filter_index_bytes(const struct filter_index *index)
{
	size_t bytes = sizeof *index + index->count * sizeof *index->entries;
	const struct table *tables[] = { &index->longs, &index->shorts };
	for (size_t i = 0; i < 2; i++)
		bytes += ((size_t)1 << (32 - tables[i]->shift)) / 8 + ((size_t)1 << (32 - tables[i]->bucket_shift)) * sizeof *tables[i]->buckets;
	return bytes;
}

void filter_index_destroy(struct filter_index **index)
{
	struct filter_index *i = *index;
	*index = NULL;
	if (!i)
		return;
	free(i->longs.bitmap);
	free(i->longs.buckets);
	free(i->shorts.bitmap);
	free(i->shorts.buckets);
	free(i->entries);
	free(i);
}
