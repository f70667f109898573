#include "rules_set.h"

#include <stdlib.h>

void rules_options_defaults(struct rules_options *options)
{
	*options = (struct rules_options){
		.no_match = NO_MATCH_NOTO, .on_unknown = ON_UNKNOWN_TEMPFAIL, .deny_delay_s = 60, .noto_delay_s = 60
	};
}

struct rules *rules_hold(struct rules *rules)
{
	atomic_fetch_add(&rules->holders, 1);
	return rules;
}

void rules_release(struct rules **rules)
{
	struct rules *r = *rules;
	*rules = NULL;
	if (!r || atomic_fetch_sub(&r->holders, 1) != 1)
		return;
	pattern_regexes_free(&r->regexes);
	arena_free(&r->arena);
	rules_source_release(&r->source);
	free(r);
}

bool rules_is_shared(const struct rules *rules)
{
	return atomic_load(&rules->holders) > 1;
}

uint32_t rules_needs(const struct rules *rules)
{
	uint32_t needs = 0;
	for (uint32_t i = 0; i < rules->count; i++)
		needs |= rules->items[i].action.needs;
	return needs;
}

void rules_measure(const struct rules *rules, struct rules_size *out)
{
	*out = (struct rules_size){ .files = rules_source_count(rules->source), .index_bytes = rules->arena.used_bytes };
	for (uint32_t i = 0; i < out->files; i++)
		out->text_bytes += rules_source_get(rules->source, i)->text.len;
	for (const struct pattern_file *file = rules->files.first; file; file = file->next)
		out->entries += file->entries;
	for (const struct rules_access_file *file = rules->access_files; file; file = file->next)
		out->entries += file->table ? file->table->count : 0;
}

uint32_t rules_count(const struct rules *rules)
{
	return rules->count;
}

uint32_t rules_line(const struct rules *rules, uint32_t index)
{
	return index < rules->count ? rules->items[index].line : 0;
}

struct span rules_action_text(const struct rules *rules, uint32_t index)
{
	return index < rules->count ? rules->items[index].action_text : SPAN_NONE;
}

static void prefetch_pattern(const struct pattern *p, struct rules_facts *facts)
{
	struct fact_key key = { .kind = FACT_NAME };
	if (p->facts & (1u << FACT_NAME))
		(void)facts_want(facts, &key);
	if (p->kind == PATTERN_NS_CLIENT) {
		key.kind = FACT_NS_CLIENT;
		(void)facts_want(facts, &key);
	} else if (p->kind == PATTERN_RBL) {
		key.kind = FACT_RBL;
		key.zone = p->u.rbl->zone;
		(void)facts_want(facts, &key);
	}
}

static void prefetch_set(const struct pattern_set *set, struct rules_facts *facts)
{
	for (uint32_t i = set->free_count; i < set->count; i++)
		prefetch_pattern(&set->items[i], facts);
}

/* The fact table serves as the set in which each key is once. */
static void prefetch_all(const struct rules *rules, struct rules_facts *facts)
{
	if (rules->facts & (1u << FACT_NAME))
		(void)facts_want(facts, &(struct fact_key){ .kind = FACT_NAME }); /* access tables need no pattern for it */
	for (uint32_t r = 0; r < rules->count; r++) {
		const struct rule_list *source = &rules->items[r].lists[RULES_LIST_SOURCE];
		for (uint32_t i = 0; source->facts && i < source->part_count; i++)
			prefetch_set(&source->parts[i], facts);
	}
	for (const struct pattern_file *file = rules->files.first; file; file = file->next)
		if (file->where == WHERE_SOURCE)
			prefetch_set(&file->set, facts);
}

int rules_prefetch_build(struct rules *rules)
{
	struct rules_facts facts = { 0 };
	prefetch_all(rules, &facts);
	struct fact_key *keys = arena_alloc(&rules->arena, facts.session.count * sizeof *keys);
	for (const struct fact *f = facts.session.first; f && keys; f = f->next) {
		struct fact_key *key = &keys[rules->prefetch_count++];
		key->kind = f->key.kind;
		key->zone = arena_copy(&rules->arena, f->key.zone);
	}
	facts_free(&facts);
	rules->prefetch = keys;
	return keys ? 0 : ERR_NOMEM;
}

void rules_prefetch(const struct rules *rules, struct rules_facts *facts)
{
	for (uint32_t i = 0; i < rules->prefetch_count; i++)
		(void)facts_want(facts, &rules->prefetch[i]);
}

const char *verdict_kind_name(enum verdict_kind kind)
{
	switch (kind) {
	case VERDICT_ALLOW: return "allow";
	case VERDICT_DENY: return "deny";
	case VERDICT_NOTO: return "noto";
	case VERDICT_TEMPFAIL: return "tempfail";
	}
	return "tempfail";
}

const char *verdict_need_name(enum verdict_need need)
{
	switch (need) {
	case NEED_FILTER: return "filter";
	case NEED_EXTCHK: return "extchk";
	case NEED_MILTER: return "milter";
	}
	return NULL;
}

const char *rules_list_name(enum rules_list list)
{
	static const char *const names[RULES_LIST_COUNT] = { "source", "from", "to" };
	return (unsigned)list < RULES_LIST_COUNT ? names[list] : "?";
}

enum tri rule_list_match(const struct rule_list *list, struct match *m)
{
	enum tri first = pattern_set_match(&list->parts[0], m);
	if (first == TRI_FALSE || list->part_count == 1)
		return first;
	/* From the right: C; B and not C; A and not (B and not C). */
	enum tri result = TRI_FALSE;
	for (uint32_t i = list->part_count; i-- > 1;) {
		/* The reason is the first part's, or that of what is still unknown; else it would hang on which facts came first. */
		if (first != TRI_UNKNOWN && result != TRI_UNKNOWN)
			m->unknown = NULL;
		result = tri_and(pattern_set_match(&list->parts[i], m), tri_not(result));
	}
	return tri_and(first, tri_not(result));
}
