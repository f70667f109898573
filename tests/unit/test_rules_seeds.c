/* The rule files that stand in the documents postern started from, and what these say that they do: the article about Obtuse smtpd
 * (Linux Journal, December 1998) and the page of Spammer Deterrent 1.3.  Where a page has lost the addresses in its markup they are put
 * back as its text tells them; lines that it only wraps are joined. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "rules_world.h"

struct expected {
	const char *client, *name; /* NULL: no name */
	const char *from, *to;
	enum verdict_kind kind;
	unsigned line, needs;
	uint64_t delay_s;
	const char *reply; /* NULL: not looked at */
};

static void check(const char *text, enum world_answer listed, const struct expected *cases, size_t count)
{
	struct rules_options options;
	rules_options_defaults(&options);
	struct rules *rules = world_compile(text, NULL, &options);
	for (size_t i = 0; i < count; i++) {
		const struct expected *e = &cases[i];
		struct rules_verdict v;
		struct rules_client client = { .trusted = false };
		struct world world = { .name = e->name ? WORLD_PRESENT : WORLD_ABSENT, .name_text = e->name, .ident_text = "" };
		for (int k = 0; k < 8; k++)
			world.listed[k] = listed;
		assert_int_equal(addr_parse(span_of(e->client), &client.addr), 0);
		world_judge(&world, rules, &client, e->from, e->to, &v);
		if (v.kind != e->kind || v.rule_line != e->line || v.needs != e->needs || v.delay_s != e->delay_s)
			fail_msg("%s (%s) from <%s> to <%s>: %s by line %u, needs %u, delay %llu", e->client, e->name ? e->name : "", e->from, e->to,
				 verdict_kind_name(v.kind), v.rule_line, v.needs, (unsigned long long)v.delay_s);
		if (e->reply)
			assert_string_equal(v.reply, e->reply);
		assert_int_equal(v.close_session, e->kind == VERDICT_DENY);
	}
	rules_release(&rules);
}

#define CHECK(text, listed, cases) check(text, listed, cases, sizeof(cases) / sizeof(cases)[0])

/* "The internal network is 10.0.0.0 and a mail hub is at 10.0.0.9."  Lines are joined as they stand, without a space. */
#define LISTING_1(last)                                                                                     \
	"# Allow from 10.0.0.0 only if they are from\n"                                                     \
	"# *foo.bar.com to send to all...\n"                                                                \
	"allow:10.0.0.0/8:*foo.bar.com:ALL\n"                                                               \
	"# alternatively, can be written as\n"                                                              \
	"# allow:*foo.bar.com:ALL\n"                                                                        \
	"# Allow relays from the mail hub (10.0.0.9) to\n"                                                  \
	"# domains that we host mail for\n"                                                                 \
	"allow:10.0.0.9:ALL:*foo.bar.com *@hosted.net\n"                                                    \
	"# Prevent from 10.0.0.0 if they use other than\n"                                                  \
	"# *foo.bar.com to prevent cases when internal users\n"                                             \
	"# used forged domain name to send out.\n"                                                          \
	"deny:10.0.0.0/8:ALL EXCEPT *foo.bar.com:ALL:551 Forging of e-mail\\\n"                             \
	"Denied - %F from %H(%I) to %T\n"                                                                   \
	"# Prevent these sites from sending to us\n"                                                        \
	"deny:ALL:*@spam.r.us *@spammer.com:ALL\n"                                                          \
	"# Allow incoming mail to our domains\n"                                                            \
	"allow:ALL:ALL:*foo.bar.com *@hosted.net\n"                                                         \
	"# Prevent relaying through our server ...\n" last

#define LISTING_1_END                                              \
	"noto:ALL:ALL:ALL:551 Relaying Denied - %F from\\\n"       \
	"%H(%I) to %T \n"                                          \
	"# Just to add some delays to the relayers...\n"           \
	"#noto_delay:ALL:ALL:ALL:551 Relaying Denied - %F\\\n"     \
	"from %H(%I) to %T\n"

