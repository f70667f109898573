#include "policy.h"

#include <stdio.h>
#include <string.h>

#include "ident_sockets.h"
#include "list_report.h"
#include "log.h"
#include "rules_syn.h"

static const struct fact_key name_key = { .kind = FACT_NAME };

/* What a reverse name tells about its owner is worth a line, whatever the rules say. */
static void log_note(void *ctx, enum fact_note note, struct span name)
{
	struct policy *policy = ctx;
	bool is_attack = note == FACT_NOTE_ATTACK;
	struct kv kv;
	policy->has_false_name = true;
	kv_init(&kv);
	kv_hex(&kv, "sid", policy->sid);
	kv_text(&kv, "ev", is_attack ? "name-attack" : "name-spoof");
	kv_addr(&kv, "client", &policy->facts.client.addr);
	kv_span(&kv, "name", name);
	kv_text(&kv, "msg", is_attack ? "attack: the reverse name looks like an address" : "probable spoof: the reverse name does not resolve back");
	log_kv(LOG_LEVEL_WARN, &kv);
}

static void facts_arrived(void *ctx)
{
	const struct policy *policy = ctx;
	policy->arrived(policy->ctx);
}

static uint64_t ask_ident_socket(void *ctx, ident_opened_fn opened, void *opened_ctx)
{
	const struct policy *policy = ctx;
	return ident_sockets_ask(policy->host->ident_sockets, policy->fd, policy->listen_index, opened, opened_ctx);
}

static void cancel_ident_socket(void *ctx, uint64_t ticket)
{
	const struct policy *policy = ctx;
	master_requests_cancel(policy->host->ident_sockets, ticket);
}

static const struct ident_opener ident_opener = { ask_ident_socket, cancel_ident_socket };
/* Where the gate could make use of it.  Of who is behind a balancer the kernel sees nothing. */
static void report_list(void *ctx, struct span zone, const struct addr *answers, uint32_t count, uint32_t ttl_s)
{
	const struct policy *policy = ctx;
	const struct session_host *host = policy->host;
	const struct conf *conf = &host->conf.conf;
	if (policy->fd >= 0 && conf->gate && conf->gate_queue && rules_syn_has_list(host->rules, zone))
		list_report_tell(host->list_told, host->master, loop_now_ms(host->loop), policy->listen_index, policy->fd, &policy->facts.client.addr,
				 zone, answers, count, ttl_s);
}

static const struct fact_finder_hooks finder_hooks = { facts_arrived, log_note, &ident_opener, report_list };

void policy_open(struct policy *policy, struct session_host *host, uint64_t sid, int fd, uint32_t listen_index, const struct origdst *where,
		 loop_fn arrived, void *ctx)
{
	const struct conf_listen *l = &host->conf.conf.listen[listen_index];
	*policy = (struct policy){
		.host = host,
		.facts.client = { .addr = where->client.addr, .dst = where->original.addr, .trusted = l->trusted != 0, .iface = span_of(l->iface),
				  .mark = where->mark },
		.sid = sid,
		.fd = fd,
		.listen_index = listen_index,
		.is_paranoid = host->conf.conf.paranoid && conf_listen_deters(l),
		.arrived = arrived,
		.ctx = ctx,
	};
	fact_finder_open(&policy->finder, host->fact_service, &policy->facts, fd >= 0 ? where->client.port : 0, where->original.port,
			 &finder_hooks, policy);
	/* What some rule could need is asked for now, all at once, so that it is there by RCPT. */
	rules_prefetch(host->rules, &policy->facts);
	if (policy->is_paranoid)
		(void)facts_want(&policy->facts, &name_key);
	fact_finder_fetch(&policy->finder);
}

void policy_helo(struct policy *policy, struct span helo)
{
	policy->facts.client.helo = helo;
}

void policy_reset(struct policy *policy)
{
	facts_reset_txn(&policy->facts);
	fact_finder_reset_txn(&policy->finder);
}

void policy_close(struct policy *policy)
{
	fact_finder_close(&policy->finder);
	facts_free(&policy->facts);
}

struct span policy_client_name(const struct policy *policy)
{
	const struct fact *name = facts_find(&policy->facts, &name_key);
	return name && name->state == FACT_PRESENT ? name->value.text : SPAN_NONE;
}

