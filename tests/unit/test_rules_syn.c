/* What the gate may decide at the SYN: cases, and for random rules that no session could come out otherwise. */
#include "rules_syn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rules_maker.h"

static struct rules *compile(const char *text)
{
	static const struct world_file files[] = { { "list", "10.0.0.0/8\n2001:db8::/32\n" }, { "names", "11.0.0.1\nevil.example\n" }, { "table", "10.9 REJECT\n" },
						   { "lists", "RBL.in-file.test\n9.9.9.9\n" },
						   { NULL, NULL } };
	struct rules_options options;
	rules_options_defaults(&options);
	return world_compile(text, files, &options);
}

static struct syn_verdict judge_with(const char *text, const char *ip, const struct syn_lists *lists)
{
	struct rules_client client = { .iface = SPAN_LIT("wan"), .mark = 5 };
	struct syn_verdict verdict;
	struct rules_syn *syn = NULL;
	struct rules *rules = compile(text);
	assert_int_equal(addr_parse(span_of(ip), &client.addr), 0);
	assert_int_equal(addr_parse(SPAN_LIT("198.51.100.25"), &client.dst), 0);
	assert_int_equal(rules_syn_create(rules, &syn), 0);
	rules_release(&rules); /* it holds them */
	rules_syn_judge(syn, &client, lists, &verdict);
	rules_syn_destroy(&syn);
	rules_syn_destroy(&syn);
	return verdict;
}

static struct syn_verdict judge(const char *text, const char *ip)
{
	return judge_with(text, ip, NULL);
}

static void expect(const char *text, const char *ip, enum syn_outcome outcome, uint32_t line)
{
	struct syn_verdict v = judge(text, ip);
	if (v.outcome != outcome || v.rule_line != line)
		fail_msg("%s for %s: %d by line %u", text, ip, (int)v.outcome, v.rule_line);
}

