#include "policy.h"

#include "log.h"

/* The answers of a host without a resolver. */
static void settle_asked(void *ctx)
{
	struct policy *policy = ctx;
	while (policy->settled_id < policy->asked_id)
		/* A miss is normal: the transaction that wanted to know may be over. */
		(void)facts_settle_failed(&policy->facts, ++policy->settled_id, SPAN_LIT("no resolver"));
	policy->arrived(policy->ctx);
}

static void ask(struct policy *policy)
{
	const struct fact *fact;
	bool any = false;
	while ((fact = facts_next_unasked(&policy->facts, policy->asked_id)) != NULL) {
		policy->asked_id = fact->id;
		(void)facts_set_pending(&policy->facts, fact->id);
		any = true;
	}
	if (any)
		loop_task_post(policy->host->loop, &policy->answers);
}

void policy_open(struct policy *policy, struct session_host *host, const struct origdst *where, struct span iface, bool trusted, loop_fn arrived,
		 void *ctx)
{
	*policy = (struct policy){
		.host = host,
		.facts.client = { .addr = where->client.addr, .dst = where->original.addr, .trusted = trusted, .iface = iface },
		.answers = { .fn = settle_asked, .ctx = policy },
		.arrived = arrived,
		.ctx = ctx,
	};
	/* What some rule could need is asked for now, all at once, so that it is there by RCPT. */
	rules_prefetch(host->rules, &policy->facts);
	ask(policy);
}

void policy_helo(struct policy *policy, struct span helo)
{
	policy->facts.client.helo = helo;
}

void policy_reset(struct policy *policy)
{
	facts_reset_txn(&policy->facts);
}

void policy_close(struct policy *policy)
{
	loop_task_cancel(&policy->answers);
	facts_free(&policy->facts);
}

struct span policy_client_name(const struct policy *policy)
{
	const struct fact_key key = { .kind = FACT_NAME };
	const struct fact *name = facts_find(&policy->facts, &key);
	return name && name->state == FACT_PRESENT ? name->value.text : SPAN_NONE;
}

static void log_debug_rule(void *ctx, uint32_t rule_index, uint32_t rule_line)
{
	const struct judgement *j = ctx;
	struct kv kv;
	(void)rule_index;
	kv_init(&kv);
	kv_printf(&kv, "sid", "%llx", (unsigned long long)j->sid);
	kv_text(&kv, "ev", "rule-debug");
	kv_u64(&kv, "rule", rule_line);
	kv_addr(&kv, "client", &j->policy->facts.client.addr);
	kv_span(&kv, "from", j->eval.from);
	kv_span(&kv, "to", j->eval.to);
	log_kv(LOG_LEVEL_INFO, &kv);
}

void judgement_start(struct judgement *j, struct policy *policy, uint64_t sid, struct span from, struct span to)
{
	*j = (struct judgement){ .policy = policy, .sid = sid, .hooks = { .ctx = j, .debug = log_debug_rule } };
	rules_eval_start(&j->eval, policy->host->rules, &policy->facts, from, to, &j->hooks);
}

enum step judgement_run(struct judgement *j, struct rules_verdict *out)
{
	enum step step = rules_eval_run(&j->eval, out);
	if (step == STEP_WAIT)
		ask(j->policy);
	return step;
}

void judgement_end(struct judgement *j)
{
	rules_eval_end(&j->eval);
}
