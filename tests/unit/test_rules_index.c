/* The indices against scanning every rule: random rule sets in which many rules overlap, judged by the evaluator with its indices, by
 * the same evaluator made to scan (as explain does), by the plain evaluator of rules_ref.c, and with the lists moved into FILE= lists.
 * POSTERN_TEST_ROUNDS sets the number of rule sets (check-long: many). */
#include "rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define TEXT_CAP 65536u
#define LISTS_MAX 64u

static uint32_t seed_state = 1;

static unsigned roll(unsigned sides)
{
	seed_state = seed_state * 1664525u + 1013904223u;
	return (seed_state >> 8) % sides;
}

#define PICK(array) (array)[roll(sizeof(array) / sizeof(array)[0])]

static unsigned rounds(unsigned usual)
{
	const char *wanted = getenv("POSTERN_TEST_ROUNDS");
	return wanted ? (unsigned)strtoul(wanted, NULL, 10) : usual;
}

/* ---- words: few different parts, so that rules meet the same subjects again and again */

static const char *const hosts[] = { "a", "b", "mail", "x.y", "Mail" };
static const char *const domains[] = { "foo.com", "bar.org", "oo.com", "sub.foo.com", "FOO.com", "com" };
static const char *const locals[] = { "bob", "eve", "ob", "postmaster", "Bob", ".bob" };
static const char *const words_source[] = { "ALL", "KNOWN", "UNKNOWN", "TRUSTED", "RBL.z0", "RBL.z1", "KNOWN@ALL" };
static const char *const words_from[] = { "ALL", "<>", "RHS.z0", "USER@ALL", "*", "*@*" };
static const char *const words_beyond[] = { "192.168.*", "10.0.1.*", "10.*", "[2001:db8::]/32", "[2001:db8::1]", "[::]/0", "[2001:*]",
					    "HELO=*.foo.com", "HELO=x", "IF=eth0", "IF=eth*", "DST=10.0.0.0/8", "/^mail/", "/foo/" };

static void make_host_word(char *word, size_t cap)
{
	switch (roll(7)) {
	case 0: (void)snprintf(word, cap, "10.%u.%u.%u/%u", roll(2), roll(3), roll(3), roll(33)); break;
	case 1: (void)snprintf(word, cap, "10.0.%u.%u/32", roll(3), roll(3)); break;
	case 2: (void)snprintf(word, cap, "10.0.%u.0/24", roll(3)); break;
	case 3: (void)snprintf(word, cap, "%s.%s", PICK(hosts), PICK(domains)); break;
	case 4: (void)snprintf(word, cap, "*.%s", PICK(domains)); break;
	case 5: (void)snprintf(word, cap, "*%s", PICK(domains)); break;
	default: (void)snprintf(word, cap, "%s*.com", PICK(hosts)); break;
	}
}

/* with_more: also what rules_ref.c does not understand. */
static void make_source_word(char *word, size_t cap, bool with_more)
{
	char host[128];
	make_host_word(host, sizeof host);
	switch (roll(with_more ? 10 : 8)) {
	case 0: (void)snprintf(word, cap, "%s", PICK(words_source)); break;
	case 1: (void)snprintf(word, cap, "%s@%s", PICK(locals), host); break;
	case 8:
	case 9: (void)snprintf(word, cap, "%s", PICK(words_beyond)); break;
	default: (void)snprintf(word, cap, "%s", host); break;
	}
}

static void make_address_word(char *word, size_t cap, bool is_from)
{
	switch (roll(10)) {
	case 0: (void)snprintf(word, cap, "%s", is_from ? PICK(words_from) : "ALL"); break;
	case 1: (void)snprintf(word, cap, "*@%s", PICK(domains)); break;
	case 2: (void)snprintf(word, cap, "ALL@%s", PICK(domains)); break;
	case 3: (void)snprintf(word, cap, "*%s@*.%s", PICK(locals), PICK(domains)); break;
	case 4: (void)snprintf(word, cap, "*@*%s", PICK(domains)); break;
	case 5: (void)snprintf(word, cap, "%s@%s", PICK(locals), roll(2) ? "ALL" : "*"); break;
	case 6: (void)snprintf(word, cap, "*%s", PICK(domains)); break;
	case 7: (void)snprintf(word, cap, "%s", PICK(locals)); break;
	default: (void)snprintf(word, cap, "%s@%s", PICK(locals), PICK(domains)); break;
	}
}

/* ---- rule sets: the same one with its words in the rules, and with some lists in files */

struct sets {
	char plain[TEXT_CAP], filed[TEXT_CAP];
	char lists[LISTS_MAX][2048];
	unsigned list_count;
	bool with_more;
};

