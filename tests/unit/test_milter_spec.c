/* The `milter` option: addresses, what is different for each, and what is wrong. */
#include "milter_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct milter_defaults defaults = { MILTER_FAIL_TEMPFAIL, 10, 30, 300 };

static void test_addresses(void **unused)
{
	static const struct {
		const char *text, *host, *path;
		unsigned port;
		enum addr_family family;
	} cases[] = {
		{ "inet:127.0.0.1:11332", "127.0.0.1", "", 11332, ADDR_V4 },  { "inet:mail.example:1", "mail.example", "", 1, ADDR_V4 },
		{ "inet6:mail.example:65535", "mail.example", "", 65535, ADDR_V6 }, { "inet6:[2001:db8::1]:25", "2001:db8::1", "", 25, ADDR_V6 },
		{ "unix:/run/a.sock", "", "/run/a.sock", 0, ADDR_V4 },
	};
	char text[MILTER_ADDRESS_CAP];
	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct milter_specs specs;
		assert_int_equal(milter_specs_parse(span_of(cases[i].text), &defaults, &specs, NULL), 0);
		assert_int_equal(specs.count, 1);
		assert_string_equal(specs.list[0].host, cases[i].host);
		assert_string_equal(specs.list[0].path, cases[i].path);
		assert_int_equal(specs.list[0].port, cases[i].port);
		assert_int_equal(specs.list[0].family, cases[i].family);
		assert_string_equal(specs.list[0].name, cases[i].text);
		assert_string_equal(milter_spec_address(&specs.list[0], text), cases[i].text);
	}
}

static void test_settings(void **unused)
{
	struct milter_specs specs;
	(void)unused;
	assert_int_equal(milter_specs_parse(SPAN_LIT(" inet:h:1  name=a fail=accept connect-timeout=2s command-timeout=3\tcontent-timeout=1m ,unix:/b "),
					    &defaults, &specs, NULL),
			 0);
	assert_int_equal(specs.count, 2);
	assert_string_equal(specs.list[0].name, "a");
	assert_int_equal(specs.list[0].fail, MILTER_FAIL_ACCEPT);
	assert_int_equal(specs.list[0].connect_s, 2);
	assert_int_equal(specs.list[0].command_s, 3);
	assert_int_equal(specs.list[0].content_s, 60);
	assert_int_equal(specs.list[1].fail, MILTER_FAIL_TEMPFAIL);
	assert_int_equal(specs.list[1].content_s, 300);
	assert_true(milter_spec_address_hash(&specs.list[0]) != milter_spec_address_hash(&specs.list[1]));
	assert_int_equal(milter_specs_parse(SPAN_LIT("  "), &defaults, &specs, NULL), 0);
	assert_int_equal(specs.count, 0);
}

static void test_errors(void **unused)
{
	static const struct {
		const char *text, *why;
	} cases[] = {
		{ "inet:127.0.0.1", "inet:HOST:PORT" },		{ "inet:127.0.0.1:0", "inet:HOST:PORT" },
		{ "inet:127.0.0.1:65536", "inet:HOST:PORT" },	{ "inet:2001:db8::1:25", "inet:HOST:PORT" },
		{ "inet:[127.0.0.1]:25", "inet:HOST:PORT" },	{ "inet:[::1:25", "inet:HOST:PORT" },
		{ "inet::25", "inet:HOST:PORT" },		{ "inet:a..b:25", "inet:HOST:PORT" },
		{ "unix:relative", "unix:/path" },		{ "unix:/", "unix:/path" },
		{ "tcp:a:1", "unix:/path" },			{ "unix:/a,", "unix:/path" },
		{ ",unix:/a", "unix:/path" },			{ "unix:/a fail=no", "fail=tempfail" },
		{ "unix:/a name=", "name=WORD" },		{ "unix:/a connect-timeout=0", "connect-timeout=" },
		{ "unix:/a command-timeout=2h", "3600 seconds" }, { "unix:/a colour=red", "name=WORD" },
		{ "unix:/a,unix:/a", "two filters" },		{ "unix:/a name=x,unix:/b name=x", "two filters" },
		{ "unix:/1,unix:/2,unix:/3,unix:/4,unix:/5,unix:/6,unix:/7,unix:/8,unix:/9", "more than 8" },
	};
	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct milter_specs specs;
		struct reason why = { "" };
		assert_int_not_equal(milter_specs_parse(span_of(cases[i].text), &defaults, &specs, &why), 0);
		assert_non_null(strstr(why.text, cases[i].why));
	}
}

static void test_long_texts(void **unused)
{
	char text[600];
	(void)unused;
	for (size_t len = 1; len < sizeof text - 8; len++) {
		struct milter_specs specs;
		struct reason why;
		memset(text, 'a', sizeof text);
		memcpy(text, "unix:/", 6);
		int err = milter_specs_parse((struct span){ text, 6 + len }, &defaults, &specs, &why);
		assert_int_equal(err == 0, len + 1 < sizeof specs.list[0].path);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses), cmocka_unit_test(test_settings), cmocka_unit_test(test_errors), cmocka_unit_test(test_long_texts),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