static void test_article(void **state)
{
	static const struct expected cases[] = {
		{ "10.0.0.3", NULL, "me@foo.bar.com", "you@elsewhere.net", VERDICT_ALLOW, 3, 0, 0, NULL },
		{ "10.0.0.3", NULL, "me@sub.foo.bar.com", "you@elsewhere.net", VERDICT_ALLOW, 3, 0, 0, NULL },
		{ "10.0.0.9", NULL, "somebody@elsewhere.net", "me@foo.bar.com", VERDICT_ALLOW, 8, 0, 0, NULL },
		{ "10.0.0.3", "pc3.foo.bar.com", "forged@elsewhere.net", "you@other.net", VERDICT_DENY, 12, 0, 0,
		  "551 5.7.1 Forging of e-mailDenied - forged@elsewhere.net from pc3.foo.bar.com(10.0.0.3) to you@other.net" },
		{ "10.0.0.9", NULL, "forged@elsewhere.net", "you@other.net", VERDICT_DENY, 12, 0, 0, NULL },
		{ "192.0.2.1", NULL, "x@spam.r.us", "me@foo.bar.com", VERDICT_DENY, 15, 0, 0,
		  "550 5.7.1 Mail from x@spam.r.us to me@foo.bar.com prohibited from your location (UNKNOWN@UNKNOWN ip=192.0.2.1)" },
		{ "2001:db8::1", NULL, "x@SPAMMER.com", "me@foo.bar.com", VERDICT_DENY, 15, 0, 0, NULL },
		{ "192.0.2.1", NULL, "you@elsewhere.net", "me@foo.bar.com", VERDICT_ALLOW, 17, 0, 0, NULL },
		{ "2001:db8::1", NULL, "", "x@hosted.net", VERDICT_ALLOW, 17, 0, 0, NULL },
		{ "192.0.2.1", "mail.elsewhere.net", "you@elsewhere.net", "him@other.net", VERDICT_NOTO, 19, 0, 0,
		  "551 5.7.1 Relaying Denied - you@elsewhere.net frommail.elsewhere.net(192.0.2.1) to him@other.net" },
		{ "192.0.2.1", NULL, "me@foo.bar.com", "him@other.net", VERDICT_NOTO, 19, 0, 0, NULL },
	};
	static const struct expected delayed[] = {
		{ "192.0.2.1", NULL, "a@b.net", "c@d.net", VERDICT_NOTO, 19, 0, 60,
		  "551 5.7.1 Relaying Denied - a@b.netfrom UNKNOWN(192.0.2.1) to c@d.net" },
		{ "192.0.2.1", NULL, "a@b.net", "me@foo.bar.com", VERDICT_ALLOW, 17, 0, 0, NULL },
	};
	(void)state;
	CHECK(LISTING_1(LISTING_1_END), WORLD_ABSENT, cases);
	/* "noto_delay will pause for a certain amount of seconds": NOTO_DELAY = 60. */
	CHECK(LISTING_1("noto_delay:ALL:ALL:ALL:551 Relaying Denied - %F\\\n"
			"from %H(%I) to %T\n"),
	      WORLD_ABSENT, delayed);
}

/* The words that the article explains, one rule each. */
static void test_words_of_the_article(void **state)
{
	static const char text[] = "deny:192.168.0.0/24:ALL:net@*\n"
				   "noto:KNOWN:ALL:known@*:550 %H\n"
				   "noto:UNKNOWN:ALL:unknown@*:550 %H\n"
				   "allow:ALL EXCEPT *.evil.net:ALL:except@*\n"
				   "noto:ALL:ALL:values@*:550 %F %T %H %I %U\n"
				   "allow:*foo.bar.com:ALL\n";
	static const struct expected cases[] = {
		{ "192.168.0.200", NULL, "a@b.c", "net@d.e", VERDICT_DENY, 1, 0, 0, NULL },
		{ "192.168.1.1", NULL, "a@b.c", "net@d.e", VERDICT_NOTO, 0, 0, 0, NULL },
		{ "192.0.2.1", "mail.b.c", "a@b.c", "known@d.e", VERDICT_NOTO, 2, 0, 0, "550 5.7.1 mail.b.c" },
		{ "192.0.2.1", NULL, "a@b.c", "unknown@d.e", VERDICT_NOTO, 3, 0, 0, "550 5.7.1 UNKNOWN" },
		{ "192.0.2.1", "mail.b.c", "a@b.c", "unknown@d.e", VERDICT_NOTO, 0, 0, 0, NULL },
		{ "192.0.2.1", "mail.b.c", "a@b.c", "except@d.e", VERDICT_ALLOW, 4, 0, 0, NULL },
		{ "192.0.2.1", "mail.evil.net", "a@b.c", "except@d.e", VERDICT_NOTO, 0, 0, 0, NULL },
		{ "192.0.2.1", "mail.b.c", "a@b.c", "values@d.e", VERDICT_NOTO, 5, 0, 0, "550 5.7.1 a@b.c values@d.e mail.b.c 192.0.2.1 UNKNOWN" },
		/* Three fields: the last list is ALL.  The first is of clients. */
		{ "192.0.2.1", "x.foo.bar.com", "a@b.c", "any@d.e", VERDICT_ALLOW, 6, 0, 0, NULL },
	};
	(void)state;
	CHECK(text, WORLD_ABSENT, cases);
}