static void append(char *text, const char *more)
{
	size_t len = strlen(text);
	assert_true(len + strlen(more) < TEXT_CAP);
	memcpy(text + len, more, strlen(more) + 1);
}

static void append_both(struct sets *s, const char *more)
{
	append(s->plain, more);
	append(s->filed, more);
}

static void make_part(struct sets *s, unsigned which, bool may_be_filed)
{
	char word[256], words[2048] = "", lines[2048] = "", name[32];
	unsigned n = 1 + roll(roll(4) ? 2 : 12);
	for (unsigned i = 0; i < n; i++) {
		if (which == 0)
			make_source_word(word, sizeof word, s->with_more);
		else
			make_address_word(word, sizeof word, which == 1);
		size_t at = strlen(words);
		(void)snprintf(words + at, sizeof words - at, "%s%s", i ? " " : "", word);
		at = strlen(lines);
		(void)snprintf(lines + at, sizeof lines - at, "%s\n", word);
	}
	append(s->plain, words);
	if (may_be_filed && s->list_count < LISTS_MAX && roll(4) == 0) {
		memcpy(s->lists[s->list_count], lines, sizeof lines);
		(void)snprintf(name, sizeof name, "FILE=/list%u", s->list_count++);
		append(s->filed, name);
	} else {
		append(s->filed, words);
	}
}

static void make_sets(struct sets *s, bool with_more)
{
	static const char *const actions[] = { "allow", "deny", "noto", "noto", "debug", "debug", "debug" };
	unsigned lines = 1 + roll(40);
	s->plain[0] = s->filed[0] = '\0';
	s->list_count = 0;
	s->with_more = with_more;
	for (unsigned i = 0; i < lines; i++) {
		append_both(s, PICK(actions));
		for (unsigned which = 0; which < 3; which++) {
			append_both(s, ":");
			make_part(s, which, true);
			if (roll(5) == 0) {
				append_both(s, " EXCEPT ");
				make_part(s, which, true);
			}
		}
		append_both(s, "\n");
	}
}

static struct rules *compile(const struct sets *s, const char *text, const struct rules_options *options)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_diags diags = { 0 };
	char path[32], line[RULES_DIAG_LINE_CAP];
	assert_int_equal(rules_source_from_text(SPAN_LIT("rules"), span_of(text), &source), 0);
	for (unsigned i = 0; i < s->list_count; i++) {
		(void)snprintf(path, sizeof path, "/list%u", i);
		assert_int_equal(rules_source_add(source, span_of(path), span_of(s->lists[i])), 0);
	}
	int err = rules_compile(source, options, &diags, &rules);
	for (const struct rules_diag *d = diags.first; d && err; d = d->next)
		print_error("%s\n", rules_diag_format(d, line));
	assert_int_equal(err, 0);
	rules_diags_free(&diags);
	rules_source_release(&source);
	return rules;
}

/* ---- judging */

static void make_world(struct world *w, struct rules_client *client, char name[64])
{
	static const char *const v6[] = { "2001:db8::1", "2001:db9::1", "::1" };
	static const char *const helos[] = { "mail.foo.com", "x", "" };
	static const char *const users[] = { "bob", "eve", "postmaster" };
	char addr[64];
	(void)snprintf(name, 64, "%s.%s", PICK(hosts), PICK(domains));
	*w = (struct world){ .name_text = name, .ident_text = PICK(users) };
	w->name = roll(3) ? WORLD_PRESENT : (enum world_answer)roll(3);
	w->ident = (enum world_answer)roll(3);
	for (int i = 0; i < 8; i++)
		w->listed[i] = roll(3) ? WORLD_ABSENT : (enum world_answer)roll(3);
	*client = (struct rules_client){ .trusted = roll(2), .iface = span_of(roll(2) ? "eth0" : "eth1"), .helo = span_of(PICK(helos)) };
	(void)snprintf(addr, sizeof addr, "10.%u.%u.%u", roll(2), roll(3), roll(3));
	assert_int_equal(addr_parse(span_of(roll(8) ? addr : PICK(v6)), &client->addr), 0);
	if (roll(4))
		(void)addr_parse(span_of(addr), &client->dst);
}

static void make_address(char text[128])
{
	if (roll(12) == 0)
		text[0] = '\0';
	else if (roll(12) == 0)
		(void)snprintf(text, 128, "%s", PICK(locals));
	else
		(void)snprintf(text, 128, "%s@%s%s", PICK(locals), roll(3) ? "" : "a.", PICK(domains));
}

/* What was answered, and which debug rules matched on the way. */
struct result {
	struct rules_verdict verdict;
	uint32_t debugs, debug_sum;
};

