#include "rules_lint.h"

#include <stdio.h>
#include <stdlib.h>

#include "pattern_cover.h"

/* So many earlier rules are compared for each word of a rule: enough to find what an administrator has forgotten. */
#define CANDIDATES_MAX 16u
#define WORDS_MAX 64u
/* Patterns that are compared for one rule set, and pairs of rules: some tenths of a second. */
#define COMPARISONS_MAX UINT64_C(20000000)

/* Earlier rules that could take everything, by the hash of a word in one of their lists that is not ALL. */
struct lint {
	const struct rules *rules;
	struct rules_diags *diags;
	uint32_t *buckets; /* the latest rule of that hash + 1 */
	uint32_t *older;   /* for each rule: the one before it in its bucket + 1 */
	uint32_t bucket_count;
	uint32_t catch_all; /* the first rule with ALL in all lists; count: none */
	uint64_t compared;
};

static void warn(const struct lint *l, const struct rule *rule, const char *format, uint32_t other, struct span word)
{
	struct rules_place place = { rules_source_get(l->rules->source, 0)->path, rule->line, 1 };
	char text[256];
	(void)snprintf(text, sizeof text, "%.*s", SPAN_FMT(span_sub(word, 0, 120)));
	if (word.ptr)
		rules_diag_add(l->diags, RULES_WARNING, &place, "'%s' %s", text, format);
	else
		rules_diag_add(l->diags, RULES_WARNING, &place, "%s line %u", format, other);
}

/* ---- rules that never match */

static bool is_all(const struct rule_list *list)
{
	const struct pattern_set *set = list->parts;
	return list->part_count == 1 && set->count == 1 && set->items[0].kind == PATTERN_ALL;
}

static bool is_judged(const struct rule *rule)
{
	return rule->action.kind != ACTION_ACCESS;
}

static bool ends_here(const struct rule *rule)
{
	return is_judged(rule) && rules_action_decides(&rule->action);
}

/* What kind of list it stands in is part of it. */
static uint32_t bucket_of(const struct lint *l, int list, const struct pattern *p)
{
	return (uint32_t)((span_hash_nocase(p->word) * 31 + (unsigned)list) % l->bucket_count);
}

/* Filed once, under the first word of its first list that is not ALL: whoever it covers by that very word will find it. */
static void file_rule(struct lint *l, uint32_t index)
{
	const struct rule *rule = &l->rules->items[index];
	for (int i = 0; i < RULES_LIST_COUNT; i++) {
		const struct rule_list *list = &rule->lists[i];
		if (is_all(list))
			continue;
		if (list->part_count == 1 && list->parts[0].count) {
			uint32_t *bucket = &l->buckets[bucket_of(l, i, &list->parts[0].items[0])];
			l->older[index] = *bucket;
			*bucket = index + 1;
		}
		return;
	}
	if (l->catch_all == l->rules->count)
		l->catch_all = index;
}

static bool covers(struct lint *l, const struct rule *wide, const struct rule *narrow)
{
	l->compared++;
	for (int i = 0; i < RULES_LIST_COUNT; i++)
		if (!is_all(&wide->lists[i]) && !rule_list_covers(&wide->lists[i], &narrow->lists[i], &l->compared))
			return false;
	return true;
}

/* Of the rules filed under this word, one that takes all of the rule; count: none. */
static uint32_t find_in(struct lint *l, const struct rule *rule, int list, const struct pattern *word)
{
	uint32_t at = l->buckets[bucket_of(l, list, word)];
	for (unsigned n = 0; at && n < CANDIDATES_MAX; n++, at = l->older[at - 1])
		if (covers(l, &l->rules->items[at - 1], rule))
			return at - 1;
	return l->rules->count;
}

static uint32_t find_wider(struct lint *l, const struct rule *rule)
{
	uint32_t found = l->catch_all;
	for (int i = 0; i < RULES_LIST_COUNT && found == l->rules->count; i++) {
		const struct pattern_set *set = rule->lists[i].parts;
		for (uint32_t k = 0; k < set->count && k < WORDS_MAX && found == l->rules->count; k++)
			found = find_in(l, rule, i, &set->items[k]);
	}
	return found;
}

/* Few rules: every earlier one is compared, so that wider networks and wildcards are found, too. */
static uint32_t find_wider_among_few(struct lint *l, uint32_t index)
{
	for (uint32_t i = 0; i < index; i++)
		if (ends_here(&l->rules->items[i]) && covers(l, &l->rules->items[i], &l->rules->items[index]))
			return i;
	return l->rules->count;
}

#define FEW 2000u