static void test_decided(void **unused)
{
	(void)unused;
	expect("drop:10/8:ALL:ALL\n", "10.1.2.3", SYN_DROP, 1);
	expect("drop:10/8:ALL:ALL\n", "11.1.2.3", SYN_SESSION, 0);
	expect("drop:[2001:db8::]/32:ALL:ALL\n", "2001:db8::1", SYN_DROP, 1);
	expect("allow:10.1/16:ALL:ALL\ndrop:10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("allow:10.1/16:ALL:ALL\ndrop:10/8:ALL:ALL\n", "10.2.2.3", SYN_DROP, 2);
	expect("drop:10/8 EXCEPT 10.1/16:ALL:ALL\npass:10.1.2.3:ALL:ALL\n", "10.1.2.3", SYN_PASS, 2);
	expect("drop:FILE=list:ALL:ALL\n", "10.1.2.3", SYN_DROP, 1);
	expect("drop:FILE=list:ALL:ALL\n", "2001:db8::9", SYN_DROP, 1);
	expect("drop:FILE=list:ALL:ALL\n", "9.9.9.9", SYN_SESSION, 0);
	expect("drop:IF=wan:ALL:ALL\n", "10.1.2.3", SYN_DROP, 1);
	expect("drop:IF=lan:ALL:ALL\ndrop:DST=198.51.100/24:ALL:ALL\n", "10.1.2.3", SYN_DROP, 2);
	expect("drop:TRUSTED:ALL:ALL\npass:UNTRUSTED:ALL:ALL\n", "10.1.2.3", SYN_PASS, 2);
	expect("drop:MARK=5:ALL:ALL\n", "10.1.2.3", SYN_DROP, 1);
	expect("debug:ALL:ALL:ALL\ndry-run allow:ALL:ALL:ALL\ndrop:ALL:ALL:ALL\n", "10.1.2.3", SYN_DROP, 3);
}

static void test_left_to_the_session(void **unused)
{
	(void)unused;
	/* A reply is owed. */
	expect("deny:10/8:ALL:ALL\ntarpit:ALL:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	/* Who it is for is not known yet. */
	expect("drop:10/8:ALL:bob@foo.com\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:10/8:<>:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("allow:ALL:ALL:postmaster@*\ndrop:10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	/* Nor what a name server, the client's ident, or HELO will say. */
	expect("drop:*.evil.example:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:RBL.list.example:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:HELO=x:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:10/8 EXCEPT HELO=x:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:KNOWN@10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("allow:KNOWN:ALL:ALL\ndrop:10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:FILE=names:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("access:table\ndrop:10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	/* An address decides against what a name could have let in. */
	expect("allow:KNOWN 9/8:<>:ALL EXCEPT ALL\npass:10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:FILE=names:ALL:ALL\n", "11.0.0.1", SYN_DROP, 1);
}

static void test_same_end(void **unused)
{
	(void)unused;
	expect("drop:*.evil.example:ALL:ALL\ndrop:10/8:ALL:ALL\n", "10.1.2.3", SYN_DROP, 2);
	expect("drop:RBL.a:<>:ALL\ndrop:RBL.b:ALL:ALL\ndrop:10/8:ALL:ALL\n", "10.1.2.3", SYN_DROP, 3);
	expect("drop:RBL.a:ALL:ALL\npass:10/8:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("drop:RBL.a:ALL:ALL:550 listed\ndrop:10/8:ALL:ALL:550 no\n", "10.1.2.3", SYN_SESSION, 0);
}

static void test_marks(void **unused)
{
	static const char text[] = "mark=0x1/0xf:10/8:ALL:ALL\nmark=0x22:10.1/16:ALL:ALL\nmark=0x100/0x100:*.x.example:ALL:ALL\n"
				   "mark=0x200/0x200:ALL:<>:ALL\ndrop:12/8:ALL:ALL\nallow:ALL:ALL:ALL\nmark=0x400/0x400:ALL:ALL:ALL\n";
	(void)unused;
	struct syn_verdict v = judge(text, "10.2.2.3");
	assert_true(v.outcome == SYN_SESSION && v.mark.bits == 1 && v.mark.mask == 0xf);
	v = judge(text, "10.1.2.3");
	assert_true(v.mark.bits == 0x22 && v.mark.mask == MARK_FREE_BITS);
	v = judge(text, "12.1.2.3");
	assert_true(v.outcome == SYN_DROP && v.mark.mask == 0);
	/* What is set by a rule is there for those behind it, as in the session; the rest of the mark is as it came. */
	expect("mark=0x10/0xf0:ALL:ALL:ALL\ndrop:MARK=0x10/0xf0:ALL:ALL\n", "10.1.2.3", SYN_DROP, 2);
	expect("mark=0x10/0xf0:ALL:ALL:ALL\ndrop:MARK=0/0xf0:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("mark=0x10/0xf0:11/8:ALL:ALL\ndrop:MARK=0x10/0xf0:ALL:ALL\n", "10.1.2.3", SYN_SESSION, 0);
	expect("mark=0x10/0xf0:ALL:ALL:ALL\ndrop:MARK=0x15:ALL:ALL\n", "10.1.2.3", SYN_DROP, 2);
}

/* ---- block lists */

/* "a.test=127.0.0.2 b.test= ..." in the order of rules_syn_lists: what is known; without `=` nothing is. */
struct known {
	const char *words[8];
	unsigned asked;
};

static bool find_known(void *ctx, uint32_t list, const struct addr *client, struct syn_list_answer *out)
{
	struct known *known = ctx;
	assert_int_not_equal(client->family, ADDR_NONE);
	assert_in_range(list, 0, 7);
	known->asked++;
	if (!known->words[list])
		return false;
	out->count = 0;
	struct span rest = span_of(known->words[list]), word;
	while (rest.len && span_cut(&rest, ' ', &word))
		assert_int_equal(addr_parse(word, &out->addrs[out->count++]), 0);
	return true;
}

static void expect_lists(const char *text, const char *first, const char *second, enum syn_outcome outcome, uint32_t line)
{
	struct known known = { { first, second }, 0 };
	const struct syn_lists lists = { find_known, &known };
	static const char *const ips[] = { "10.1.2.3", "2001:db8::1" };
	for (size_t i = 0; i < 2; i++) {
		struct syn_verdict v = judge_with(text, ips[i], &lists);
		if (v.outcome != outcome || v.rule_line != line || (outcome != SYN_SESSION && !v.by_lists))
			fail_msg("%s with '%s' and '%s': %d by line %u", text, first ? first : "-", second ? second : "-", (int)v.outcome, v.rule_line);
	}
}

static void test_lists(void **unused)
{
	(void)unused;
	expect_lists("drop:RBL.a.test:ALL:ALL\n", NULL, NULL, SYN_SESSION, 0);
	expect_lists("drop:RBL.a.test:ALL:ALL\n", "127.0.0.2", NULL, SYN_DROP, 1);
	expect_lists("drop:RBL.a.test:ALL:ALL\n", "", NULL, SYN_SESSION, 0);
	expect_lists("drop:RBL.a.test:<>:ALL\n", "127.0.0.2", NULL, SYN_SESSION, 0);
	expect_lists("deny:RBL.a.test:ALL:ALL\ndrop:ALL:ALL:ALL\n", "127.0.0.2", NULL, SYN_SESSION, 0);
	/* Which answers count; those that do not are as good as none, errors of the list are unknown. */
	expect_lists("drop:RBL.a.test=127.0.0.4-127.0.0.9:ALL:ALL\n", "127.0.0.2 127.0.0.9", NULL, SYN_DROP, 1);
	expect_lists("drop:RBL.a.test=127.0.0.4-127.0.0.9:ALL:ALL\n", "127.0.0.2 127.0.0.3", NULL, SYN_SESSION, 0);
	expect_lists("drop:RBL.a.test:ALL:ALL\n", "127.255.255.254", NULL, SYN_SESSION, 0);
	expect_lists("allow:RBL.a.test:ALL:ALL\ndrop:ALL:ALL:ALL\n", "127.255.255.254", NULL, SYN_SESSION, 0);
	expect_lists("drop:RBL.a.test:ALL:ALL\n", "192.0.2.1", NULL, SYN_SESSION, 0);
	/* Not being listed decides as well. */
	expect_lists("allow:RBL.a.test:ALL:ALL\ndrop:ALL:ALL:ALL\n", "", NULL, SYN_DROP, 2);
	expect_lists("allow:RBL.a.test:ALL:ALL\ndrop:ALL:ALL:ALL\n", "127.0.0.2", NULL, SYN_SESSION, 0);
	expect_lists("allow:RBL.a.test:ALL:ALL\ndrop:ALL:ALL:ALL\n", NULL, "127.0.0.2", SYN_SESSION, 0);
	expect_lists("drop:ALL EXCEPT RBL.a.test:ALL:ALL\n", "", NULL, SYN_DROP, 1);
	expect_lists("drop:ALL EXCEPT RBL.a.test:ALL:ALL\n", NULL, NULL, SYN_SESSION, 0);
	expect_lists("pass:RBL.a.test:ALL:ALL\ndrop:RBL.B.test RBL.a.test:ALL:ALL\n", "127.0.0.2", "127.0.0.2", SYN_PASS, 1);
	expect_lists("pass:RBL.a.test:ALL:ALL\ndrop:RBL.B.test RBL.a.test:ALL:ALL\n", "", "127.0.0.2", SYN_DROP, 2);
	expect_lists("pass:RBL.a.test:ALL:ALL\ndrop:RBL.b.test RBL.A.test:ALL:ALL\n", NULL, "127.0.0.2", SYN_SESSION, 0);
	expect_lists("drop:RBL.a.test=127.0.0.9 RBL.a.test=127.0.0.2:ALL:ALL\n", "127.0.0.2", NULL, SYN_DROP, 1);
	/* Names and lists of names stay what they are, and so do lists that are asked for others than the client. */
	expect_lists("drop:RBL.a.test *.evil.example:ALL:ALL\n", "", NULL, SYN_SESSION, 0);
	expect_lists("drop:NS=RBL.b.test:ALL:ALL\ndrop:RBL.a.test:ALL:ALL\n", "", NULL, SYN_SESSION, 0);
	expect_lists("drop:FILE=lists:ALL:ALL\n", "127.0.0.2", NULL, SYN_DROP, 1);
}

static void test_lists_are_asked_only_when_needed(void **unused)
{
	struct known known = { { "127.0.0.2" }, 0 };
	const struct syn_lists lists = { find_known, &known };
	(void)unused;
	struct syn_verdict v = judge_with("drop:10/8:ALL:ALL\ndrop:RBL.a.test:ALL:ALL\n", "10.1.2.3", &lists);
	assert_true(v.outcome == SYN_DROP && !v.by_lists && known.asked == 0);
	v = judge_with("allow:RBL.a.test:ALL:ALL\ndrop:RBL.a.test 10/8:ALL:ALL\n", "10.1.2.3", &lists);
	assert_int_equal(known.asked, 1);
	/* Rules that only a session can follow name lists in vain. */
	v = judge_with("drop:10/8:ALL:ALL\ndeny:RBL.a.test:ALL:ALL\n", "11.1.2.3", &lists);
	assert_true(v.outcome == SYN_SESSION && known.asked == 1);
}

static void test_which_lists(void **unused)
{
	const struct span *zones;
	struct rules *rules = compile("debug:RBL.no:ALL:ALL\nallow:RBL.a.test RBL.A.TEST=127.0.0.3:ALL:ALL\ndrop:ALL EXCEPT FILE=lists:<>:ALL\n"
				      "drop:NS=RBL.no:ALL:ALL\nmark=1:RBL.c.test:ALL:ALL\ndeny:RBL.no:ALL:ALL\n");
	(void)unused;
	assert_int_equal(rules_syn_lists(rules, &zones), 3);
	assert_true(span_eq(zones[0], SPAN_LIT("a.test")) && span_eq(zones[1], SPAN_LIT("in-file.test")) && span_eq(zones[2], SPAN_LIT("c.test")));
	assert_true(rules_syn_has_list(rules, SPAN_LIT("C.test")) && !rules_syn_has_list(rules, SPAN_LIT("no")));
	rules_release(&rules);
}

/* One set of rules, one client after the other: nothing stays of the one before. */
static void test_answers_are_the_clients_own(void **unused)
{
	struct known known = { { "127.0.0.2" }, 0 };
	const struct syn_lists lists = { find_known, &known };
	struct rules_client client = { .iface = SPAN_LIT("wan") };
	struct rules *rules = compile("drop:RBL.a.test:ALL:ALL\n");
	struct rules_syn *syn = NULL;
	struct syn_verdict v;
	(void)unused;
	assert_int_equal(addr_parse(SPAN_LIT("10.0.0.1"), &client.addr), 0);
	assert_int_equal(rules_syn_create(rules, &syn), 0);
	for (unsigned i = 0; i < 6; i++) {
		known.words[0] = i % 3 == 0 ? "127.0.0.2" : i % 3 == 1 ? "" : NULL;
		rules_syn_judge(syn, &client, &lists, &v);
		assert_int_equal(v.outcome, i % 3 == 0 ? SYN_DROP : SYN_SESSION);
		rules_syn_judge(syn, &client, NULL, &v);
		assert_int_equal(v.outcome, SYN_SESSION);
	}
	rules_syn_destroy(&syn);
	rules_release(&rules);
}

static void test_why_left(void **unused)
{
	static const struct {
		const char *text;
		enum syn_left left;
		uint32_t line;
	} cases[] = {
		{ "allow:ALL:ALL:ALL\n", SYN_LEFT_NO_RULE, 0 },
		{ "drop:11/8:ALL:ALL\n", SYN_LEFT_NO_RULE, 0 },
		{ "drop:11/8:ALL:ALL\nallow:10/8:ALL:ALL\ndrop:ALL:ALL:ALL\n", SYN_LEFT_OTHER, 2 },
		{ "drop:11/8:ALL:ALL\nallow:10/8:<>:ALL\ndrop:ALL:ALL:ALL\n", SYN_LEFT_UNKNOWN, 2 },
		{ "drop:RBL.a.test:ALL:ALL\n", SYN_LEFT_UNKNOWN, 1 },
		{ "drop:RBL.a.test:ALL:ALL\npass:10/8:ALL:ALL\n", SYN_LEFT_UNKNOWN, 1 },
	};
	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct syn_verdict v = judge(cases[i].text, "10.1.2.3");
		assert_int_equal(v.outcome, SYN_SESSION);
		if (v.left != cases[i].left || v.left_line != cases[i].line)
			fail_msg("%s: %d by line %u", cases[i].text, (int)v.left, v.left_line);
	}
}

/* Rules that no SYN can be decided by cost nothing. */
static void test_only_what_is_of_use(void **unused)
{
	static const char *const texts[] = { "allow:10/8:ALL:ALL\ndeny:ALL:ALL:ALL\n", "drop:10/8:ALL:ALL\ndebug:ALL:ALL:ALL\ndeny:11/8:ALL:ALL\n" };
	(void)unused;
	for (uint32_t i = 0; i < 2; i++) {
		struct rules_syn *syn = NULL;
		struct rules *rules = compile(texts[i]);
		assert_int_equal(rules_syn_create(rules, &syn), 0);
		assert_int_equal(rules_syn_count(syn), i);
		rules_syn_destroy(&syn);
		rules_release(&rules);
	}
}

/* The made rules with some of ours in between, which a SYN can be decided by. */
static void mix(const char *text, char *out, size_t cap)
{
	size_t len = 0;
	while (*text) {
		size_t line = strcspn(text, "\n") + 1;
		if (maker_roll(2))
			len += (size_t)snprintf(out + len, cap - len, "%s:10.%u.%u.0/%u%s:ALL:ALL\n", maker_roll(2) ? "drop" : "pass", maker_roll(2),
						maker_roll(3), 8 + maker_roll(24), maker_roll(4) ? "" : " EXCEPT IF=eth0");
		len += (size_t)snprintf(out + len, cap - len, "%.*s", (int)line, text);
		text += line;
	}
}

/* What a session with any HELO, sender and recipient would make of this client, in this and in other worlds. */
/* What the block lists of this world say of the client; of some of them nothing is known. */
struct world_lists {
	const struct world *world;
	const struct span *zones;
	unsigned asked;
};

static bool find_in_world(void *ctx, uint32_t list, const struct addr *client, struct syn_list_answer *out)
{
	struct world_lists *lists = ctx;
	struct addr addr;
	(void)client;
	lists->asked++;
	enum world_answer answer = world_listed(lists->world, lists->zones[list], SPAN_NONE, &addr);
	if (answer == WORLD_FAILED || (list + lists->asked) % 3 == 0)
		return false;
	out->count = answer == WORLD_PRESENT;
	out->addrs[0] = addr;
	return true;
}

static void check_sessions(struct rules *rules, const struct made_case *c, const struct syn_verdict *syn)
{
	for (unsigned i = 0; i < 8; i++) {
		struct made_case other;
		struct rules_verdict verdict;
		make_case(&other);
		struct rules_client client = c->client;
		client.helo = other.client.helo;
		memcpy(other.world.listed, c->world.listed, sizeof other.world.listed);
		memcpy(other.world.answers, c->world.answers, sizeof other.world.answers);
		world_judge(&other.world, rules, &client, other.from, other.to, &verdict);
		struct span action = rules_action_text(rules, verdict.rule_index);
		assert_int_not_equal(verdict.kind, VERDICT_TEMPFAIL);
		assert_true(span_eq(action, syn->outcome == SYN_DROP ? SPAN_LIT("drop") : SPAN_LIT("pass")));
	}
}

static void test_random(void **unused)
{
	static struct made_rules s;
	static char text[2 * MADE_TEXT_CAP];
	unsigned decided = 0, by_lists = 0;
	(void)unused;
	for (unsigned round = 0; round < 3000; round++) {
		struct rules_options options;
		struct made_case c;
		struct syn_verdict verdict;
		struct rules_syn *syn = NULL;
		maker_seed(round + 200000);
		make_rules(&s, 6);
		make_options(&options);
		options.on_unknown = ON_UNKNOWN_TEMPFAIL;
		mix(round % 2 ? s.filed : s.plain, text, sizeof text);
		struct rules *rules = world_compile(text, s.files, &options);
		assert_int_equal(rules_syn_create(rules, &syn), 0);
		for (unsigned i = 0; i < 10; i++) {
			make_case(&c);
			struct world_lists known = { .world = &c.world };
			const struct syn_lists lists = { find_in_world, &known };
			(void)rules_syn_lists(rules, &known.zones);
			rules_syn_judge(syn, &c.client, i % 2 ? &lists : NULL, &verdict);
			if (verdict.outcome == SYN_SESSION)
				continue;
			decided++;
			by_lists += verdict.by_lists;
			check_sessions(rules, &c, &verdict);
		}
		rules_syn_destroy(&syn);
		rules_release(&rules);
	}
	assert_in_range(decided, 300, 30000);
	assert_in_range(by_lists, 30, 30000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decided), cmocka_unit_test(test_left_to_the_session), cmocka_unit_test(test_same_end),
		cmocka_unit_test(test_marks),	cmocka_unit_test(test_only_what_is_of_use), cmocka_unit_test(test_random),
		cmocka_unit_test(test_lists),	cmocka_unit_test(test_lists_are_asked_only_when_needed), cmocka_unit_test(test_which_lists),
		cmocka_unit_test(test_answers_are_the_clients_own), cmocka_unit_test(test_why_left),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
