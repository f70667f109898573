/* Verdicts: actions, delays, replies, no match, unknowns that matter and that do not, waiting, and the fact table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "rules_world.h"

static const struct rules_client client = { .addr = { ADDR_V4, { 10, 1, 2, 3 } }, .iface = { "eth0", 4 } };
static const struct world all_known = { .name = WORLD_PRESENT, .name_text = "mail.foo.com", .ident_text = "bob" };
static const struct world dns_down = { .name = WORLD_FAILED, .ident = WORLD_FAILED, .name_text = "", .ident_text = "",
				       .listed = { WORLD_FAILED, WORLD_FAILED, WORLD_FAILED, WORLD_FAILED, WORLD_FAILED, WORLD_FAILED,
						   WORLD_FAILED, WORLD_FAILED } };

static struct rules_verdict judge_with(const char *text, const struct rules_options *options, const struct world *world)
{
	struct rules_verdict verdict;
	struct rules *rules = world_compile(text, NULL, options);
	world_judge(world, rules, &client, "bob@foo.com", "<alice@ours.org>", &verdict);
	rules_release(&rules);
	return verdict;
}

static struct rules_verdict judge(const char *text, const struct world *world)
{
	struct rules_options options;
	rules_options_defaults(&options);
	return judge_with(text, &options, world);
}

static void test_actions(void **state)
{
	(void)state;
	struct rules_verdict v = judge("allow:ALL:ALL:ALL\n", &all_known);
	assert_int_equal(v.kind, VERDICT_ALLOW);
	assert_int_equal(v.rule_line, 1);
	assert_int_equal(v.rule_index, 0);
	assert_string_equal(v.reply, "");
	v = judge("\nallow-extchk|allow-filter:ALL:ALL:ALL\n", &all_known);
	assert_int_equal(v.needs, NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(v.rule_line, 2);
	v = judge("deny:ALL:ALL:ALL:554 go away %H\n", &all_known);
	assert_int_equal(v.kind, VERDICT_DENY);
	assert_true(v.close_session);
	assert_int_equal(v.delay_s, 0);
	assert_string_equal(v.reply, "554 5.7.1 go away mail.foo.com");
	v = judge("noto_delay:ALL:ALL:ALL\n", &all_known);
	assert_int_equal(v.kind, VERDICT_NOTO);
	assert_false(v.close_session);
	assert_int_equal(v.delay_s, 60);
	assert_string_equal(v.reply, "550 5.7.1 Mail from bob@foo.com to alice@ours.org prohibited from your location "
				     "(UNKNOWN@mail.foo.com ip=10.1.2.3)");
	struct rules_options options = { NO_MATCH_NOTO, ON_UNKNOWN_TEMPFAIL, 7, 8 };
	v = judge_with("tarpit:ALL:ALL:ALL\n", &options, &all_known);
	assert_int_equal(v.kind, VERDICT_DENY);
	assert_true(v.close_session && v.is_tarpit);
	v = judge_with("deny:ALL:ALL:ALL\n", &options, &all_known);
	assert_true(v.close_session && !v.is_tarpit);
	v = judge_with("deny_delay:ALL:ALL:ALL\n", &options, &all_known);
	assert_int_equal(v.delay_s, 7);
	assert_true(v.close_session);
}

static void test_no_match(void **state)
{
	struct rules_options options;
	(void)state;
	rules_options_defaults(&options);
	struct rules_verdict v = judge("allow:ALL:ALL:*@other.org\n", &all_known);
	assert_int_equal(v.kind, VERDICT_NOTO);
	assert_int_equal(v.rule_line, 0);
	assert_int_equal(v.rule_index, RULES_NO_INDEX);
	assert_memory_equal(v.reply, "550 5.7.1 Mail from", 19);
	options.no_match = NO_MATCH_ALLOW;
	v = judge_with("", &options, &all_known);
	assert_int_equal(v.kind, VERDICT_ALLOW);
	assert_int_equal(v.rule_line, 0);
}

static void test_unknown_that_matters(void **state)
{
	struct rules_options options;
	(void)state;
	rules_options_defaults(&options);
	struct rules_verdict v = judge("noto:10.9.0.0/16:ALL:ALL\nnoto:RBL.z1:ALL:ALL\nallow:ALL:ALL:ALL\n", &dns_down);
	assert_int_equal(v.kind, VERDICT_TEMPFAIL);
	assert_int_equal(v.rule_line, 2);
	assert_memory_equal(v.reply, "451 4.4.3 ", 10);
	assert_string_equal(v.unknown_reason, "RBL.z1: rbl z1: time-out");
	options.on_unknown = ON_UNKNOWN_SKIP;
	v = judge_with("noto:RBL.z1:ALL:ALL\nallow:ALL:ALL:ALL\n", &options, &dns_down);
	assert_int_equal(v.kind, VERDICT_ALLOW);
}

static void test_unknown_that_does_not(void **state)
{
	(void)state;
	/* Another list is false. */
	assert_int_equal(judge("noto:RBL.z1:ALL:*@other.org\nallow:ALL:ALL:ALL\n", &dns_down).kind, VERDICT_ALLOW);
	/* Another pattern is true. */
	assert_int_equal(judge("noto:RBL.z1 10.0.0.0/8:ALL:ALL\n", &dns_down).kind, VERDICT_NOTO);
	/* What follows says the same. */
	struct rules_verdict v = judge("noto:RBL.z1:ALL:ALL\nnoto:RBL.z2:ALL:ALL\nnoto:ALL:ALL:ALL\nallow:ALL:ALL:ALL\n", &dns_down);
	assert_int_equal(v.kind, VERDICT_NOTO);
	assert_int_equal(v.rule_line, 3);
	assert_int_equal(judge("noto:RBL.z1:ALL:ALL\n", &dns_down).kind, VERDICT_NOTO);
	/* The same verdict with another text is not the same. */
	assert_int_equal(judge("noto:RBL.z1:ALL:ALL:550 listed\nnoto:ALL:ALL:ALL\n", &dns_down).kind, VERDICT_TEMPFAIL);
	assert_int_equal(judge("allow-filter:KNOWN:ALL:ALL\nallow:ALL:ALL:ALL\n", &dns_down).kind, VERDICT_TEMPFAIL);
	/* debug decides nothing. */
	assert_int_equal(judge("debug:KNOWN:ALL:ALL\nallow:ALL:ALL:ALL\n", &dns_down).kind, VERDICT_ALLOW);
}

