/* Verbs and the arguments of HELO. */
#include "smtp_command.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "smtp_domain.h"

static void check(struct span line, enum smtp_verb verb, const char *args, bool is_foreign)
{
	struct smtp_command command;
	smtp_command_parse(line, &command);
	assert_int_equal(command.verb, verb);
	assert_true(span_eq(command.args, span_of(args)));
	assert_int_equal(command.is_foreign, is_foreign);
}

static void test_verbs(void **unused)
{
	(void)unused;
	check(SPAN_LIT("NOOP"), SMTP_NOOP, "", false);
	check(SPAN_LIT("quit \t "), SMTP_QUIT, "", false);
	check(SPAN_LIT("Mail From:<a@b>  "), SMTP_MAIL, "From:<a@b>", false);
	check(SPAN_LIT("ehlo\t x"), SMTP_EHLO, "x", false);
	check(SPAN_LIT(""), SMTP_UNKNOWN, "", false);
	check(SPAN_LIT(" NOOP"), SMTP_UNKNOWN, "NOOP", false);
	check(SPAN_LIT("NOOPS"), SMTP_UNKNOWN, "", false);
	check(SPAN_LIT("MAILFROM:<a>"), SMTP_UNKNOWN, "", false);
	check(SPAN_LIT("UNKNOWN"), SMTP_UNKNOWN, "", false);
	check(SPAN_LIT("GET / HTTP/1.0"), SMTP_UNKNOWN, "/ HTTP/1.0", true);
	check(SPAN_LIT("CONNECT x:25"), SMTP_UNKNOWN, "x:25", true);
}

static void test_every_name(void **unused)
{
	(void)unused;
	for (unsigned verb = SMTP_UNKNOWN + 1; verb < SMTP_VERB_COUNT; verb++)
		check(span_of(smtp_verb_name((enum smtp_verb)verb)), (enum smtp_verb)verb, "", false);
	assert_string_equal(smtp_verb_name(SMTP_VERB_COUNT), "UNKNOWN");
}

static void check_helo(struct span args, enum smtp_helo_kind kind, const char *name)
{
	struct smtp_helo helo;
	smtp_helo_parse(args, &helo);
	assert_int_equal(helo.kind, kind);
	assert_true(span_eq(helo.name, span_of(name)));
	assert_int_equal(helo.literal.family != ADDR_NONE, kind == SMTP_HELO_LITERAL);
}

static void test_helo(void **unused)
{
	(void)unused;
	check_helo(SPAN_LIT(""), SMTP_HELO_EMPTY, "");
	check_helo(SPAN_LIT("  "), SMTP_HELO_EMPTY, "");
	check_helo(SPAN_LIT(" mx.example.org "), SMTP_HELO_DOMAIN, "mx.example.org");
	check_helo(SPAN_LIT("my_pc"), SMTP_HELO_DOMAIN, "my_pc");
	check_helo(SPAN_LIT("[192.0.2.1]"), SMTP_HELO_LITERAL, "[192.0.2.1]");
	check_helo(SPAN_LIT("[IPv6:2001:db8::1]"), SMTP_HELO_LITERAL, "[IPv6:2001:db8::1]");
	check_helo(SPAN_LIT("[ipv6:::ffff:192.0.2.1]"), SMTP_HELO_LITERAL, "[ipv6:::ffff:192.0.2.1]");
	check_helo(SPAN_LIT("[2001:db8::1]"), SMTP_HELO_ODD, "[2001:db8::1]");
	check_helo(SPAN_LIT("[IPv6:192.0.2.1]"), SMTP_HELO_ODD, "[IPv6:192.0.2.1]");
	check_helo(SPAN_LIT("[192.0.2.256]"), SMTP_HELO_ODD, "[192.0.2.256]");
	check_helo(SPAN_LIT("two words"), SMTP_HELO_ODD, "two");
	check_helo(SPAN_LIT("-x.example"), SMTP_HELO_ODD, "-x.example");
	check_helo(SPAN_LIT("\xff"), SMTP_HELO_ODD, "\xff");
}

static void test_domain(void **unused)
{
	(void)unused;
	char label[64], name[256];
	memset(label, 'a', sizeof label);
	assert_true(smtp_domain_is_valid((struct span){ label, 63 }, true));
	assert_false(smtp_domain_is_valid((struct span){ label, 64 }, true));
	for (size_t i = 0; i < sizeof name; i++)
		name[i] = i % 2 ? '.' : 'a';
	assert_true(smtp_domain_is_valid((struct span){ name, 255 }, true));
	name[255] = 'a';
	assert_false(smtp_domain_is_valid((struct span){ name, 256 }, true));
	assert_false(smtp_domain_is_valid(SPAN_LIT("a..b"), false));
	assert_false(smtp_domain_is_valid(SPAN_LIT("a."), false));
	assert_false(smtp_domain_is_valid(SPAN_LIT(".a"), false));
	assert_false(smtp_domain_is_valid(SPAN_LIT("a-"), false));
	assert_false(smtp_domain_is_valid(SPAN_LIT("a\0b"), false));
	assert_true(smtp_domain_is_valid(SPAN_LIT("a_b"), false));
	assert_false(smtp_domain_is_valid(SPAN_LIT("a_b"), true));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_verbs),
		cmocka_unit_test(test_every_name),
		cmocka_unit_test(test_helo),
		cmocka_unit_test(test_domain),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
