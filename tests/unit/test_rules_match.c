/* Every pattern, one line of a table each: a rule that allows, against one client and one envelope. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "rules.h"
#include "rules_match_table.h"
#include "rules_pattern.h"

/* The client of all cases, unless the case says otherwise. */
struct setting {
	const char *ip, *name, *ident, *dst, *helo, *from, *to;
	uint32_t mark;
	bool trusted;
	unsigned failed; /* bits of fact kinds */
};

static const struct setting usual = {
	.ip = "192.168.20.7", .name = "mail.foo.com", .ident = "bob", .dst = "203.0.113.5", .helo = "laptop.local",
	.from = "bob@foo.com", .to = "alice@ours.org"
};

static const struct addr ns_addrs[] = { { ADDR_V4, { 198, 51, 100, 1 } }, { ADDR_V6, { 0x20, 0x01, 0x0d, 0xb8, [15] = 1 } } };
static const struct span ns_names[] = { { "ns1.isp.net", 11 }, { "mx.isp.net", 10 } };

/* The made-up DNS: what a zone is called says what it answers. */
static void settle(const struct setting *s, struct rules_facts *facts, const struct fact *f)
{
	static const struct addr answers[] = { { ADDR_V4, { 127, 0, 0, 2 } }, { ADDR_V4, { 127, 255, 255, 254 } }, { ADDR_V4, { 10, 0, 0, 1 } } };
	struct fact_value value = { 0 };
	bool present = true;
	if (s->failed & 1u << f->key.kind) {
		assert_int_equal(facts_settle_failed(facts, f->id, SPAN_LIT("SERVFAIL")), 0);
		return;
	}
	switch (f->key.kind) {
	case FACT_NAME:
		value.text = span_of(s->name);
		present = s->name != NULL;
		break;
	case FACT_IDENT:
		value.text = span_of(s->ident);
		present = s->ident != NULL;
		break;
	case FACT_NS_CLIENT:
	case FACT_NS_DOMAIN:
		value.addrs = ns_addrs;
		value.addr_count = 2;
		value.names = ns_names;
		value.name_count = 2;
		value.exact = span_starts_nocase(f->key.subject, SPAN_LIT("foo"));
		present = !span_starts_nocase(f->key.subject, SPAN_LIT("none"));
		break;
	case FACT_RHS:
	case FACT_RBL:
		value.addr_count = 1;
		value.addrs = &answers[0];
		if (span_starts_nocase(f->key.zone, SPAN_LIT("error")))
			value.addrs = &answers[1];
		if (span_starts_nocase(f->key.zone, SPAN_LIT("wrong")))
			value.addrs = &answers[2];
		if (span_starts_nocase(f->key.zone, SPAN_LIT("mixed"))) {
			value.addrs = answers;
			value.addr_count = 3;
		}
		present = !span_starts_nocase(f->key.zone, SPAN_LIT("clean"));
		break;
	case FACT_KIND_COUNT: break;
	}
	int err = present ? facts_settle_present(facts, f->id, &value) : facts_settle_absent(facts, f->id, SPAN_NONE);
	assert_int_equal(err, 0);
}

/* 'y' allowed, 'n' not, '?' tempfail.  asked_out: bits of the kinds of facts that were asked for. */
static char judge(const char *text, const struct setting *s, uint32_t *asked_out)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_diags diags = { 0 };
	struct rules_options options;
	struct rules_verdict verdict;
	struct rules_eval eval;
	const struct fact *f;
	struct rules_facts facts = { .client = { .trusted = s->trusted, .iface = SPAN_LIT("eth0"), .helo = span_of(s->helo), .mark = s->mark } };
	rules_options_defaults(&options);
	*asked_out = 0;
	assert_int_equal(addr_parse(span_of(s->ip), &facts.client.addr), 0);
	if (s->dst)
		assert_int_equal(addr_parse(span_of(s->dst), &facts.client.dst), 0);
	assert_int_equal(rules_source_from_text(SPAN_LIT("f"), span_of(text), &source), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("/l"), SPAN_LIT("10.0.0.0/8\nmail.foo.com\nRBL.listed\nbob@foo.com\n")), 0);
	if (rules_compile(source, &options, &diags, &rules))
		fail_msg("%s: %s", text, diags.first ? diags.first->text.ptr : "?");
	rules_source_release(&source);
	rules_eval_start(&eval, rules, &facts, span_of(s->from), span_of(s->to), NULL);
	rules_release(&rules); /* the evaluation holds it */
	while (rules_eval_run(&eval, &verdict) == STEP_WAIT)
		while ((f = facts_next_unasked(&facts, 0)) != NULL) {
			*asked_out |= 1u << f->key.kind;
			settle(s, &facts, f);
		}
	rules_eval_end(&eval);
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_diags_free(&diags);
	return verdict.kind == VERDICT_ALLOW ? 'y' : verdict.kind == VERDICT_TEMPFAIL ? '?' : 'n';
}