struct seen {
	char text[512];
};

static void see_debug(void *ctx, uint32_t index, uint32_t line)
{
	struct seen *seen = ctx;
	size_t len = strlen(seen->text);
	(void)snprintf(seen->text + len, sizeof seen->text - len, "debug %u %u;", index, line);
}

static void see_trace(void *ctx, const struct rules_trace *t)
{
	struct seen *seen = ctx;
	size_t len = strlen(seen->text);
	(void)snprintf(seen->text + len, sizeof seen->text - len, "%u %.*s %s %s %.*s %s;", t->rule_line, SPAN_FMT(t->action),
		       tri_name(t->result), t->result == TRI_TRUE ? "-" : rules_list_name(t->decided_by), SPAN_FMT(t->pattern), t->why);
}

static void see_dry_run(void *ctx, const struct rules_verdict *verdict)
{
	struct seen *seen = ctx;
	size_t len = strlen(seen->text);
	(void)snprintf(seen->text + len, sizeof seen->text - len, "%u %s %s;", verdict->rule_line, verdict_kind_name(verdict->kind), verdict->reply);
}

static void test_dry_run(void **state)
{
	struct rules_options options;
	struct seen seen = { "" };
	struct rules_facts facts = { .client = { .addr = { ADDR_V4, { 10, 1, 2, 3 } } } };
	const struct rules_hooks hooks = { .ctx = &seen, .dry_run = see_dry_run };
	struct rules_eval eval;
	struct rules_verdict verdict;
	(void)state;
	rules_options_defaults(&options);
	struct rules *rules = world_compile("dry-run noto:10/8:ALL:ALL:551 not %T\ndry-run  allow|allow-filter:ALL:ALL:ALL\n"
					    "dry-run deny:11/8:ALL:ALL\ndry-run deny:RBL.z1:ALL:ALL\nallow:ALL:ALL:ALL\n", NULL, &options);
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("a@b"), SPAN_LIT("<c@ours.org>"), &hooks);
	while (rules_eval_run(&eval, &verdict) == STEP_WAIT)
		facts_fail_unasked(&facts, "no resolver");
	assert_string_equal(seen.text, "1 noto 551 5.7.1 not c@ours.org;2 allow ;");
	assert_int_equal(verdict.kind, VERDICT_ALLOW);
	assert_int_equal(verdict.rule_line, 5);
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
}

