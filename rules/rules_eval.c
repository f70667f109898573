#include <stdio.h>

#include "rules_access.h"
#include "rules_closest.h"
#include "rules_set.h"

#define UNKNOWN_REPLY "451 4.4.3 Temporary lookup failure, please try again later"

/* What a rule, or the end of the file, does to the recipient. */
struct outcome {
	enum verdict_kind kind;
	uint32_t needs;
	uint64_t delay_s;
	bool is_tarpit, is_drop, is_pass;
	const struct rules_message *message; /* NULL: accepted, no reply of ours */
};

static void next_rule(struct rules_eval *eval, uint32_t index)
{
	eval->next = index;
	for (int i = 0; i < RULES_LIST_COUNT; i++)
		eval->lists[i] = TRI_PENDING;
}

void rules_eval_start(struct rules_eval *eval, struct rules *rules, struct rules_facts *facts, struct span from, struct span to,
		      const struct rules_hooks *hooks)
{
	*eval = (struct rules_eval){ .rules = rules_hold(rules), .facts = facts, .hooks = hooks, .from = from, .to = to };
	next_rule(eval, 0);
}

void rules_eval_end(struct rules_eval *eval)
{
	rules_release(&eval->rules);
}

static struct outcome outcome_of(const struct rules_eval *eval, uint32_t index)
{
	const struct rules *rules = eval->rules;
	struct outcome o = { .kind = VERDICT_NOTO, .message = &rules->default_message };
	if (index == rules->count) {
		if (rules->options.no_match == NO_MATCH_ALLOW)
			o = (struct outcome){ .kind = VERDICT_ALLOW };
		return o;
	}
	const struct rule *rule = &rules->items[index];
	o.message = rule->message;
	/* An access rule never hangs on: it is the outcome, or none. */
	if (rule->action.kind == ACTION_ACCESS && eval->access)
		o = (struct outcome){ .kind = eval->access->kind == ACCESS_ALLOW ? VERDICT_ALLOW : VERDICT_NOTO,
				      .message = eval->access->kind == ACCESS_ALLOW ? NULL : &eval->access->message };
	if (rule->action.kind == ACTION_ALLOW)
		o = (struct outcome){ .kind = VERDICT_ALLOW, .needs = rule->action.needs };
	else if (rule->action.kind == ACTION_PASS)
		o = (struct outcome){ .kind = VERDICT_ALLOW };
	else if (rule->action.kind == ACTION_DENY || rule->action.kind == ACTION_DROP)
		o.kind = VERDICT_DENY;
	o.is_tarpit = rule->action.is_tarpit;
	o.is_drop = rule->action.kind == ACTION_DROP;
	o.is_pass = rule->action.kind == ACTION_PASS;
	if (rule->action.delay != DELAY_NONE)
		o.delay_s = rule->action.delay == DELAY_DENY ? rules->options.deny_delay_s : rules->options.noto_delay_s;
	return o;
}

static bool same_outcome(const struct rules_eval *eval, uint32_t a, uint32_t b)
{
	struct outcome x = outcome_of(eval, a), y = outcome_of(eval, b);
	if (x.kind != y.kind || x.needs != y.needs || x.delay_s != y.delay_s || x.is_tarpit != y.is_tarpit || x.is_drop != y.is_drop ||
	    x.is_pass != y.is_pass || !x.message != !y.message)
		return false;
	return !x.message || span_eq(x.message->template, y.message->template);
}

/* The result of a rule so far, and which list it hangs on. */
struct judgement {
	enum tri result;
	enum rules_list decided_by;
	const struct pattern *unknown;
	char why[VERDICT_REASON_CAP];
};

static void judge_list(struct rules_eval *eval, const struct rule *rule, enum rules_list which, struct match *m, struct judgement *j)
{
	struct span subject = which == RULES_LIST_FROM ? eval->from : which == RULES_LIST_TO ? eval->to : SPAN_NONE;
	match_begin(m, subject);
	eval->lists[which] = rule_list_match(&rule->lists[which], m);
	if (eval->lists[which] == TRI_UNKNOWN && !j->unknown) {
		j->unknown = m->unknown;
		j->decided_by = which;
		(void)snprintf(j->why, sizeof j->why, "%s", m->why);
	}
}

