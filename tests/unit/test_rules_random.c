/* Random rule sets and random worlds: the evaluator against the plain one, and facts that come in any order. */
#include "rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static uint32_t seed_state = 1;

static unsigned roll(unsigned sides)
{
	seed_state = seed_state * 1664525u + 1013904223u;
	return (seed_state >> 8) % sides;
}

#define PICK(array) (array)[roll(sizeof(array) / sizeof(array)[0])]

static const char *const sources[] = { "ALL", "KNOWN", "UNKNOWN", "TRUSTED", "UNTRUSTED", "10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32",
				       "192.168.0.0/16", "*.foo.com", "mail.foo.com", "*foo*", "bar.org", "RBL.z0", "RBL.z1", "RBL.z2",
				       "bob@ALL", "KNOWN@10.0.0.0/8", "ALL@*.foo.com", "b*@KNOWN", "bob@mail.foo.com" };
static const char *const senders[] = { "ALL", "<>", "*@foo.com", "bob@*", "USER@foo.com", "USER@ALL", "ALL@bar.org", "*foo.com", "*",
				       "RHS.z0", "RHS.z3", "bob@foo.com", "*@*.com" };
static const char *const recipients[] = { "ALL", "*@ours.org", "postmaster@ALL", "*ours.org", "a*@*", "<>" };
static const char *const actions[] = { "allow", "deny", "noto", "noto", "allow", "debug" };
static const char *const froms[] = { "", "bob@foo.com", "eve@foo.com", "bob@bar.org", "nobody", "a@x.com" };
static const char *const tos[] = { "alice@ours.org", "postmaster@ours.org", "x@y.net", "postmaster" };

static void add_list(char *text, size_t cap, const char *const *words, unsigned count)
{
	unsigned n = 1 + roll(3), excepts = roll(3) == 0 ? 1 + roll(2) : 0;
	for (unsigned part = 0; part <= excepts; part++) {
		for (unsigned i = 0; i < n; i++) {
			size_t len = strlen(text);
			(void)snprintf(text + len, cap - len, "%s%s", text[len - 1] == ':' ? "" : " ", words[roll(count)]);
		}
		if (part < excepts)
			(void)snprintf(text + strlen(text), cap - strlen(text), " EXCEPT");
	}
}

static void make_rules(char *text, size_t cap)
{
	unsigned lines = 1 + roll(8);
	text[0] = '\0';
	for (unsigned i = 0; i < lines; i++) {
		(void)snprintf(text + strlen(text), cap - strlen(text), "%s:", PICK(actions));
		add_list(text, cap, sources, sizeof sources / sizeof *sources);
		(void)snprintf(text + strlen(text), cap - strlen(text), ":");
		add_list(text, cap, senders, sizeof senders / sizeof *senders);
		(void)snprintf(text + strlen(text), cap - strlen(text), ":");
		add_list(text, cap, recipients, sizeof recipients / sizeof *recipients);
		(void)snprintf(text + strlen(text), cap - strlen(text), "\n");
	}
}

static void make_world(struct world *w, struct rules_client *client, unsigned failures)
{
	static const char *const names[] = { "mail.foo.com", "bar.org", "x.foo.com" };
	static const char *const users[] = { "bob", "eve" };
	*w = (struct world){ .name_text = PICK(names), .ident_text = PICK(users) };
	enum world_answer *answers[] = { &w->name, &w->ident };
	for (int i = 0; i < 2; i++)
		*answers[i] = (enum world_answer)roll(2 + failures);
	for (int i = 0; i < 8; i++)
		w->listed[i] = (enum world_answer)roll(2 + failures);
	*client = (struct rules_client){ .trusted = roll(2) };
	(void)addr_parse(span_of(roll(2) ? "10.1.2.3" : "192.168.4.5"), &client->addr);
}

static void make_options(struct rules_options *options)
{
	rules_options_defaults(options);
	options->no_match = roll(2) ? NO_MATCH_ALLOW : NO_MATCH_NOTO;
	options->on_unknown = roll(4) ? ON_UNKNOWN_TEMPFAIL : ON_UNKNOWN_SKIP;
}