static void test_hooks(void **state)
{
	struct rules_options options;
	struct rules_facts facts = { .client = client };
	struct rules_eval eval;
	struct rules_verdict verdict;
	struct seen seen = { "" };
	const struct rules_hooks hooks = { .ctx = &seen, .debug = see_debug, .trace = see_trace };
	(void)state;
	rules_options_defaults(&options);
	struct rules *rules = world_compile("deny:TRUSTED:ALL:ALL\ndebug:ALL:ALL:ALL\nnoto:RBL.z1:ALL:ALL\nallow:10/8:ALL:*@ours.org\n", NULL, &options);
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("a@b"), SPAN_LIT("c@ours.org"), &hooks);
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_WAIT);
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_WAIT);
	facts_fail_unasked(&facts, "no resolver");
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_DONE);
	assert_int_equal(verdict.kind, VERDICT_TEMPFAIL);
	assert_string_equal(seen.text, "1 deny false source  ;2 debug true -  ;debug 1 2;3 noto unknown source RBL.z1 rbl z1: no resolver;"
				       "4 allow true -  ;");
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
}

static void test_prefetch(void **state)
{
	struct rules_options options;
	struct rules_facts facts = { .client = client };
	unsigned kinds[FACT_KIND_COUNT] = { 0 };
	(void)state;
	rules_options_defaults(&options);
	struct rules *rules = world_compile("deny:RBL.z1 RBL.Z1 RBL.z2 NS=RBL.z3 bob@*.foo.com:RHS.z4 USER@ALL NS=RBL.z5:ALL\n"
					    "deny:10/8 EXCEPT KNOWN:ALL:ALL\n", NULL, &options);
	rules_prefetch(rules, &facts);
	for (const struct fact *f = facts_next_unasked(&facts, 0); f; f = facts_next_unasked(&facts, f->id))
		kinds[f->key.kind]++;
	assert_int_equal(kinds[FACT_RBL], 2);
	assert_int_equal(kinds[FACT_NAME], 1);
	assert_int_equal(kinds[FACT_NS_CLIENT], 1);
	assert_int_equal(kinds[FACT_IDENT] + kinds[FACT_RHS] + kinds[FACT_NS_DOMAIN], 0);
	facts_free(&facts);
	rules_release(&rules);
}

static void test_reply_waits_for_the_name(void **state)
{
	struct rules_options options;
	struct rules_facts facts = { .client = client };
	struct rules_eval eval;
	struct rules_verdict verdict;
	(void)state;
	rules_options_defaults(&options);
	struct rules *rules = world_compile("noto:ALL:ALL:ALL:550 %H\n", NULL, &options);
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("a@b"), SPAN_LIT("c@d"), NULL);
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_WAIT);
	world_settle(&all_known, &facts, facts_next_unasked(&facts, 0));
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_DONE);
	assert_string_equal(verdict.reply, "550 5.7.1 mail.foo.com");
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
}

