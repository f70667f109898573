#include "cli_rules_syn.h"

#include <stdio.h>
#include <string.h>

static struct fact_key key_of(struct span zone)
{
	return (struct fact_key){ .kind = FACT_RBL, .zone = zone };
}

void cli_rules_syn_want(const struct rules *rules, struct rules_facts *facts)
{
	const struct span *zones;
	uint32_t count = rules_syn_lists(rules, &zones);
	for (uint32_t i = 0; i < count; i++) {
		const struct fact_key key = key_of(zones[i]);
		(void)facts_want(facts, &key);
	}
}

struct known {
	const struct span *zones;
	const struct rules_facts *facts;
};

/* As a worker would tell it: more answers than the gate keeps are none to it. */
static bool find(void *ctx, uint32_t list, const struct addr *client, struct syn_list_answer *out)
{
	const struct known *known = ctx;
	const struct fact_key key = key_of(known->zones[list]);
	const struct fact *fact = facts_find(known->facts, &key);
	(void)client;
	if (!fact || (fact->state != FACT_PRESENT && fact->state != FACT_ABSENT) || fact->value.addr_count > SYN_LIST_ADDRS_MAX)
		return false;
	out->count = fact->value.addr_count;
	for (uint32_t i = 0; i < out->count; i++)
		out->addrs[i] = fact->value.addrs[i];
	return true;
}

int cli_rules_syn_judge(struct rules *rules, const struct rules_facts *facts, struct cli_rules_syn *out)
{
	struct known known = { .facts = facts };
	const struct syn_lists lists = { find, &known };
	struct rules_syn *syn = NULL;
	int err = rules_syn_create(rules, &syn);
	if (err)
		return err;
	(void)rules_syn_lists(rules, &known.zones);
	rules_syn_judge(syn, &facts->client, NULL, &out->now);
	rules_syn_judge(syn, &facts->client, &lists, &out->later);
	/* Of trusted clients the gate is told nothing (list_report.h in proxy). */
	out->has_later = out->later.by_lists && !facts->client.trusted &&
			 (out->later.outcome != out->now.outcome || out->later.rule_line != out->now.rule_line ||
			  memcmp(&out->later.mark, &out->now.mark, sizeof out->now.mark) != 0);
	rules_syn_destroy(&syn);
	return 0;
}

static const char *name_of(enum syn_outcome outcome)
{
	return outcome == SYN_DROP ? "drop" : outcome == SYN_PASS ? "pass" : "session";
}

static void print_one(const char *head, const struct syn_verdict *v, const char *tail)
{
	(void)printf("%s%s", head, name_of(v->outcome));
	if (v->outcome != SYN_SESSION)
		(void)printf(" by line %u", v->rule_line);
	else if (v->left == SYN_LEFT_OTHER)
		(void)printf(", by line %u", v->left_line);
	else if (v->left == SYN_LEFT_UNKNOWN)
		(void)printf(", since line %u may match", v->left_line);
	if (v->mark.mask && v->outcome != SYN_DROP)
		(void)printf(", mark=0x%x/0x%x", v->mark.bits, v->mark.mask);
	(void)printf("%s\n", tail);
}

void cli_rules_syn_print(const struct cli_rules_syn *syn)
{
	print_one("syn:     ", &syn->now, "");
	if (syn->has_later)
		print_one("         ", &syn->later, ", once a session has asked the block lists");
}

static json_t *json_of(const struct syn_verdict *v)
{
	static const char *const left[] = { [SYN_LEFT_NO_RULE] = "no-rule", [SYN_LEFT_OTHER] = "other-action", [SYN_LEFT_UNKNOWN] = "unknown" };
	char mark[32];
	(void)snprintf(mark, sizeof mark, "0x%x/0x%x", v->mark.bits, v->mark.mask);
	bool is_left = v->outcome == SYN_SESSION;
	return json_pack("{s:s, s:I, s:s?, s:s?}", "verdict", name_of(v->outcome), "line", (json_int_t)(is_left ? v->left_line : v->rule_line), "left",
			 is_left ? left[v->left] : NULL, "mark", v->mark.mask && v->outcome != SYN_DROP ? mark : NULL);
}

json_t *cli_rules_syn_json(const struct cli_rules_syn *syn)
{
	json_t *json = json_of(&syn->now);
	if (json)
		(void)json_object_set_new(json, "with_lists", syn->has_later ? json_of(&syn->later) : json_null());
	return json;
}