struct pattern_case {
	char expected;
	const char *source, *from, *to;
	struct setting change; /* members that are set replace the usual ones */
};

static const struct pattern_case cases[] = {
	{ 'y', "ALL", "ALL", "ALL", { 0 } },
	{ 'y', "KNOWN", "ALL", "ALL", { 0 } },
	{ 'n', "UNKNOWN", "ALL", "ALL", { 0 } },
	{ 'y', "UNKNOWN", "ALL", "ALL", { .name = "" } },
	{ '?', "KNOWN", "ALL", "ALL", { .failed = 1u << FACT_NAME } },
	{ 'n', "TRUSTED", "ALL", "ALL", { 0 } },
	{ 'y', "TRUSTED", "ALL", "ALL", { .trusted = true } },
	{ 'y', "UNTRUSTED", "ALL", "ALL", { 0 } },
	{ 'n', "all", "ALL", "ALL", { 0 } },
	{ 'y', "192.168.20.7", "ALL", "ALL", { 0 } },
	{ 'n', "192.168.20.8", "ALL", "ALL", { 0 } },
	{ 'y', "192.168.20.99/24", "ALL", "ALL", { 0 } },
	{ 'y', "208.144.211.131/25", "ALL", "ALL", { .ip = "208.144.211.250" } },
	{ 'n', "208.144.211.131/25", "ALL", "ALL", { .ip = "208.144.211.127" } },
	{ 'y', "0/0", "ALL", "ALL", { 0 } },
	{ 'n', "0/0", "ALL", "ALL", { .ip = "2001:db8::1" } },
	{ 'y', "192.168/16", "ALL", "ALL", { 0 } },
	{ 'y', "192.168.20.*", "ALL", "ALL", { 0 } },
	{ 'y', "*.7", "ALL", "ALL", { 0 } },
	{ 'n', "192.168.2.*", "ALL", "ALL", { 0 } },
	{ 'n', "192.168", "ALL", "ALL", { 0 } },
	{ 'y', "192.168.0.0/16", "ALL", "ALL", { .ip = "::ffff:192.168.20.7" } },
	{ 'y', "[::ffff:192.168.0.0]/112", "ALL", "ALL", { 0 } },
	{ 'y', "[2001:db8::1]", "ALL", "ALL", { .ip = "2001:db8:0:0:0:0:0:1" } },
	{ 'y', "[2001:db8::ffff]/32", "ALL", "ALL", { .ip = "2001:db8:1::2" } },
	{ 'n', "[2001:db8::]/32", "ALL", "ALL", { .ip = "2001:db9::2" } },
	{ 'y', "[2001:DB8:*]", "ALL", "ALL", { .ip = "2001:db8::5" } },
	{ 'y', "*.foo.com", "ALL", "ALL", { 0 } },
	{ 'y', "*FOO.com", "ALL", "ALL", { 0 } },
	{ 'y', "mail.foo.com", "ALL", "ALL", { 0 } },
	{ 'n', "mail.foo.com", "ALL", "ALL", { .name = "xmail.foo.com" } },
	{ 'n', "*.foo.com", "ALL", "ALL", { .name = "" } },
	{ '?', "*.foo.com", "ALL", "ALL", { .failed = 1u << FACT_NAME } },
	{ 'y', "*.foo.com 192.168.20.7", "ALL", "ALL", { .failed = 1u << FACT_NAME } },
	{ 'n', "*.foo.com", "nobody", "ALL", { .failed = 1u << FACT_NAME } },
	/* A name that looks like an address is no name. */
	{ 'n', "10.1.2.*", "ALL", "ALL", { .name = "10.1.2.3" } },
	{ 'n', "KNOWN *5* /1/", "ALL", "ALL", { .name = "10.1.2.3" } },
	{ 'y', "/^mail[.]foo/", "ALL", "ALL", { 0 } },
	{ 'n', "/^foo/", "ALL", "ALL", { 0 } },
	{ 'n', "/ma\\x69l\\/|x,y z/", "ALL", "ALL", { 0 } },
	{ 'y', "/ma\\x69l\\x2e/", "ALL", "ALL", { 0 } },
	{ 'n', "/mail\\x2efooXcom/", "ALL", "ALL", { 0 } },
	{ 'y', "bob@192.168.0.0/16", "ALL", "ALL", { 0 } },
	{ 'y', "B*@*.foo.com", "ALL", "ALL", { 0 } },
	{ 'n', "eve@ALL", "ALL", "ALL", { 0 } },
	{ 'y', "/^b.b$/@ALL", "ALL", "ALL", { 0 } },
	{ 'y', "KNOWN@ALL", "ALL", "ALL", { 0 } },
	{ 'n', "KNOWN@ALL", "ALL", "ALL", { .ident = "" } },
	{ 'y', "UNKNOWN@ALL", "ALL", "ALL", { .ident = "" } },
	{ 'y', "ALL@*.foo.com", "ALL", "ALL", { .ident = "" } },
	{ '?', "bob@*.foo.com", "ALL", "ALL", { .failed = 1u << FACT_IDENT } },
	{ 'n', "bob@10.0.0.0/8", "ALL", "ALL", { .failed = 1u << FACT_IDENT } },
	{ 'y', "NS=198.51.100.0/24", "ALL", "ALL", { 0 } },
	{ 'y', "NS=[2001:db8::]/32", "ALL", "ALL", { 0 } },
	{ 'y', "NS=198.51.*", "ALL", "ALL", { 0 } },
	{ 'y', "NS=*.isp.net", "ALL", "ALL", { 0 } },
	{ 'y', "NS=/^mx/", "ALL", "ALL", { 0 } },
	{ 'n', "NS=*.other.net", "ALL", "ALL", { 0 } },
	{ 'y', "NS=RBL.listed", "ALL", "ALL", { 0 } },
	{ 'n', "NS=RBL.clean", "ALL", "ALL", { 0 } },
	{ '?', "NS=*.isp.net", "ALL", "ALL", { .failed = 1u << FACT_NS_CLIENT } },
	{ 'y', "RBL.listed", "ALL", "ALL", { 0 } },
	{ 'n', "RBL.clean", "ALL", "ALL", { 0 } },
	{ 'y', "RBL.listed=127.0.0.2", "ALL", "ALL", { 0 } },
	{ 'y', "RBL.listed=127.0.0.2-127.0.0.11", "ALL", "ALL", { 0 } },
	{ 'n', "RBL.listed=127.0.0.3-127.0.0.11", "ALL", "ALL", { 0 } },
	{ '?', "RBL.error", "ALL", "ALL", { 0 } },
	{ '?', "RBL.wrong", "ALL", "ALL", { 0 } },
	{ 'y', "RBL.mixed", "ALL", "ALL", { 0 } },
	{ '?', "RBL.mixed=127.0.0.9", "ALL", "ALL", { 0 } },
	{ '?', "RBL.listed", "ALL", "ALL", { .failed = 1u << FACT_RBL } },
	{ 'y', "RBL.error RBL.listed", "ALL", "ALL", { 0 } },
	{ 'y', "IF=eth0", "ALL", "ALL", { 0 } },
	{ 'y', "IF=eth*", "ALL", "ALL", { 0 } },
	{ 'n', "IF=eth1", "ALL", "ALL", { 0 } },
	{ 'y', "DST=203.0.113.0/24", "ALL", "ALL", { 0 } },
	{ 'n', "DST=203.0.113.6", "ALL", "ALL", { 0 } },
	{ 'y', "DST=[2001:db8::]/32", "ALL", "ALL", { .dst = "2001:db8::9" } },
	{ 'y', "MARK=0", "ALL", "ALL", { 0 } },
	{ 'y', "MARK=16", "ALL", "ALL", { .mark = 0x10 } },
	{ 'n', "MARK=16", "ALL", "ALL", { .mark = 0x11 } },
	{ 'y', "MARK=0x10/0xF0", "ALL", "ALL", { .mark = 0x11 } },
	{ 'n', "ALL EXCEPT MARK=0/1", "ALL", "ALL", { .mark = 0x10 } },
	{ 'y', "HELO=*.local", "ALL", "ALL", { 0 } },
	{ 'y', "HELO=/^LAPTOP/", "ALL", "ALL", { 0 } },
	{ 'n', "HELO=*.net", "ALL", "ALL", { 0 } },
	{ 'y', "FILE=/l", "ALL", "ALL", { 0 } },
	{ 'y', "FILE=/l", "ALL", "ALL", { .name = "", .ip = "10.9.9.9", .failed = 1u << FACT_RBL } },
	{ '?', "FILE=/l", "ALL", "ALL", { .name = "", .failed = 1u << FACT_RBL } },
	{ 'y', "ALL", "FILE=/l", "ALL", { 0 } },

	{ 'y', "ALL", "<>", "ALL", { .from = "<>" } },
	{ 'y', "ALL", "<>", "ALL", { .from = "" } },
	{ 'n', "ALL", "<>", "ALL", { 0 } },
	{ 'n', "ALL", "*@*", "ALL", { .from = "<>" } },
	{ 'y', "ALL", "ALL", "ALL", { .from = "<>" } },
	{ 'y', "ALL", "bob@foo.com", "ALL", { .from = "<BOB@Foo.Com>" } },
	{ 'y', "ALL", "ALL@foo.com", "ALL", { 0 } },
	{ 'y', "ALL", "bob@ALL", "ALL", { 0 } },
	{ 'n', "ALL", "ALL@ALL", "ALL", { .from = "postmaster" } },
	{ 'y', "ALL", "postmaster", "ALL", { .from = "postmaster" } },
	{ 'n', "ALL", "foo.com", "ALL", { 0 } },
	{ 'y', "ALL", "*foo.com", "ALL", { 0 } },
	{ 'y', "ALL", "*%*@*", "ALL", { .from = "a%b@c" } },
	{ 'y', "ALL", "*@relay", "ALL", { .from = "user@real@relay" } },
	{ 'n', "ALL", "*@real*", "ALL", { .from = "user@real@relay" } },
	{ 'y', "ALL", "/^bob$/@foo.com", "ALL", { 0 } },
	{ 'y', "ALL", "*@/^foo[.]/", "ALL", { 0 } },
	{ 'y', "ALL", "/^bob@foo/", "ALL", { 0 } },
	{ 'n', "ALL", "/^eve@foo/", "ALL", { 0 } },
	{ 'y', "ALL", "USER@foo.com", "ALL", { 0 } },
	{ 'n', "ALL", "USER@foo.com", "ALL", { .ident = "eve" } },
	{ 'n', "ALL", "USER@foo.com", "ALL", { .ident = "" } },
	{ '?', "ALL", "USER@foo.com", "ALL", { .failed = 1u << FACT_IDENT } },
	{ 'n', "ALL", "USER@bar.com", "ALL", { .failed = 1u << FACT_IDENT } },
	{ 'y', "ALL", "ALL", "USER@ALL", { .to = "user@ours.org" } },
	{ 'y', "ALL", "NS=*.isp.net", "ALL", { 0 } },
	{ 'y', "ALL", "bob@NS=198.51.100.1", "ALL", { 0 } },
	{ 'n', "ALL", "eve@NS=198.51.100.1", "ALL", { 0 } },
	{ 'y', "ALL", "NS=KNOWN", "ALL", { 0 } },
	{ 'y', "ALL", "NS=UNKNOWN", "ALL", { .from = "a@bar.com" } },
	{ 'y', "ALL", "NS=UNKNOWN", "ALL", { .from = "a@none.com" } },
	{ 'n', "ALL", "NS=*", "ALL", { .from = "<>" } },
	{ 'n', "ALL", "NS=*", "ALL", { .from = "a@[192.0.2.1]" } },
	{ 'y', "ALL", "RHS.listed", "ALL", { 0 } },
	{ 'n', "ALL", "RHS.clean", "ALL", { 0 } },
	{ 'n', "ALL", "RHS.listed", "ALL", { .from = "<>" } },
	{ '?', "ALL", "RHS.listed", "ALL", { .failed = 1u << FACT_RHS } },
	{ 'y', "ALL", "ALL", "alice@ours.org", { 0 } },
	{ 'n', "ALL", "ALL", "bob@*, eve@*\teve", { 0 } },
	{ 'y', "ALL", "ALL", "NS=KNOWN", { .to = "a@foo.org" } },

	{ 'n', "ALL EXCEPT 192.168.0.0/16", "ALL", "ALL", { 0 } },
	{ 'y', "ALL EXCEPT 192.168.0.0/16 Except *.7", "ALL", "ALL", { 0 } },
	{ 'n', "ALL except 192.168.0.0/16 Except *.7 except ALL", "ALL", "ALL", { 0 } },
	{ '?', "ALL EXCEPT *.foo.com", "ALL", "ALL", { .failed = 1u << FACT_NAME } },
	{ 'n', "ALL EXCEPT *.foo.com 192.168.20.7", "ALL", "ALL", { .failed = 1u << FACT_NAME } },
	{ 'n', "10.0.0.0/8 EXCEPT *.foo.com", "ALL", "ALL", { .failed = 1u << FACT_NAME } },
};