static void test_like_the_plain_one(void **state)
{
	static char text[8192];
	(void)state;
	for (unsigned round = 0; round < 3000; round++) {
		struct rules_options options;
		struct rules_client client;
		struct rules_verdict verdict;
		struct world world;
		seed_state = round;
		make_rules(text, sizeof text);
		make_options(&options);
		struct rules *rules = world_compile(text, &options);
		for (unsigned i = 0; i < 12; i++) {
			make_world(&world, &client, 1);
			const char *from = PICK(froms), *to = PICK(tos);
			unsigned line;
			enum verdict_kind kind = ref_judge(text, &options, &world, &client, from, to, &line);
			world_judge(&world, rules, &client, from, to, &verdict);
			if (verdict.kind != kind || verdict.rule_line != line)
				print_error("round %u, from '%s' to '%s': %s by %u, expected %s by %u\n%s", round, from, to,
					    verdict_kind_name(verdict.kind), verdict.rule_line, verdict_kind_name(kind), line, text);
			assert_int_equal(verdict.kind, kind);
			assert_int_equal(verdict.rule_line, line);
		}
		rules_release(&rules);
	}
}

/* Settles one fact that is open, at random; false when there is none. */
static bool settle_one(const struct world *world, struct rules_facts *facts)
{
	uint64_t open[64];
	unsigned n = 0;
	for (uint64_t id = 1; id <= facts->last_id && n < 64; id++) {
		const struct fact *f = facts_get(facts, id);
		if (f && f->state == FACT_NOT_ASKED)
			assert_int_equal(facts_set_pending(facts, id), 0);
		if (f && f->state == FACT_PENDING)
			open[n++] = id;
	}
	if (n == 0)
		return false;
	world_settle(world, facts, facts_get(facts, open[roll(n)]));
	return true;
}

static void judge_slowly(const struct world *world, struct rules *rules, const struct rules_client *client, const char *from,
			 const char *to, struct rules_verdict *out)
{
	struct rules_facts facts = { .client = *client };
	struct rules_eval eval;
	if (roll(2))
		rules_prefetch(rules, &facts);
	rules_eval_start(&eval, rules, &facts, span_of(from), span_of(to), NULL);
	while (rules_eval_run(&eval, out) == STEP_WAIT)
		assert_true(settle_one(world, &facts));
	rules_eval_end(&eval);
	facts_free(&facts);
}

static void test_any_order_of_arrival(void **state)
{
	static char text[8192];
	(void)state;
	for (unsigned round = 0; round < 2000; round++) {
		struct rules_options options;
		struct rules_client client;
		struct rules_verdict at_once, slowly, complete;
		struct world world;
		seed_state = round + 100000;
		make_rules(text, sizeof text);
		make_options(&options);
		options.on_unknown = ON_UNKNOWN_TEMPFAIL;
		struct rules *rules = world_compile(text, &options);
		for (unsigned i = 0; i < 6; i++) {
			make_world(&world, &client, 1);
			const char *from = PICK(froms), *to = PICK(tos);
			world_judge(&world, rules, &client, from, to, &at_once);
			judge_slowly(&world, rules, &client, from, to, &slowly);
			/* The text may differ in %U, which nobody waits for. */
			assert_int_equal(at_once.kind, slowly.kind);
			assert_int_equal(at_once.rule_line, slowly.rule_line);
			assert_string_equal(at_once.unknown_reason, slowly.unknown_reason);
			/* Had the failed ones been known, whatever they are: the same verdict, or we said 451. */
			enum world_answer *answers[] = { &world.name, &world.ident };
			for (int k = 0; k < 2; k++)
				if (*answers[k] == WORLD_FAILED)
					*answers[k] = (enum world_answer)roll(2);
			for (int k = 0; k < 8; k++)
				if (world.listed[k] == WORLD_FAILED)
					world.listed[k] = (enum world_answer)roll(2);
			world_judge(&world, rules, &client, from, to, &complete);
			assert_int_not_equal(complete.kind, VERDICT_TEMPFAIL);
			if (at_once.kind != VERDICT_TEMPFAIL)
				assert_int_equal(at_once.kind, complete.kind);
		}
		rules_release(&rules);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_the_plain_one),
		cmocka_unit_test(test_any_order_of_arrival),
	};
	return cmocka_run_group_tests_name("rules_random", tests, NULL, NULL);
}