static void on_debug(void *ctx, uint32_t rule_index, uint32_t rule_line)
{
	struct result *r = ctx;
	(void)rule_line;
	r->debugs++;
	r->debug_sum = r->debug_sum * 31 + rule_index;
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

static void judge(const struct world *world, struct rules *rules, const struct rules_client *client, const char *from, const char *to,
		  bool scan, struct result *out)
{
	struct rules_facts facts = { .client = *client };
	struct rules_eval eval;
	struct rules_hooks hooks = { .ctx = out, .debug = on_debug, .trace = scan ? on_trace : NULL };
	out->debugs = out->debug_sum = 0;
	if (roll(2))
		rules_prefetch(rules, &facts);
	rules_eval_start(&eval, rules, &facts, span_of(from), span_of(to), &hooks);
	while (rules_eval_run(&eval, &out->verdict) == STEP_WAIT)
		settle_some(world, &facts);
	rules_eval_end(&eval);
	facts_free(&facts);
}

static void assert_same(const struct sets *s, const char *who, const struct result *a, const struct result *b, const char *from, const char *to)
{
	const struct rules_verdict *x = &a->verdict, *y = &b->verdict;
	if (x->kind != y->kind || x->rule_line != y->rule_line || a->debug_sum != b->debug_sum)
		print_error("%s: from '%s' to '%s': %s by %u (%u debugs), expected %s by %u (%u debugs)\n%s", who, from, to, verdict_kind_name(x->kind),
			    x->rule_line, a->debugs, verdict_kind_name(y->kind), y->rule_line, b->debugs, s->plain);
	assert_int_equal(x->kind, y->kind);
	assert_int_equal(x->rule_line, y->rule_line);
	assert_int_equal(a->debugs, b->debugs);
	assert_int_equal(a->debug_sum, b->debug_sum);
}

static void compare(unsigned round, bool with_more)
{
	static struct sets s;
	struct rules_options options;
	seed_state = round * 2 + with_more;
	make_sets(&s, with_more);
	rules_options_defaults(&options);
	options.on_unknown = roll(3) ? ON_UNKNOWN_TEMPFAIL : ON_UNKNOWN_SKIP;
	options.no_match = roll(2) ? NO_MATCH_ALLOW : NO_MATCH_NOTO;
	struct rules *plain = compile(&s, s.plain, &options), *filed = compile(&s, s.filed, &options);
	for (unsigned i = 0; i < 12; i++) {
		struct rules_client client;
		struct world world;
		struct result scanned, indexed, by_file;
		char name[64], from[128], to[128];
		char who[256], client_text[ADDR_TEXT_CAP];
		unsigned line;
		make_world(&world, &client, name);
		(void)snprintf(who, sizeof who, "round %u, %s, name %u '%s', ident %u '%s'%s", round, addr_format(&client.addr, client_text),
			       world.name, name, world.ident, world.ident_text, client.trusted ? ", trusted" : "");
		make_address(from);
		make_address(to);
		judge(&world, plain, &client, from, to, true, &scanned);
		judge(&world, plain, &client, from, to, false, &indexed);
		judge(&world, filed, &client, from, to, false, &by_file);
		assert_same(&s, who, &indexed, &scanned, from, to);
		assert_string_equal(indexed.verdict.unknown_reason, scanned.verdict.unknown_reason);
		assert_same(&s, who, &by_file, &scanned, from, to);
		if (with_more)
			continue;
		struct result plainest = scanned;
		plainest.verdict.kind = ref_judge(s.plain, &options, &world, &client, from, to, &line);
		plainest.verdict.rule_line = line;
		assert_same(&s, who, &indexed, &plainest, from, to);
	}
	rules_release(&plain);
	rules_release(&filed);
}

static void test_like_the_plain_one(void **state)
{
	(void)state;
	for (unsigned round = 0; round < rounds(600); round++)
		compare(round, false);
}

static void test_like_a_scan(void **state)
{
	(void)state;
	for (unsigned round = 0; round < rounds(600); round++)
		compare(round, true);
}

/* More runs of rules than a walk follows: everything is looked at. */
static void test_more_lists_than_a_walk_follows(void **state)
{
	static char text[TEXT_CAP];
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
	struct rules *rules = world_compile(text, &options);
	world_judge(&world, rules, &client, address, "x@y.z", &verdict);
	assert_int_equal(verdict.kind, VERDICT_ALLOW);
	rules_release(&rules);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_like_the_plain_one),
		cmocka_unit_test(test_like_a_scan),
		cmocka_unit_test(test_more_lists_than_a_walk_follows),
	};
	return cmocka_run_group_tests_name("rules_index", tests, NULL, NULL);
}