static void look_for_shadow(struct lint *l, uint32_t index)
{
	const struct rule *rule = &l->rules->items[index];
	if (l->compared > COMPARISONS_MAX)
		return;
	uint32_t wider = index < FEW ? find_wider_among_few(l, index) : find_wider(l, rule);
	if (wider != l->rules->count)
		warn(l, rule, "this rule never matches: all that it could is taken by", l->rules->items[wider].line, SPAN_NONE);
	if (ends_here(rule))
		file_rule(l, index);
}

/* ---- single patterns */

static bool all_in(struct span s, const char *set)
{
	for (size_t i = 0; i < s.len; i++)
		if (!s.ptr[i] || !strchr(set, s.ptr[i]))
			return false;
	return s.len > 0;
}

static void look_at_pattern(const struct lint *l, const struct rule *rule, const struct pattern *p)
{
	struct span last = span_sub(p->word, span_rfind(p->word, '.') + 1, p->word.len);
	if (p->kind == PATTERN_ADDRESS_GLOB && all_in(p->word, "0123456789./*") && span_find(p->word, '.', 0) < p->word.len)
		warn(l, rule, "is compared with the mail address, not with the client: an IP address belongs into the source list", 0, p->word);
	if (p->kind == PATTERN_HOST_GLOB && all_in(last, "0123456789-/"))
		warn(l, rule, "is compared as a host name, and none ends so: was an address meant?", 0, p->word);
}

static bool is_query(const struct pattern *p)
{
	return p->facts & (1u << FACT_RBL | 1u << FACT_RHS | 1u << FACT_NS_CLIENT | 1u << FACT_NS_DOMAIN);
}

/* Within a list the order does not matter to us, but it tells what its writer believed. */
static void look_at_order(const struct lint *l, const struct rule *rule, const struct pattern_set *set)
{
	const struct pattern *query = NULL, *plain = NULL;
	for (uint32_t i = 0; i < set->count; i++) {
		const struct pattern *p = &set->items[i];
		if (is_query(p) && (!query || p->word.ptr < query->word.ptr))
			query = p;
		if (!p->facts && p->kind != PATTERN_FILE && (!plain || p->word.ptr > plain->word.ptr))
			plain = p;
	}
	if (query && plain && query->word.ptr < plain->word.ptr)
		warn(l, rule, "asks the DNS in front of patterns that do not: those are compared first all the same", 0, query->word);
}

static uint32_t facts_of(const struct rule *rule)
{
	return rule->lists[0].facts | rule->lists[1].facts | rule->lists[2].facts;
}

/* Two neighbours that do the same can change places. */
static void look_at_neighbour(const struct lint *l, const struct rule *rule, const struct rule *next)
{
	bool same = ends_here(rule) && ends_here(next) && span_eq_nocase(rule->action_text, next->action_text) && rule->message && next->message &&
		    span_eq(rule->message->template, next->message->template);
	if (same && facts_of(rule) && !facts_of(next))
		warn(l, rule, "this rule asks the DNS and stands in front of one that does the same without: better behind", next->line, SPAN_NONE);
}

static void look_at_rule(struct lint *l, uint32_t index)
{
	const struct rule *rule = &l->rules->items[index];
	for (int i = 0; i < RULES_LIST_COUNT; i++)
		for (uint32_t part = 0; part < rule->lists[i].part_count; part++) {
			const struct pattern_set *set = &rule->lists[i].parts[part];
			for (uint32_t k = 0; k < set->count; k++)
				look_at_pattern(l, rule, &set->items[k]);
			look_at_order(l, rule, set);
		}
	if (index + 1 < l->rules->count && is_judged(&l->rules->items[index + 1]))
		look_at_neighbour(l, rule, &l->rules->items[index + 1]);
	look_for_shadow(l, index);
}

int rules_lint(const struct rules *rules, struct rules_diags *diags)
{
	struct lint l = { .rules = rules, .diags = diags, .bucket_count = rules->count * 2 + 1, .catch_all = rules->count };
	l.buckets = calloc(l.bucket_count, sizeof *l.buckets);
	l.older = calloc((size_t)rules->count + 1, sizeof *l.older);
	int err = l.buckets && l.older ? 0 : ERR_NOMEM;
	if (!err && !rules->count)
		rules_diag_add(diags, RULES_WARNING, &(struct rules_place){ .file = rules_source_get(rules->source, 0)->path },
			       "no rule: every recipient gets what no-match in postern.conf(5) says");
	for (uint32_t i = 0; !err && i < rules->count; i++)
		if (is_judged(&rules->items[i]))
			look_at_rule(&l, i);
	free(l.buckets);
	free(l.older);
	return err;
}