static void test_fact_table(void **state)
{
	struct rules_facts facts = { 0 };
	char label[FACT_LABEL_CAP], zone[16];
	const struct fact_key name = { .kind = FACT_NAME };
	struct fact_key rhs = { .kind = FACT_RHS, .zone = SPAN_LIT("z"), .subject = SPAN_LIT("foo.com") };
	(void)state;
	assert_null(facts_find(&facts, &name));
	const struct fact *a = facts_want(&facts, &name), *b = facts_want(&facts, &rhs);
	uint64_t rhs_id = b->id;
	assert_ptr_equal(facts_want(&facts, &name), a);
	assert_string_equal(facts_label(&rhs, label), "rhs z foo.com");
	rhs.subject = SPAN_LIT("FOO.COM");
	assert_ptr_equal(facts_find(&facts, &rhs), b);
	assert_int_equal(facts_set_pending(&facts, rhs_id), 0);
	assert_ptr_equal(facts_next_unasked(&facts, 0), a);
	assert_null(facts_next_unasked(&facts, a->id));
	/* An answer that comes after the transaction finds nothing. */
	facts_reset_txn(&facts);
	assert_null(facts_get(&facts, rhs_id));
	assert_int_equal(facts_settle_absent(&facts, rhs_id, SPAN_NONE), ERR_NOTFOUND);
	assert_int_not_equal(facts_want(&facts, &rhs)->id, rhs_id);
	/* Once settled, settled. */
	assert_int_equal(facts_settle_present(&facts, a->id, &(struct fact_value){ .text = SPAN_LIT("1.2.3.4") }), 0);
	assert_int_equal(a->state, FACT_ABSENT);
	assert_true(a->why.len > 0);
	assert_int_equal(facts_settle_failed(&facts, a->id, SPAN_NONE), ERR_INVAL);
	facts_reset_txn(&facts);
	for (unsigned i = 0; i < FACTS_MAX; i++) {
		rhs.zone = (struct span){ zone, (size_t)snprintf(zone, sizeof zone, "z%u", i) };
		assert_non_null(facts_want(&facts, &rhs));
	}
	rhs.zone = SPAN_LIT("one.more");
	assert_null(facts_want(&facts, &rhs));
	facts_free(&facts);
	assert_true(facts_name_is_suspect(SPAN_LIT("")) && facts_name_is_suspect(SPAN_LIT("::1")));
	assert_true(facts_name_is_suspect(SPAN_LIT("10.1.2.3.")) && !facts_name_is_suspect(SPAN_LIT("10.1.2.3.in-addr.arpa")));
}

static void test_full_table_is_unknown(void **state)
{
	struct rules_options options;
	struct rules_facts facts = { .client = client };
	struct rules_eval eval;
	struct rules_verdict verdict;
	char zone[16];
	struct fact_key key = { .kind = FACT_RBL };
	(void)state;
	rules_options_defaults(&options);
	struct rules *rules = world_compile("noto:RBL.zone:ALL:ALL\nallow:ALL:ALL:ALL\n", NULL, &options);
	for (unsigned i = 0; i < FACTS_MAX; i++) {
		key.zone = (struct span){ zone, (size_t)snprintf(zone, sizeof zone, "z%u", i) };
		assert_non_null(facts_want(&facts, &key));
	}
	rules_eval_start(&eval, rules, &facts, SPAN_LIT("a@b"), SPAN_LIT("c@d"), NULL);
	assert_int_equal(rules_eval_run(&eval, &verdict), STEP_DONE);
	assert_int_equal(verdict.kind, VERDICT_TEMPFAIL);
	assert_string_equal(verdict.unknown_reason, "RBL.zone: rbl zone: too many facts");
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_actions),
		cmocka_unit_test(test_no_match),
		cmocka_unit_test(test_unknown_that_matters),
		cmocka_unit_test(test_unknown_that_does_not),
		cmocka_unit_test(test_hooks),
		cmocka_unit_test(test_dry_run),
		cmocka_unit_test(test_prefetch),
		cmocka_unit_test(test_reply_waits_for_the_name),
		cmocka_unit_test(test_fact_table),
		cmocka_unit_test(test_full_table_is_unknown),
	};
	return cmocka_run_group_tests_name("rules_eval", tests, NULL, NULL);
}
