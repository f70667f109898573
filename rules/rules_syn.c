#include "rules_syn.h"

#include <stdlib.h>

#include "rules_set.h"

/* A rule as far as a SYN goes.  Its from and to lists are left out of `rule`: who they match is not known yet. */
struct rules_syn {
	struct rules *rules;
	struct arena arena;
	struct rule *items;     /* source lists only */
	uint32_t *numbers;      /* in the rule set */
	bool *hangs_on_envelope;
	uint32_t count;
	struct candidates candidates;
	struct rules_facts facts; /* none but the client's */
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

uint32_t rules_syn_count(const struct rules_syn *syn)
{
	return syn->count;
}

/* Pending stands for everything that is not known yet. */
static enum tri judge_rule(struct rules_syn *syn, uint32_t index)
{
	const struct rule *rule = &syn->items[index];
	struct match m;
	enum tri source = TRI_TRUE;
	m.facts = &syn->facts;
	m.collect = false;
	match_begin(&m, SPAN_NONE);
	if (rule->action.kind != ACTION_ACCESS)
		source = rule_list_match(&rule->lists[RULES_LIST_SOURCE], &m);
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

void rules_syn_judge(struct rules_syn *syn, const struct rules_client *client, struct syn_verdict *out)
{
	struct candidate_walk walk;
	const struct rule *maybe = NULL; /* the first rule that may match, of which all that do so far end the same */
	*out = (struct syn_verdict){ .rule_index = RULES_NO_INDEX };
	if (syn->count == 0)
		return;
	syn->facts.client = *client;
	syn->facts.client.is_before_helo = true;
	candidates_begin(&syn->candidates, &syn->facts, SPAN_NONE, SPAN_NONE, &walk);
	for (uint32_t i = candidates_next(&walk, 0); i < syn->count; i = candidates_next(&walk, i + 1)) {
		const struct rule *rule = &syn->items[i];
		enum tri result = judge_rule(syn, i);
		if (result == TRI_TRUE && rule->action.kind == ACTION_MARK) {
			add_mark(&out->mark, &rule->action.mark);
			/* As the session will see it. */
			syn->facts.client.mark = (client->mark & ~out->mark.mask) | out->mark.bits;
		}
		if (result == TRI_FALSE || rule->action.kind == ACTION_MARK)
			continue;
		if (outcome_of(rule) == SYN_SESSION || (maybe && !same_end(maybe, rule)))
			return;
		if (result == TRI_TRUE) {
			out->outcome = outcome_of(rule);
			out->rule_index = syn->numbers[i];
			out->rule_line = rule->line;
			return;
		}
		maybe = maybe ? maybe : rule;
	}
}
