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
						   { NULL, NULL } };
	struct rules_options options;
	rules_options_defaults(&options);
	return world_compile(text, files, &options);
}

static struct syn_verdict judge(const char *text, const char *ip)
{
	struct rules_client client = { .iface = SPAN_LIT("wan"), .mark = 5 };
	struct syn_verdict verdict;
	struct rules_syn *syn = NULL;
	struct rules *rules = compile(text);
	assert_int_equal(addr_parse(span_of(ip), &client.addr), 0);
	assert_int_equal(addr_parse(SPAN_LIT("198.51.100.25"), &client.dst), 0);
	assert_int_equal(rules_syn_create(rules, &syn), 0);
	rules_release(&rules); /* it holds them */
	rules_syn_judge(syn, &client, &verdict);
	rules_syn_destroy(&syn);
	rules_syn_destroy(&syn);
	return verdict;
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
static void check_sessions(struct rules *rules, const struct made_case *c, const struct syn_verdict *syn)
{
	for (unsigned i = 0; i < 8; i++) {
		struct made_case other;
		struct rules_verdict verdict;
		make_case(&other);
		struct rules_client client = c->client;
		client.helo = other.client.helo;
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
	unsigned decided = 0;
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
			rules_syn_judge(syn, &c.client, &verdict);
			if (verdict.outcome == SYN_SESSION)
				continue;
			decided++;
			check_sessions(rules, &c, &verdict);
		}
		rules_syn_destroy(&syn);
		rules_release(&rules);
	}
	assert_in_range(decided, 300, 30000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decided), cmocka_unit_test(test_left_to_the_session), cmocka_unit_test(test_same_end),
		cmocka_unit_test(test_marks),	cmocka_unit_test(test_only_what_is_of_use), cmocka_unit_test(test_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
