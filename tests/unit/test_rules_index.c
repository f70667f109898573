/* The indices against scanning every rule: random rule sets in which many rules overlap, judged by the evaluator with its indices, by
 * the same evaluator made to scan (as explain does), by the plain evaluator of rules_ref.c, and with the lists moved into FILE= lists.
 * POSTERN_TEST_ROUNDS sets the number of rule sets (check-long: many). */
#include "rules_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static unsigned rounds(unsigned usual)
{
	const char *wanted = getenv("POSTERN_TEST_ROUNDS");
	return wanted ? (unsigned)strtoul(wanted, NULL, 10) : usual;
}

/* What was answered, and which rules that only tell something matched on the way. */
struct result {
	struct rules_verdict verdict;
	uint32_t debugs, debug_sum, dry_runs;
};

static void on_debug(void *ctx, uint32_t rule_index, uint32_t rule_line)
{
	struct result *r = ctx;
	(void)rule_line;
	r->debugs++;
	r->debug_sum = r->debug_sum * 31 + rule_index;
}

static void on_dry_run(void *ctx, const struct rules_verdict *verdict)
{
	struct result *r = ctx;
	r->dry_runs++;
	r->debug_sum = r->debug_sum * 31 + verdict->rule_index;
}

static void on_trace(void *ctx, const struct rules_trace *trace)
{
	(void)ctx, (void)trace;
}

/* Settles one fact that is open; asks for all that are lacking first. */
static void settle_some(const struct world *world, struct rules_facts *facts)
{
	for (uint64_t id = 1; id <= facts->last_id; id++) {
		const struct fact *f = facts_get(facts, id);
		if (f && (f->state == FACT_NOT_ASKED || f->state == FACT_PENDING)) {
			world_settle(world, facts, f);
			return;
		}
	}
	fail_msg("waits for nothing");
}

static void judge(const struct made_case *c, struct rules *rules, bool scan, struct result *out)
{
	struct rules_facts facts = { .client = c->client };
	struct rules_eval eval;
	struct rules_hooks hooks = { .ctx = out, .debug = on_debug, .dry_run = on_dry_run, .trace = scan ? on_trace : NULL };
	out->debugs = out->debug_sum = out->dry_runs = 0;
	if (maker_roll(2))
		rules_prefetch(rules, &facts);
	rules_eval_start(&eval, rules, &facts, span_of(c->from), span_of(c->to), &hooks);
	while (rules_eval_run(&eval, &out->verdict) == STEP_WAIT)
		settle_some(&c->world, &facts);
	rules_eval_end(&eval);
	facts_free(&facts);
}

/* The two rules in question, and all of the files. */
static void tell(const struct made_rules *s, const struct made_case *c, const char *text, unsigned got, unsigned expected)
{
	char addr[ADDR_TEXT_CAP];
	unsigned n = 0;
	print_error("client %s%s, name %u '%s', ident %u '%s', from '%s', to '%s'\n", addr_format(&c->client.addr, addr),
		    c->client.trusted ? " trusted" : "", c->world.name, c->name, c->world.ident, c->world.ident_text, c->from, c->to);
	for (const char *end; *text; text = end + 1) {
		end = text + strcspn(text, "\n");
		n++;
		for (int from = 0; (n == got || n == expected) && from < end - text; from += 800)
			print_error("%u+%d: %.*s\n", n, from, (int)(end - text - from < 800 ? end - text - from : 800), text + from);
	}
	for (const struct world_file *f = s->files; f->path; f++)
		print_error("--- %s\n%.900s", f->path, f->text);
}

/* b: what is expected. */
static void assert_same(const struct made_rules *s, const struct made_case *c, const char *who, const char *text, const struct result *a,
			const struct result *b)
{
	const struct rules_verdict *x = &a->verdict, *y = &b->verdict;
	if (x->kind == y->kind && x->rule_line == y->rule_line && a->debugs == b->debugs && a->dry_runs == b->dry_runs && a->debug_sum == b->debug_sum)
		return;
	print_error("%s: %s by %u (%u debugs, %u dry runs), expected %s by %u (%u, %u)\n", who, verdict_kind_name(x->kind), x->rule_line, a->debugs,
		    a->dry_runs, verdict_kind_name(y->kind), y->rule_line, b->debugs, b->dry_runs);
	tell(s, c, text, x->rule_line, y->rule_line);
	fail();
}