/* A reload in the middle of a judgement has changed what the numbers mean. */
static void count_hit(const struct judgement *j, uint32_t rule_index)
{
	struct session_host *host = j->policy->host;
	if (j->eval.rules == host->rules)
		rule_hits_add(&host->hits, host->worker, rule_index);
}

static void log_debug_rule(void *ctx, uint32_t rule_index, uint32_t rule_line)
{
	const struct judgement *j = ctx;
	struct kv kv;
	count_hit(j, rule_index);
	kv_init(&kv);
	kv_hex(&kv, "sid", j->sid);
	kv_text(&kv, "ev", "rule-debug");
	kv_u64(&kv, "rule", rule_line);
	kv_addr(&kv, "client", &j->policy->facts.client.addr);
	kv_span(&kv, "from", j->eval.from);
	kv_span(&kv, "to", j->eval.to);
	log_kv(LOG_LEVEL_INFO, &kv);
}

static void log_dry_run(void *ctx, const struct rules_verdict *verdict)
{
	const struct judgement *j = ctx;
	struct kv kv;
	count_hit(j, verdict->rule_index);
	kv_init(&kv);
	kv_hex(&kv, "sid", j->sid);
	kv_text(&kv, "ev", "rule-dry-run");
	kv_text(&kv, "verdict", verdict_kind_name(verdict->kind));
	kv_u64(&kv, "rule", verdict->rule_line);
	kv_addr(&kv, "client", &j->policy->facts.client.addr);
	kv_span(&kv, "from", j->eval.from);
	kv_span(&kv, "to", j->eval.to);
	if (verdict->reply[0])
		kv_text(&kv, "reply", verdict->reply);
	log_kv(LOG_LEVEL_INFO, &kv);
}

void judgement_start(struct judgement *j, struct policy *policy, uint64_t sid, struct span from, struct span to)
{
	*j = (struct judgement){ .policy = policy, .sid = sid, .hooks = { .ctx = j, .debug = log_debug_rule, .dry_run = log_dry_run } };
	rules_eval_start(&j->eval, policy->host->rules, &policy->facts, from, to, &j->hooks);
}

static void refuse(const struct judgement *j, enum verdict_kind kind, const char *reply, const char *why, struct rules_verdict *out)
{
	*out = (struct rules_verdict){ .kind = kind, .rule_index = RULES_NO_INDEX, .close_session = kind == VERDICT_DENY };
	(void)snprintf(out->reply, sizeof out->reply, "%s", reply);
	(void)snprintf(out->unknown_reason, sizeof out->unknown_reason, "%s", why);
	counter_add(j->policy->host->counters, COUNTER_PARANOID, 1);
}

/* STEP_FAIL: nothing is wrong with the name; ask the rules. */
static enum step judge_name(const struct judgement *j, struct rules_verdict *out)
{
	const struct policy *policy = j->policy;
	const struct fact *name = facts_find(&policy->facts, &name_key);
	/* Without memory for the question, as without an answer. */
	bool is_unknown = !name || name->state == FACT_FAILED;
	if (name && (name->state == FACT_NOT_ASKED || name->state == FACT_PENDING))
		return STEP_WAIT;
	if (policy->has_false_name && !(name && name->state == FACT_PRESENT)) {
		refuse(j, VERDICT_DENY, "550 5.7.25 Your reverse name does not resolve back to your address", "", out);
		return STEP_DONE;
	}
	if (is_unknown && policy->host->conf.conf.on_unknown == ON_UNKNOWN_TEMPFAIL) {
		refuse(j, VERDICT_TEMPFAIL, "451 4.4.3 Your name cannot be looked up now, try again later", "name: paranoid", out);
		return STEP_DONE;
	}
	return STEP_FAIL;
}

enum step judgement_run(struct judgement *j, struct rules_verdict *out)
{
	enum step first = j->policy->is_paranoid ? judge_name(j, out) : STEP_FAIL;
	if (first == STEP_WAIT)
		fact_finder_fetch(&j->policy->finder);
	if (first != STEP_FAIL)
		return first;
	enum step step = rules_eval_run(&j->eval, out);
	/* A rule that only hangs has not matched. */
	if (step == STEP_DONE && out->kind != VERDICT_TEMPFAIL)
		count_hit(j, out->rule_index);
	if (step == STEP_WAIT)
		fact_finder_fetch(&j->policy->finder);
	return step;
}

void judgement_end(struct judgement *j)
{
	rules_eval_end(&j->eval);
}