static struct setting changed(const struct setting *change)
{
	struct setting s = usual;
	const char *const *from = &change->ip;
	const char **to = &s.ip;
	for (size_t i = 0; i < 7; i++)
		if (from[i])
			to[i] = from[i];
	s.mark = change->mark;
	s.trusted = change->trusted;
	s.failed = change->failed;
	/* "" means none. */
	if (!s.name[0])
		s.name = NULL;
	if (!s.ident[0])
		s.ident = NULL;
	return s;
}

static void test_patterns(void **state)
{
	char text[512];
	uint32_t asked;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct pattern_case *c = &cases[i];
		struct setting s = changed(&c->change);
		(void)snprintf(text, sizeof text, "allow:%s:%s:%s\n", c->source, c->from, c->to);
		char got = judge(text, &s, &asked);
		if (got != c->expected)
			fail_msg("%s for %s from %s: got %c, expected %c", text, s.ip, s.from, got, c->expected);
	}
}

static void test_asks_no_more_than_needed(void **state)
{
	struct setting s = usual;
	uint32_t asked;
	(void)state;
	/* The first rule is not about this recipient, the second decided by the address: nothing is asked. */
	assert_int_equal(judge("deny:RBL.listed bob@ALL:RHS.listed:*@other.org\nallow:192.168.20.7 *.foo.com RBL.listed:ALL:ALL\n", &s, &asked),
			 'y');
	assert_int_equal(asked, 0);
	/* Ident only when the host fits. */
	assert_int_equal(judge("allow:bob@*.bar.com:ALL:ALL\nallow:ALL:ALL:ALL\n", &s, &asked), 'y');
	assert_int_equal(asked, 1u << FACT_NAME);
	s.ip = "10.1.1.1";
	assert_int_equal(judge("allow:bob@10.0.0.0/8:ALL:ALL\n", &s, &asked), 'y');
	assert_int_equal(asked, 1u << FACT_IDENT);
}