static void assert_like_ref(const struct made_rules *s, const struct made_case *c, const struct rules_options *options, const char *text,
			    const struct result *got)
{
	struct result expected = *got;
	struct ref_result ref;
	ref_judge(text, s->files, options, &c->world, &c->client, c->from, c->to, &ref);
	expected.verdict.kind = ref.kind;
	expected.verdict.rule_line = ref.line;
	expected.debugs = ref.debugs;
	expected.dry_runs = ref.dry_runs;
	assert_same(s, c, "against the plain one", text, got, &expected);
}

static void compare(unsigned round, unsigned counts[5])
{
	static struct made_rules s;
	struct rules_options options;
	maker_seed(round);
	make_rules(&s, round % 2 ? 40 : 6);
	make_options(&options);
	struct rules *plain = world_compile(s.plain, s.files, &options), *filed = world_compile(s.filed, s.files, &options);
	for (unsigned i = 0; i < 12; i++) {
		struct made_case c;
		struct result scanned, indexed, by_file;
		make_case(&c);
		judge(&c, plain, true, &scanned);
		judge(&c, plain, false, &indexed);
		judge(&c, filed, false, &by_file);
		assert_like_ref(&s, &c, &options, s.plain, &scanned);
		assert_same(&s, &c, "indexed", s.plain, &indexed, &scanned);
		if (strcmp(indexed.verdict.unknown_reason, scanned.verdict.unknown_reason) != 0)
			tell(&s, &c, s.plain, indexed.verdict.rule_line, 0);
		assert_string_equal(indexed.verdict.unknown_reason, scanned.verdict.unknown_reason);
		assert_same(&s, &c, "with lists", s.filed, &by_file, &scanned);
		assert_like_ref(&s, &c, &options, s.filed, &by_file);
		counts[scanned.verdict.kind]++;
		counts[4] += scanned.verdict.rule_line != 0;
	}
	rules_release(&plain);
	rules_release(&filed);
}

static void test_like_a_scan_and_like_the_plain_one(void **state)
{
	unsigned counts[5] = { 0 }, count = rounds(1000);
	(void)state;
	for (unsigned round = 0; round < count; round++)
		compare(round, counts);
	/* Else it would prove little. */
	for (int i = 0; i < 4; i++)
		if (counts[i] < count / 4)
			fail_msg("verdict %s only %u times", verdict_kind_name((enum verdict_kind)i), counts[i]);
	if (counts[4] < count * 4)
		fail_msg("a rule decided only %u times", counts[4]);
}

/* More runs of rules than a walk follows: everything is looked at. */
static void test_more_lists_than_a_walk_follows(void **state)
{
	static char text[4096];
	struct rules_options options;
	struct rules_verdict verdict;
	struct world world = { .name_text = "" };
	struct rules_client client = { .addr = { .family = ADDR_V4, .bytes = { 10, 1, 2, 3 } } };
	(void)state;
	rules_options_defaults(&options);
	const char *address = "u@a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r.s.t.u.v.w.x.y.z.aa.bb.cc.dd.ee.ff.gg.hh.ii.jj.kk.example";
	for (const char *dot = strchr(address, '.'); dot; dot = strchr(dot + 1, '.'))
		(void)snprintf(text + strlen(text), sizeof text - strlen(text), "debug:ALL:*%s:ALL\n", dot);
	(void)snprintf(text + strlen(text), sizeof text - strlen(text), "allow:10.0.0.0/8:ALL:ALL\n");
	struct rules *rules = world_compile(text, NULL, &options);
	world_judge(&world, rules, &client, address, "x@y.z", &verdict);
	assert_int_equal(verdict.kind, VERDICT_ALLOW);
	rules_release(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_a_scan_and_like_the_plain_one),
		cmocka_unit_test(test_more_lists_than_a_walk_follows),
	};
	return cmocka_run_group_tests_name("rules_index", tests, NULL, NULL);
}