/* True when one list is false, which decides the rule. */
static bool judge_lists(struct rules_eval *eval, const struct rule *rule, bool with_facts, struct match *m, struct judgement *j)
{
	for (int i = 0; i < RULES_LIST_COUNT; i++) {
		enum rules_list which = (enum rules_list)i;
		if ((rule->lists[which].facts != 0) != with_facts)
			continue;
		/* An unknown list is judged again after a wait: only so its reason is at hand. */
		if (eval->lists[which] == TRI_PENDING || eval->lists[which] == TRI_UNKNOWN)
			judge_list(eval, rule, which, m, j);
		if (eval->lists[which] == TRI_FALSE) {
			j->decided_by = which;
			return true;
		}
	}
	return false;
}

static enum tri judge_rule(struct rules_eval *eval, const struct rule *rule, struct match *m, struct judgement *j)
{
	*j = (struct judgement){ .result = TRI_FALSE };
	if (rule->action.kind == ACTION_ACCESS) {
		j->result = access_judge(rule->access, m, eval->from, eval->to, &eval->access);
		(void)snprintf(j->why, sizeof j->why, "%s", m->why);
		return j->result;
	}
	/* What is always known first: a list that is false makes the others, and their facts, needless. */
	if (judge_lists(eval, rule, false, m, j) || judge_lists(eval, rule, true, m, j))
		return TRI_FALSE;
	j->result = tri_and(tri_and(eval->lists[0], eval->lists[1]), eval->lists[2]);
	return j->result;
}

/* Why the list did not match. */
static void find_closest(const struct rules_eval *eval, const struct rule *rule, const struct judgement *j, struct rules_closest *out)
{
	struct match m = { .facts = eval->facts };
	*out = (struct rules_closest){ .is_excepted = false };
	if (j->result != TRI_FALSE || rule->action.kind == ACTION_ACCESS)
		return;
	match_begin(&m, j->decided_by == RULES_LIST_FROM ? eval->from : j->decided_by == RULES_LIST_TO ? eval->to : SPAN_NONE);
	rules_closest_find(&rule->lists[j->decided_by], j->decided_by, &m, out);
}

static void trace(const struct rules_eval *eval, const struct rule *rule, const struct judgement *j)
{
	struct rules_closest closest;
	if (!eval->hooks || !eval->hooks->trace)
		return;
	find_closest(eval, rule, j, &closest);
	struct rules_trace t = {
		.rule_index = eval->next,
		.rule_line = rule->line,
		.action = rule->action_text,
		.result = j->result,
		.decided_by = j->decided_by,
		.pattern = j->result == TRI_UNKNOWN && j->unknown ? j->unknown->word : SPAN_NONE,
		.why = j->result == TRI_UNKNOWN ? j->why : "",
		.closest = closest.pattern,
		.is_excepted = closest.is_excepted,
		.value = closest.value,
	};
	eval->hooks->trace(eval->hooks->ctx, &t);
}

/* False for a rule that only tells something and never is the outcome. */
static bool is_decisive(const struct rule *rule)
{
	return rules_action_decides(&rule->action);
}

/* An unknown rule: passed by, but its outcome is remembered.  True when the outcome can't be known any more. */
static bool hang_on(struct rules_eval *eval, const struct rule *rule, const struct judgement *j)
{
	const struct rules *rules = eval->rules;
	if (rules->options.on_unknown == ON_UNKNOWN_SKIP || !is_decisive(rule))
		return false;
	if (!eval->hangs) {
		eval->hangs = true;
		eval->hanging = eval->next;
		struct span word = j->unknown ? span_sub(j->unknown->word, 0, 80) : rule->action_text;
		(void)snprintf(eval->unknown_reason, sizeof eval->unknown_reason, "%.*s: %.160s", SPAN_FMT(word), j->why);
	}
	return rule->action.kind == ACTION_ACCESS || !same_outcome(eval, eval->hanging, eval->next);
}

static void tempfail(const struct rules_eval *eval, struct rules_verdict *out)
{
	*out = (struct rules_verdict){ .kind = VERDICT_TEMPFAIL, .rule_index = eval->hanging };
	out->rule_line = rules_line(eval->rules, eval->hanging);
	(void)snprintf(out->reply, sizeof out->reply, "%s", UNKNOWN_REPLY);
	(void)snprintf(out->unknown_reason, sizeof out->unknown_reason, "%s", eval->unknown_reason);
}

