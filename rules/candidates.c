#include "candidates.h"

#include <stdlib.h>

#include "rules_set.h"

/* A rule under one of its keys. */
struct filing {
	uint64_t hash;
	uint32_t rule;
};

struct builder {
	struct candidates *index;
	struct filing *filings;
	size_t count, room;
	/* How many lists hold a key, by its hash, roughly: keys may share a counter. */
	uint32_t *uses;
	uint32_t uses_mask;
};

/* Sender and recipient have the same kinds of keys. */
static uint64_t list_hash(const struct pattern_key *key, unsigned list)
{
	return pattern_key_hash(key) ^ list * 0x9e3779b97f4a7c15u;
}

/* How much of all mail a key lets through, as a guess: only for choosing between the lists of a rule. */
static uint64_t width_of(const struct pattern_key *key)
{
	static const uint64_t widths[KEY_KIND_COUNT] = { 1, 1, 4, 4, 1, 4, 2, 4, 4 };
	unsigned host_bits = key->kind == KEY_NET ? addr_bits(&key->net.addr) - key->net.bits : 0;
	return widths[key->kind] + (key->kind != KEY_NET ? 0 : key->net.addr.family == ADDR_V6 ? host_bits / 4 : host_bits);
}

/* Only the first part counts: what it does not match, no EXCEPT brings back. */
static bool has_keys(const struct rule_list *list)
{
	struct pattern_key key;
	if (list->part_count == 0 || list->parts[0].count == 0)
		return false;
	for (uint32_t i = 0; i < list->parts[0].count; i++)
		if (!pattern_key_of(&list->parts[0].items[i], &key))
			return false;
	return true;
}

static void count_uses(struct builder *b, const struct rule *rule)
{
	struct pattern_key key;
	for (unsigned l = 0; l < RULES_LIST_COUNT; l++) {
		const uint32_t count = has_keys(&rule->lists[l]) ? rule->lists[l].parts[0].count : 0;
		for (uint32_t i = 0; i < count; i++)
			if (pattern_key_of(&rule->lists[l].parts[0].items[i], &key))
				b->uses[list_hash(&key, l) & b->uses_mask]++;
	}
}

/* UINT64_MAX: the list has no keys. */
static uint64_t cost_of(const struct builder *b, const struct rule *rule, unsigned list)
{
	struct pattern_key key;
	uint64_t cost = 0;
	if (!has_keys(&rule->lists[list]))
		return UINT64_MAX;
	const struct pattern_set *set = &rule->lists[list].parts[0];
	for (uint32_t i = 0; i < set->count; i++)
		if (pattern_key_of(&set->items[i], &key))
			cost += b->uses[list_hash(&key, list) & b->uses_mask] * width_of(&key);
	return cost;
}

static int file_under(struct builder *b, const struct pattern_key *key, unsigned list, uint32_t rule)
{
	if (b->count == b->room) {
		size_t room = b->room * 2 + 64;
		struct filing *filings = realloc(b->filings, room * sizeof *filings);
		if (!filings)
			return ERR_NOMEM;
		b->filings = filings;
		b->room = room;
	}
	b->filings[b->count++] = (struct filing){ list_hash(key, list), rule };
	key_filter_add(&b->index->filters[list], key);
	return 0;
}

static int file_rule(struct builder *b, const struct rule *rule, uint32_t number)
{
	struct candidates *index = b->index;
	struct pattern_key key;
	bool is_named = false;
	unsigned best = 0;
	uint64_t best_cost = UINT64_MAX;
	for (unsigned l = 0; l < RULES_LIST_COUNT; l++) {
		uint64_t cost = cost_of(b, rule, l);
		if (cost < best_cost) {
			best_cost = cost;
			best = l;
		}
	}
	if (best_cost == UINT64_MAX) {
		index->keyless[index->keyless_count++] = number;
		return 0;
	}
	const struct pattern_set *set = &rule->lists[best].parts[0];
	for (uint32_t i = 0; i < set->count; i++) {
		if (!pattern_key_of(&set->items[i], &key))
			continue;
		is_named = is_named || key_is_name(key.kind);
		int err = file_under(b, &key, best, number);
		if (err)
			return err;
	}
	if (is_named)
		index->named[index->named_count++] = number;
	return 0;
}

static int compare(const void *left, const void *right)
{
	const struct filing *a = left, *b = right;
	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	return a->rule < b->rule ? -1 : a->rule > b->rule;
}

/* Scales the upper half of the hash to the table, whose size need not be a power of two. */
static uint32_t slot_of(const struct candidates *index, uint64_t hash)
{
	return (uint32_t)((hash >> 32) * index->slot_count >> 32);
}

static void add_slot(struct candidates *index, uint64_t hash, uint32_t begin, uint32_t end)
{
	uint32_t at = slot_of(index, hash);
	while (index->slots[at].end)
		at = at + 1 == index->slot_count ? 0 : at + 1;
	index->slots[at] = (struct candidate_slot){ (uint32_t)hash, begin, end };
}

