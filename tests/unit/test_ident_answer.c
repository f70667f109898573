/* test_ident_answer - RFC 1413 answers, and which servers to ask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ident.h"
#include "name_servers.h"

static const char *user_of(const char *line, size_t len)
{
	static char text[IDENT_USER_CAP + 1];
	struct span user;
	/* A block of exactly that size, for the sanitizer. */
	char *copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, line, len);
	enum ident_result result = ident_answer_parse((struct span){ copy, len }, 6193, 25, &user);
	if (result == IDENT_USER)
		assert_int_equal(span_to_cstr(user, text, sizeof text), 0);
	free(copy);
	return result == IDENT_USER ? text : NULL;
}

static void test_answers(void **state)
{
	static const struct {
		const char *line, *user;
	} cases[] = {
		{ "6193, 25 : USERID : UNIX : stjohns", "stjohns" },
		{ "6193,25:USERID:UNIX:stjohns", "stjohns" },
		{ "6193 , 25 : userid : OTHER, US-ASCII : a:b c", "a:b c" },
		{ "6193, 25 : ERROR : NO-USER", NULL },
		{ "6193, 25 : ERROR : X : stjohns", NULL },
		{ "6193, 26 : USERID : UNIX : stjohns", NULL },
		{ "6194, 25 : USERID : UNIX : stjohns", NULL },
		{ "6193 25 : USERID : UNIX : stjohns", NULL },
		{ "6193, 25, 1 : USERID : UNIX : stjohns", NULL },
		{ "6193, 25 : USERID : UNIX :", NULL },
		{ "6193, 25 : USERID : UNIX : a\x01" "b", NULL },
		{ "6193, 25 : USERID : UNIX : a\xff", NULL },
		{ "99999999999999999999, 25 : USERID : UNIX : a", NULL },
		{ "", NULL },
		{ ":::", NULL },
		{ ",:::", NULL },
	};
	char longest[512] = "6193, 25 : USERID : UNIX : ";
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		const char *user = user_of(cases[i].line, strlen(cases[i].line));
		if (cases[i].user)
			assert_string_equal(user, cases[i].user);
		else
			assert_null(user);
	}
	memset(longest + strlen(longest), 'x', IDENT_USER_CAP + 1);
	assert_null(user_of(longest, strlen(longest)));
	assert_non_null(user_of(longest, strlen(longest) - 1));
}

static void test_cut_everywhere(void **state)
{
	static const char line[] = "6193, 25 : USERID : UNIX : stjohns";
	(void)state;
	for (size_t len = 0; len < sizeof line - 1; len++)
		if (len <= 27)
			assert_null(user_of(line, len));
		else
			assert_int_equal(strlen(user_of(line, len)), len - 27);
}

static void test_servers(void **state)
{
	struct name_servers servers;
	struct reason why;
	char text[ENDPOINT_TEXT_CAP];
	(void)state;
	assert_int_equal(name_servers_parse(SPAN_LIT(" 192.0.2.53, [2001:db8::53]:5353\t2001:db8::54 [2001:db8::55] "), &servers, &why), 0);
	assert_int_equal(servers.count, 4);
	assert_string_equal(endpoint_format(&servers.list[0], text), "192.0.2.53:53");
	assert_string_equal(endpoint_format(&servers.list[1], text), "[2001:db8::53]:5353");
	assert_string_equal(endpoint_format(&servers.list[3], text), "[2001:db8::55]:53");
	assert_int_equal(name_servers_parse(SPAN_LIT("none"), &servers, &why), 0);
	assert_int_equal(servers.count, 0);
	assert_int_equal(name_servers_parse(SPAN_LIT(" "), &servers, &why), ERR_SYNTAX);
	assert_int_equal(name_servers_parse(SPAN_LIT("dns.example"), &servers, &why), ERR_SYNTAX);
	assert_int_equal(name_servers_parse(SPAN_LIT("1.1.1.1:0"), &servers, &why), ERR_SYNTAX);
	assert_int_equal(name_servers_parse(SPAN_LIT("1.1.1.1 1.1.1.2 1.1.1.3 1.1.1.4 1.1.1.5 1.1.1.6 1.1.1.7 1.1.1.8 1.1.1.9"), &servers, &why), ERR_TOOLONG);
}

static void test_resolv_conf(void **state)
{
	struct name_servers servers;
	(void)state;
	name_servers_from_resolv_conf(SPAN_LIT("# nameserver 1.1.1.1\nsearch x\n nameserver\t192.0.2.53\nnameserver fe80::1%eth0\nnameserver\nnameserver 2001:db8::53 # x\n"), &servers);
	assert_int_equal(servers.count, 2);
	assert_int_equal(servers.list[1].addr.family, ADDR_V6);
	name_servers_from_resolv_conf(SPAN_LIT(""), &servers);
	assert_int_equal(servers.count, 1);
	assert_true(addr_is_loopback(&servers.list[0].addr));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_answers), cmocka_unit_test(test_cut_everywhere), cmocka_unit_test(test_servers),
					    cmocka_unit_test(test_resolv_conf) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
