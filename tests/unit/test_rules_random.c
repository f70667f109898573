/* Random rule sets and random worlds: facts that come in any order, and facts that never come. */
#include "rules_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* Settles one fact that is open, at random; false when there is none. */
static bool settle_one(const struct world *world, struct rules_facts *facts)
{
	uint64_t open[FACTS_MAX];
	unsigned n = 0;
	for (uint64_t id = 1; id <= facts->last_id && n < FACTS_MAX; id++) {
		const struct fact *f = facts_get(facts, id);
		if (f && f->state == FACT_NOT_ASKED)
			assert_int_equal(facts_set_pending(facts, id), 0);
		if (f && f->state == FACT_PENDING)
			open[n++] = id;
	}
	if (n == 0)
		return false;
	world_settle(world, facts, facts_get(facts, open[maker_roll(n)]));
	return true;
}

static void judge_slowly(const struct made_case *c, struct rules *rules, struct rules_verdict *out)
{
	struct rules_facts facts = { .client = c->client };
	struct rules_eval eval;
	if (maker_roll(2))
		rules_prefetch(rules, &facts);
	rules_eval_start(&eval, rules, &facts, span_of(c->from), span_of(c->to), NULL);
	while (rules_eval_run(&eval, out) == STEP_WAIT)
		assert_true(settle_one(&c->world, &facts));
	rules_eval_end(&eval);
	facts_free(&facts);
}

static void settle_answer(enum world_answer *answer)
{
	if (*answer == WORLD_FAILED)
		*answer = (enum world_answer)maker_roll(2);
}

/* More of it fails than in the usual case. */
static void break_some(struct world *w)
{
	enum world_answer *answers[] = { &w->name, &w->ident, &w->hosts[0].answer, &w->hosts[1].answer, &w->hosts[2].answer, &w->hosts[3].answer };
	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
		if (maker_roll(3) == 0)
			*answers[i] = WORLD_FAILED;
	for (int i = 0; i < 8; i++)
		if (maker_roll(3) == 0)
			w->listed[i] = WORLD_FAILED;
}

/* What could not be known turns out to be something, whatever it is. */
static void complete(struct made_case *c)
{
	struct world *w = &c->world;
	settle_answer(&w->name);
	settle_answer(&w->ident);
	for (int i = 0; i < 4; i++)
		settle_answer(&w->hosts[i].answer);
	for (int i = 0; i < 8; i++) {
		const uint8_t *b = w->answers[i].bytes;
		settle_answer(&w->listed[i]);
		if (b[0] == 127 && b[1] != 255)
			continue;
		w->answers[i] = (struct addr){ ADDR_V4, { 127, 0, 0, (uint8_t)(maker_roll(2) ? 2 : 9) } };
		if (w->listed[i] == WORLD_PRESENT)
			w->listed[i] = (enum world_answer)maker_roll(2);
	}
	if (c->client.dst.family == ADDR_NONE)
		c->client.dst = (struct addr){ ADDR_V4, { 10, (uint8_t)maker_roll(2), 1, 1 } };
}

static void test_any_order_of_arrival(void **state)
{
	static struct made_rules s;
	unsigned settled = 0, tempfails = 0;
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct rules_options options;
		struct rules_verdict at_once, slowly, known;
		struct made_case c;
		maker_seed(round + 100000);
		make_rules(&s, 8);
		make_options(&options);
		options.on_unknown = ON_UNKNOWN_TEMPFAIL;
		struct rules *rules = world_compile(round % 2 ? s.filed : s.plain, s.files, &options);
		for (unsigned i = 0; i < 6; i++) {
			make_case(&c);
			break_some(&c.world);
			world_judge(&c.world, rules, &c.client, c.from, c.to, &at_once);
			judge_slowly(&c, rules, &slowly);
			/* The text may differ in %U, which nobody waits for. */
			assert_int_equal(at_once.kind, slowly.kind);
			assert_int_equal(at_once.rule_line, slowly.rule_line);
			assert_string_equal(at_once.unknown_reason, slowly.unknown_reason);
			complete(&c);
			world_judge(&c.world, rules, &c.client, c.from, c.to, &known);
			assert_int_not_equal(known.kind, VERDICT_TEMPFAIL);
			if (at_once.kind != VERDICT_TEMPFAIL)
				assert_int_equal(at_once.kind, known.kind);
			settled += at_once.kind != VERDICT_TEMPFAIL;
			tempfails += at_once.kind == VERDICT_TEMPFAIL;
		}
		rules_release(&rules);
	}
	/* Else it would prove little. */
	if (settled < 2000 || tempfails < 1000)
		fail_msg("%u settled, %u not", settled, tempfails);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_any_order_of_arrival) };
	return cmocka_run_group_tests_name("rules_random", tests, NULL, NULL);
}
