#include "rules_syn.h"

#include <stdlib.h>

#include "rules_set.h"

#define RBL_BIT (1u << FACT_RBL)

/* A rule as far as a SYN goes.  Its from and to lists are left out of `rule`: who they match is not known yet. */
struct rules_syn {
	struct rules *rules;
	struct arena arena;
	struct rule *items;     /* source lists only */
	uint32_t *numbers;      /* in the rule set */
	bool *hangs_on_envelope;
	uint32_t count;
	struct candidates candidates;
	struct rules_facts facts; /* the client's, and in the order of rules_syn_lists what block lists said of it */
	uint64_t *list_facts;     /* their ids */
	struct syn_list_answer *answers;
	uint32_t list_count;
	bool has_answers;
};

static enum syn_outcome outcome_of(const struct rule *rule)
{
	return rule->action.kind == ACTION_DROP ? SYN_DROP : rule->action.kind == ACTION_PASS ? SYN_PASS : SYN_SESSION;
}

/* Only tells something to a session. */
static bool is_silent(const struct rule *rule)
{
	return rule->action.kind == ACTION_DEBUG || rule->action.is_dry_run;
}

static bool says_something(const struct rule *rule)
{
	return !is_silent(rule) && (rule->action.kind == ACTION_MARK || outcome_of(rule) != SYN_SESSION);
}

/* ALL, and nothing else. */
static bool is_all(const struct rule_list *list)
{
	return list->part_count == 1 && list->parts[0].count == 1 && list->parts[0].items[0].kind == PATTERN_ALL;
}

/* Up to the last rule that can decide something: whatever those behind it say, the session will hear it. */
static uint32_t last_of_use(const struct rules *rules)
{
	uint32_t end = 0;
	for (uint32_t i = 0; i < rules->count; i++)
		if (says_something(&rules->items[i]))
			end = i + 1;
	return end;
}

/* The fact table serves as the set in which each zone is once. */
static void collect_lists(const struct pattern_set *set, struct rules_facts *facts)
{
	for (uint32_t i = set->free_count; i < set->count; i++) {
		const struct pattern *p = &set->items[i];
		if (p->kind == PATTERN_FILE)
			collect_lists(p->u.set, facts);
		else if (p->kind == PATTERN_RBL)
			(void)facts_want(facts, &(struct fact_key){ .kind = FACT_RBL, .zone = p->u.rbl->zone });
	}
}

int rules_syn_lists_build(struct rules *rules)
{
	struct rules_facts facts = { 0 };
	uint32_t end = last_of_use(rules);
	for (uint32_t r = 0; r < end; r++) {
		const struct rule_list *source = &rules->items[r].lists[RULES_LIST_SOURCE];
		for (uint32_t i = 0; source->facts & RBL_BIT && !is_silent(&rules->items[r]) && i < source->part_count; i++)
			collect_lists(&source->parts[i], &facts);
	}
	struct span *zones = arena_alloc(&rules->arena, facts.session.count * sizeof *zones + 1);
	for (const struct fact *f = facts.session.first; f && zones; f = f->next)
		zones[rules->syn_list_count++] = arena_copy(&rules->arena, f->key.zone);
	facts_free(&facts);
	rules->syn_lists = zones;
	return zones ? 0 : ERR_NOMEM;
}

uint32_t rules_syn_lists(const struct rules *rules, const struct span **zones_out)
{
	*zones_out = rules->syn_lists;
	return rules->syn_list_count;
}

bool rules_syn_has_list(const struct rules *rules, struct span zone)
{
	uint32_t i = 0;
	while (i < rules->syn_list_count && !span_eq_nocase(rules->syn_lists[i], zone))
		i++;
	return i < rules->syn_list_count;
}

static int take_lists(struct rules_syn *syn)
{
	const struct rules *rules = syn->rules;
	syn->list_facts = arena_alloc(&syn->arena, rules->syn_list_count * sizeof *syn->list_facts + 1);
	syn->answers = arena_alloc(&syn->arena, rules->syn_list_count * sizeof *syn->answers + 1);
	if (!syn->list_facts || !syn->answers)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < rules->syn_list_count; i++) {
		const struct fact *f = facts_want(&syn->facts, &(struct fact_key){ .kind = FACT_RBL, .zone = rules->syn_lists[i] });
		if (!f)
			return ERR_NOMEM;
		syn->list_facts[syn->list_count++] = f->id;
	}
	return 0;
}

static int take_rules(struct rules_syn *syn)
{
	const struct rules *rules = syn->rules;
	uint32_t end = last_of_use(rules);
	syn->items = arena_alloc(&syn->arena, end * sizeof *syn->items + 1);
	syn->numbers = arena_alloc(&syn->arena, end * sizeof *syn->numbers + 1);
	syn->hangs_on_envelope = arena_alloc(&syn->arena, end * sizeof *syn->hangs_on_envelope + 1);
	if (!syn->items || !syn->numbers || !syn->hangs_on_envelope)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < end; i++) {
		const struct rule *rule = &rules->items[i];
		bool is_access = rule->action.kind == ACTION_ACCESS;
		if (is_silent(rule))
			continue;
		syn->hangs_on_envelope[syn->count] = is_access || !is_all(&rule->lists[RULES_LIST_FROM]) || !is_all(&rule->lists[RULES_LIST_TO]);
		syn->numbers[syn->count] = i;
		/* An access table has no lists: without patterns it is looked at for everybody. */
		syn->items[syn->count++] = (struct rule){ .line = rule->line, .action = rule->action, .message = rule->message,
							  .lists[RULES_LIST_SOURCE] = rule->lists[RULES_LIST_SOURCE] };
	}
	return candidates_build(&syn->arena, syn->items, syn->count, &syn->candidates);
}