/* %H must not depend on whether the name came in time: wait for it, as for any other fact. */
static bool lacks_name(const struct rules_eval *eval, const struct rules_message *message)
{
	struct fact_key key = { .kind = FACT_NAME };
	if (!message || !message->uses_name)
		return false;
	const struct fact *name = facts_want(eval->facts, &key);
	return name && (name->state == FACT_NOT_ASKED || name->state == FACT_PENDING);
}

/* What the rule (or the end of the file) says about this recipient. */
static void fill_verdict(const struct rules_eval *eval, uint32_t index, const struct outcome *o, struct rules_verdict *out)
{
	struct match m;
	*out = (struct rules_verdict){ .kind = o->kind, .needs = o->needs, .delay_s = o->delay_s, .rule_index = RULES_NO_INDEX };
	out->close_session = o->kind == VERDICT_DENY;
	out->is_tarpit = o->is_tarpit;
	out->is_drop = o->is_drop;
	out->is_pass = o->is_pass;
	if (index < eval->rules->count) {
		out->rule_index = index;
		out->rule_line = eval->rules->items[index].line;
	}
	if (o->message) {
		match_begin(&m, eval->from);
		struct span from = m.whole;
		match_begin(&m, eval->to);
		rules_message_render(o->message, eval->facts, from, m.whole, out->reply);
	}
}

static enum step finish(struct rules_eval *eval, uint32_t index, struct rules_verdict *out)
{
	if (eval->hangs && !same_outcome(eval, eval->hanging, index)) {
		tempfail(eval, out);
		return STEP_DONE;
	}
	struct outcome o = outcome_of(eval, index);
	eval->next = index;
	eval->has_outcome = true;
	if (lacks_name(eval, o.message))
		return STEP_WAIT;
	fill_verdict(eval, index, &o, out);
	return STEP_DONE;
}

/* A rule that matched and is not the outcome.  What a dry run would have said is told with what is known by now: it waits for nothing. */
static void tell(const struct rules_eval *eval, const struct rule *rule)
{
	const struct rules_hooks *hooks = eval->hooks;
	if (hooks && hooks->debug && rule->action.kind == ACTION_DEBUG)
		hooks->debug(hooks->ctx, eval->next, rule->line);
	if (hooks && hooks->dry_run && rule->action.is_dry_run) {
		struct outcome o = outcome_of(eval, eval->next);
		struct rules_verdict verdict;
		fill_verdict(eval, eval->next, &o, &verdict);
		hooks->dry_run(hooks->ctx, &verdict);
	}
}

/* Puts what the pending lists lack into the table.  False when they can't be waited for (the table is full). */
static bool ask_for_facts(struct rules_eval *eval, const struct rule *rule, struct match *m, struct judgement *j)
{
	m->collect = true;
	enum tri result = judge_rule(eval, rule, m, j);
	m->collect = false;
	return result == TRI_PENDING;
}

enum step rules_eval_run(struct rules_eval *eval, struct rules_verdict *out)
{
	const struct rules *rules = eval->rules;
	struct match m = { .facts = eval->facts };
	struct judgement j;
	struct candidate_walk walk;
	if (eval->has_outcome)
		return finish(eval, eval->next, out);
	candidates_begin(&rules->candidates, eval->facts, eval->from, eval->to, &walk);
	/* Whoever watches wants to see also the rules that can't match. */
	if (eval->hooks && eval->hooks->trace)
		walk.takes_all = true;
	for (;;) {
		uint32_t index = candidates_next(&walk, eval->next);
		if (index != eval->next)
			next_rule(eval, index);
		if (index >= rules->count)
			return finish(eval, rules->count, out);
		const struct rule *rule = &rules->items[index];
		if (judge_rule(eval, rule, &m, &j) == TRI_PENDING && ask_for_facts(eval, rule, &m, &j))
			return STEP_WAIT;
		trace(eval, rule, &j);
		if (j.result == TRI_TRUE && is_decisive(rule))
			return finish(eval, index, out);
		if (j.result == TRI_TRUE)
			tell(eval, rule);
		if (j.result == TRI_UNKNOWN && hang_on(eval, rule, &j)) {
			tempfail(eval, out);
			return STEP_DONE;
		}
		next_rule(eval, index + 1);
	}
}