static void test_unknown_destination(void **state)
{
	struct setting s = usual;
	uint32_t asked;
	(void)state;
	s.dst = NULL;
	assert_int_equal(judge("allow:DST=10.0.0.0/8:ALL:ALL\n", &s, &asked), '?');
	assert_int_equal(judge("allow:DST=10.0.0.0/8:nobody:ALL\nallow:ALL:ALL:ALL\n", &s, &asked), 'y');
}

static void test_table_is_in_order(void **state)
{
	(void)state;
	assert_ptr_equal(pattern_matcher(PATTERN_ALL), match_all);
	assert_ptr_equal(pattern_matcher(PATTERN_FILE), match_file);
	assert_ptr_equal(pattern_matcher(PATTERN_RHS), match_rhs);
	assert_ptr_equal(pattern_matcher(PATTERN_IDENT), match_ident);
	assert_ptr_equal(pattern_matcher(PATTERN_MAILBOX), match_mailbox);
	assert_ptr_equal(pattern_matcher(PATTERN_CIDR), match_client_addr);
	assert_ptr_equal(pattern_matcher(PATTERN_ADDRESS_GLOB), match_address);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_asks_no_more_than_needed),
		cmocka_unit_test(test_unknown_destination),
		cmocka_unit_test(test_table_is_in_order),
	};
	return cmocka_run_group_tests_name("rules_match", tests, NULL, NULL);
}