static void test_spammer_deterrent_filter(void **state)
{
	static const char text[] = "allow-filter:ALL:ALL:ALL@somedomain.com\n"
				   "allow-filter:127.0.0.1:ALL:ALL\n";
	static const struct expected cases[] = {
		{ "192.0.2.1", NULL, "a@b.c", "x@somedomain.com", VERDICT_ALLOW, 1, NEED_FILTER, 0, NULL },
		{ "2001:db8::1", NULL, "", "X@SomeDomain.com", VERDICT_ALLOW, 1, NEED_FILTER, 0, NULL },
		{ "127.0.0.1", NULL, "a@b.c", "x@other.com", VERDICT_ALLOW, 2, NEED_FILTER, 0, NULL },
		/* Stricter than the original: without a rule, nothing is let in. */
		{ "192.0.2.1", NULL, "a@b.c", "x@other.com", VERDICT_NOTO, 0, 0, 0, NULL },
	};
	(void)state;
	CHECK(text, WORLD_ABSENT, cases);
}

static void test_spammer_deterrent_checker(void **state)
{
	static const char text[] = "allow-extchk|allow-filter:ALL:ALL:ALL@somedomain.com\n"
				   "allow-extchk:ALL:ALL:ALL@nofilter.com\n"
				   "allow:127.0.0.1:ALL:ALL\n";
	static const struct expected cases[] = {
		{ "192.0.2.1", NULL, "a@b.c", "x@somedomain.com", VERDICT_ALLOW, 1, NEED_FILTER | NEED_EXTCHK, 0, NULL },
		{ "192.0.2.1", NULL, "a@b.c", "x@nofilter.com", VERDICT_ALLOW, 2, NEED_EXTCHK, 0, NULL },
		{ "127.0.0.1", NULL, "a@b.c", "x@other.com", VERDICT_ALLOW, 3, 0, 0, NULL },
	};
	(void)state;
	CHECK(text, WORLD_ABSENT, cases);
}

static void test_spammer_deterrent_lists(void **state)
{
	static const char text[] = "noto:ALL:RHS.dsn.rfc-ignorant.org:ALL:550 Mail refused. Your mail system \\\n"
				   "does not accept bounces. This violates RFC 2821. See www.rfc-ignorant.org\n"
				   "allow:ALL:ALL:ALL\n";
	static const struct expected listed[] = {
		{ "192.0.2.1", NULL, "a@b.c", "x@y.z", VERDICT_NOTO, 1, 0, 0,
		  "550 5.7.1 Mail refused. Your mail system does not accept bounces. This violates RFC 2821. See www.rfc-ignorant.org" },
		{ "192.0.2.1", NULL, "", "x@y.z", VERDICT_ALLOW, 3, 0, 0, NULL },
	};
	static const struct expected not_listed[] = { { "192.0.2.1", NULL, "a@b.c", "x@y.z", VERDICT_ALLOW, 3, 0, 0, NULL } };
	static const struct expected not_known[] = { { "192.0.2.1", NULL, "a@b.c", "x@y.z", VERDICT_TEMPFAIL, 1, 0, 0, NULL } };
	(void)state;
	CHECK(text, WORLD_PRESENT, listed);
	CHECK(text, WORLD_ABSENT, not_listed);
	CHECK(text, WORLD_FAILED, not_known);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_article),
		cmocka_unit_test(test_words_of_the_article),
		cmocka_unit_test(test_spammer_deterrent_filter),
		cmocka_unit_test(test_spammer_deterrent_checker),
		cmocka_unit_test(test_spammer_deterrent_lists),
	};
	return cmocka_run_group_tests_name("rules_seeds", tests, NULL, NULL);
}