static int make_table(struct builder *b, struct arena *arena)
{
	struct candidates *index = b->index;
	uint32_t distinct = 0;
	if (b->count)
		qsort(b->filings, b->count, sizeof *b->filings, compare);
	for (size_t i = 0; i < b->count; i++)
		distinct += i == 0 || b->filings[i].hash != b->filings[i - 1].hash;
	index->slot_count = distinct + distinct / 2 + 1;
	index->slots = arena_alloc(arena, index->slot_count * sizeof *index->slots);
	index->rules = arena_alloc(arena, b->count * sizeof *index->rules);
	if (!index->slots || !index->rules)
		return ERR_NOMEM;
	for (size_t i = 0, begin = 0; i < b->count; i++) {
		index->rules[i] = b->filings[i].rule;
		if (i + 1 == b->count || b->filings[i + 1].hash != b->filings[i].hash) {
			add_slot(index, b->filings[i].hash, (uint32_t)begin, (uint32_t)i + 1);
			begin = i + 1;
		}
	}
	return 0;
}

static int build(struct builder *b, struct arena *arena, const struct rule *rules, uint32_t count)
{
	struct candidates *index = b->index;
	int err = 0;
	b->uses_mask = 1023;
	while (b->uses_mask < 4 * (uint64_t)count && b->uses_mask < UINT32_MAX / 2)
		b->uses_mask = b->uses_mask * 2 + 1;
	b->uses = calloc((size_t)b->uses_mask + 1, sizeof *b->uses);
	index->keyless = arena_alloc(arena, count * sizeof *index->keyless);
	index->named = arena_alloc(arena, count * sizeof *index->named);
	if (!b->uses || !index->keyless || !index->named)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < count; i++)
		count_uses(b, &rules[i]);
	for (uint32_t i = 0; i < count && !err; i++)
		err = file_rule(b, &rules[i], i);
	return err ? err : make_table(b, arena);
}

int candidates_build(struct arena *arena, const struct rule *rules, uint32_t count, struct candidates *out)
{
	*out = (struct candidates){ .rule_count = count };
	struct builder b = { .index = out };
	int err = build(&b, arena, rules, count);
	free(b.filings);
	free(b.uses);
	return err;
}

static void follow(struct candidate_walk *walk, const uint32_t *at, const uint32_t *end)
{
	if (at == end)
		return;
	if (walk->list_count == CANDIDATE_LISTS_MAX) {
		walk->takes_all = true;
		return;
	}
	walk->lists[walk->list_count].at = at;
	walk->lists[walk->list_count++].end = end;
}

static void look_up(const struct candidates *index, unsigned list, const struct key_probe *probes, size_t count,
		    struct candidate_walk *walk)
{
	for (size_t i = 0; i < count; i++) {
		uint64_t hash = probes[i].hash ^ list * 0x9e3779b97f4a7c15u;
		for (uint32_t at = slot_of(index, hash); index->slots[at].end; at = at + 1 == index->slot_count ? 0 : at + 1)
			if (index->slots[at].tag == (uint32_t)hash)
				follow(walk, index->rules + index->slots[at].begin, index->rules + index->slots[at].end);
	}
}

static void look_up_source(const struct candidates *index, const struct rules_facts *facts, struct key_probe *probes,
			   struct candidate_walk *walk)
{
	const struct key_filter *filter = &index->filters[RULES_LIST_SOURCE];
	struct fact_key key = { .kind = FACT_NAME };
	look_up(index, RULES_LIST_SOURCE, probes, key_probe_client(filter, &facts->client.addr, probes), walk);
	const struct fact *name = index->named_count ? facts_find(facts, &key) : NULL;
	if (name && name->state == FACT_PRESENT)
		look_up(index, RULES_LIST_SOURCE, probes, key_probe_name(filter, name->value.text, probes), walk);
	else if (!name || name->state != FACT_ABSENT)
		follow(walk, index->named, index->named + index->named_count);
}

void candidates_begin(const struct candidates *index, const struct rules_facts *facts, struct span from, struct span to,
		      struct candidate_walk *walk)
{
	struct key_probe probes[KEY_PROBES_MAX];
	struct match m;
	walk->list_count = 0;
	walk->rule_count = index->rule_count;
	walk->takes_all = false;
	if (index->rule_count == 0)
		return;
	follow(walk, index->keyless, index->keyless + index->keyless_count);
	look_up_source(index, facts, probes, walk);
	match_begin(&m, from);
	look_up(index, RULES_LIST_FROM, probes, key_probe_address(&index->filters[RULES_LIST_FROM], &m, probes), walk);
	match_begin(&m, to);
	look_up(index, RULES_LIST_TO, probes, key_probe_address(&index->filters[RULES_LIST_TO], &m, probes), walk);
}

/* The first at or after `from`: by doubling steps, since after a wait the walk begins anew far down the file. */
static const uint32_t *skip(const uint32_t *at, const uint32_t *end, uint32_t from)
{
	while (at < end && *at < from) {
		size_t step = 1;
		for (; (size_t)(end - at) > step && at[step] < from; step *= 2)
			at += step;
		at++;
	}
	return at;
}

uint32_t candidates_next(struct candidate_walk *walk, uint32_t from)
{
	uint32_t next = walk->rule_count;
	if (walk->takes_all)
		return from < next ? from : next;
	for (uint32_t i = 0; i < walk->list_count; i++) {
		const uint32_t *at = skip(walk->lists[i].at, walk->lists[i].end, from);
		walk->lists[i].at = at;
		if (at < walk->lists[i].end && *at < next)
			next = *at;
	}
	return next;
}
