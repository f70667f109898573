#include "set_table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "err.h"

#define NOBODY UINT32_MAX
#define FIRST_ROOM 256u

struct entry {
	uint8_t from[16], to[16];
	int64_t expires_at;
	uint32_t next;    /* in its bucket, or in the list of free ones */
	uint32_t listing; /* in which the kernel had it */
	uint8_t set;      /* KSET_COUNT: free */
	bool is_in_kernel;
};

struct set_table {
	struct entry *entries;
	uint32_t *buckets; /* as many as there is room for entries */
	uint32_t room, used, free;
	uint32_t listing;
	size_t counts[KSET_COUNT];
	size_t swept;
	uint64_t secret; /* peers choose the addresses */
};

int set_table_create(struct set_table **out)
{
	struct set_table *t = calloc(1, sizeof *t);
	if (!t)
		return ERR_NOMEM;
	t->free = NOBODY;
	if (getrandom(&t->secret, sizeof t->secret, GRND_NONBLOCK) != (ssize_t)sizeof t->secret)
		t->secret = (uintptr_t)t;
	*out = t;
	return 0;
}

void set_table_destroy(struct set_table **table)
{
	if (!*table)
		return;
	free((*table)->entries);
	free((*table)->buckets);
	free(*table);
	*table = NULL;
}

static uint64_t mix(uint64_t h, const uint8_t bytes[16])
{
	uint64_t words[2];
	memcpy(words, bytes, sizeof words);
	h = (h ^ words[0]) * 0x9e3779b97f4a7c15u;
	h = (h ^ h >> 29 ^ words[1]) * 0xbf58476d1ce4e5b9u;
	return h ^ h >> 32;
}

static uint32_t bucket_of(const struct set_table *t, uint8_t set, const uint8_t from[16], const uint8_t to[16])
{
	return (uint32_t)mix(mix(t->secret + set, from), to) & (t->room - 1);
}

static void link_in(struct set_table *t, uint32_t i)
{
	struct entry *e = &t->entries[i];
	uint32_t *head = &t->buckets[bucket_of(t, e->set, e->from, e->to)];
	e->next = *head;
	*head = i;
}

static int grow(struct set_table *t)
{
	uint32_t room = t->room ? t->room * 2 : FIRST_ROOM;
	if (t->used >= SET_TABLE_MAX)
		return ERR_NOSPACE;
	struct entry *entries = realloc(t->entries, room * sizeof *entries);
	if (!entries)
		return ERR_NOMEM;
	t->entries = entries;
	uint32_t *buckets = realloc(t->buckets, room * sizeof *buckets);
	if (!buckets)
		return ERR_NOMEM;
	t->buckets = buckets;
	t->room = room;
	memset(buckets, 0xff, room * sizeof *buckets);
	for (uint32_t i = 0; i < t->used; i++)
		if (t->entries[i].set < KSET_COUNT)
			link_in(t, i);
	return 0;
}

static uint32_t find(const struct set_table *t, enum kernel_set set, const struct kernel_element *e)
{
	if (!t->room)
		return NOBODY;
	uint32_t i = t->buckets[bucket_of(t, (uint8_t)set, e->from.bytes, e->to.bytes)];
	while (i != NOBODY && (t->entries[i].set != (uint8_t)set || memcmp(t->entries[i].from, e->from.bytes, 16) != 0 ||
			       memcmp(t->entries[i].to, e->to.bytes, 16) != 0))
		i = t->entries[i].next;
	return i;
}

int set_table_put(struct set_table *t, enum kernel_set set, const struct kernel_element *element, bool is_in_kernel)
{
	uint32_t i = find(t, set, element);
	if (i == NOBODY) {
		int err = t->free == NOBODY && t->used == t->room ? grow(t) : 0;
		if (err)
			return err;
		i = t->free != NOBODY ? t->free : t->used++;
		struct entry *e = &t->entries[i];
		if (i == t->free)
			t->free = e->next;
		*e = (struct entry){ .set = (uint8_t)set };
		memcpy(e->from, element->from.bytes, sizeof e->from);
		memcpy(e->to, element->to.bytes, sizeof e->to);
		link_in(t, i);
		t->counts[set]++;
	}
	struct entry *e = &t->entries[i];
	e->expires_at = element->expires_at;
	e->is_in_kernel = is_in_kernel;
	e->listing = t->listing;
	return 0;
}

static void remove_at(struct set_table *t, uint32_t i)
{
	struct entry *e = &t->entries[i];
	uint32_t *link = &t->buckets[bucket_of(t, e->set, e->from, e->to)];
	while (*link != i)
		link = &t->entries[*link].next;
	*link = e->next;
	t->counts[e->set]--;
	e->set = KSET_COUNT;
	e->next = t->free;
	t->free = i;
}

bool set_table_remove(struct set_table *t, enum kernel_set set, const struct kernel_element *element)
{
	uint32_t i = find(t, set, element);
	if (i == NOBODY)
		return false;
	remove_at(t, i);
	return true;
}

void set_table_listing_begin(struct set_table *t, enum kernel_set set)
{
	(void)set;
	t->listing++;
}

void set_table_listing_end(struct set_table *t, enum kernel_set set)
{
	for (uint32_t i = 0; i < t->used; i++) {
		const struct entry *e = &t->entries[i];
		if (e->set == (uint8_t)set && e->is_in_kernel && e->listing != t->listing)
			remove_at(t, i);
	}
}

void set_table_lost(struct set_table *t, enum kernel_set set)
{
	for (uint32_t i = 0; i < t->used; i++)
		if (t->entries[i].set == (uint8_t)set)
			t->entries[i].is_in_kernel = false;
}

void set_table_sweep(struct set_table *t, int64_t now, size_t budget)
{
	for (; budget && t->used; budget--, t->swept++) {
		if (t->swept >= t->used)
			t->swept = 0;
		const struct entry *e = &t->entries[t->swept];
		if (e->set < KSET_COUNT && e->expires_at && e->expires_at <= now)
			remove_at(t, (uint32_t)t->swept);
	}
}

size_t set_table_count(const struct set_table *t, enum kernel_set set)
{
	return t->counts[set];
}

static void show(const struct entry *e, struct set_entry *out)
{
	uint8_t family = (uint8_t)kernel_set_family((enum kernel_set)e->set);
	*out = (struct set_entry){ .set = (enum kernel_set)e->set, .is_in_kernel = e->is_in_kernel, .element.expires_at = e->expires_at };
	out->element.from.family = out->element.to.family = family;
	memcpy(out->element.from.bytes, e->from, sizeof e->from);
	memcpy(out->element.to.bytes, e->to, sizeof e->to);
}

bool set_table_next(const struct set_table *t, size_t *cursor, struct set_entry *out)
{
	while (*cursor < t->used) {
		const struct entry *e = &t->entries[(*cursor)++];
		if (e->set < KSET_COUNT) {
			show(e, out);
			return true;
		}
	}
	return false;
}

bool set_table_find(const struct set_table *t, enum kernel_set set, const struct kernel_element *element, struct set_entry *out)
{
	uint32_t i = find(t, set, element);
	if (i != NOBODY)
		show(&t->entries[i], out);
	return i != NOBODY;
}