int rules_syn_create(struct rules *rules, struct rules_syn **out)
{
	struct rules_syn *syn = calloc(1, sizeof *syn);
	if (!syn)
		return ERR_NOMEM;
	syn->rules = rules_hold(rules);
	int err = take_rules(syn);
	if (!err)
		err = take_lists(syn);
	if (err)
		rules_syn_destroy(&syn);
	else
		*out = syn;
	return err;
}

void rules_syn_destroy(struct rules_syn **syn)
{
	struct rules_syn *s = *syn;
	if (!s)
		return;
	facts_free(&s->facts);
	arena_free(&s->arena);
	rules_release(&s->rules);
	free(s);
	*syn = NULL;
}

const struct rules *rules_syn_rules(const struct rules_syn *syn)
{
	return syn->rules;
}

uint32_t rules_syn_count(const struct rules_syn *syn)
{
	return syn->count;
}

static void forget_answers(struct rules_syn *syn)
{
	static const struct fact_value none;
	for (uint32_t i = 0; syn->has_answers && i < syn->list_count; i++)
		facts_lend(&syn->facts, syn->list_facts[i], FACT_NOT_ASKED, &none);
	syn->has_answers = false;
}

/* All of them at once: a rule that hangs on one list mostly hangs on others. */
static void fetch_answers(struct rules_syn *syn, const struct syn_lists *lists)
{
	for (uint32_t i = 0; i < syn->list_count; i++) {
		struct syn_list_answer *answer = &syn->answers[i];
		if (!lists->find(lists->ctx, i, &syn->facts.client.addr, answer))
			continue;
		const struct fact_value value = { .addrs = answer->addrs, .addr_count = answer->count };
		facts_lend(&syn->facts, syn->list_facts[i], answer->count ? FACT_PRESENT : FACT_ABSENT, &value);
	}
	syn->has_answers = true;
}

static enum tri match_source(struct rules_syn *syn, const struct rule *rule)
{
	struct match m;
	m.facts = &syn->facts;
	m.collect = false;
	match_begin(&m, SPAN_NONE);
	return rule_list_match(&rule->lists[RULES_LIST_SOURCE], &m);
}

/* Pending stands for everything that is not known yet. */
static enum tri judge_rule(struct rules_syn *syn, uint32_t index, const struct syn_lists *lists, bool *by_lists)
{
	const struct rule *rule = &syn->items[index];
	enum tri source = rule->action.kind == ACTION_ACCESS ? TRI_TRUE : match_source(syn, rule);
	if (source == TRI_PENDING && lists && syn->list_count && rule->lists[RULES_LIST_SOURCE].facts & RBL_BIT && !syn->has_answers) {
		fetch_answers(syn, lists);
		source = match_source(syn, rule);
	}
	if (syn->has_answers && rule->lists[RULES_LIST_SOURCE].facts & RBL_BIT && (source == TRI_TRUE || source == TRI_FALSE))
		*by_lists = true;
	return source == TRI_FALSE ? source : source == TRI_TRUE && !syn->hangs_on_envelope[index] ? TRI_TRUE : TRI_PENDING;
}

static void add_mark(struct mark_value *mark, const struct mark_value *more)
{
	mark->bits = (mark->bits & ~more->mask) | more->bits;
	mark->mask |= more->mask;
}

/* Both end the same for whoever meets them, down to what they say. */
static bool same_end(const struct rule *a, const struct rule *b)
{
	return a->action.kind == b->action.kind && (a->message == b->message || span_eq(a->message->template, b->message->template));
}

static void leave(struct syn_verdict *out, enum syn_left why, const struct rule *rule)
{
	out->left = why;
	out->left_line = rule->line;
}

void rules_syn_judge(struct rules_syn *syn, const struct rules_client *client, const struct syn_lists *lists, struct syn_verdict *out)
{
	struct candidate_walk walk;
	const struct rule *maybe = NULL; /* the first rule that may match, of which all that do so far end the same */
	*out = (struct syn_verdict){ .rule_index = RULES_NO_INDEX };
	if (syn->count == 0)
		return;
	syn->facts.client = *client;
	syn->facts.client.is_before_helo = true;
	forget_answers(syn);
	candidates_begin(&syn->candidates, &syn->facts, SPAN_NONE, SPAN_NONE, &walk);
	for (uint32_t i = candidates_next(&walk, 0); i < syn->count; i = candidates_next(&walk, i + 1)) {
		const struct rule *rule = &syn->items[i];
		enum tri result = judge_rule(syn, i, lists, &out->by_lists);
		if (result == TRI_TRUE && rule->action.kind == ACTION_MARK) {
			add_mark(&out->mark, &rule->action.mark);
			/* As the session will see it. */
			syn->facts.client.mark = (client->mark & ~out->mark.mask) | out->mark.bits;
		}
		if (result == TRI_FALSE || rule->action.kind == ACTION_MARK)
			continue;
		if (outcome_of(rule) == SYN_SESSION || (maybe && !same_end(maybe, rule))) {
			leave(out, maybe || result != TRI_TRUE ? SYN_LEFT_UNKNOWN : SYN_LEFT_OTHER, maybe ? maybe : rule);
			return;
		}
		if (result == TRI_TRUE) {
			out->outcome = outcome_of(rule);
			out->rule_index = syn->numbers[i];
			out->rule_line = rule->line;
			return;
		}
		maybe = maybe ? maybe : rule;
	}
	if (maybe)
		leave(out, SYN_LEFT_UNKNOWN, maybe);
}
