/* test_cidr_list - the networks of an option. */
#include "cidr_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static bool has(const struct cidr_list *list, const char *text)
{
	struct addr addr;
	assert_int_equal(addr_parse(span_of(text), &addr), 0);
	return cidr_list_has(list, &addr);
}

static void words(void **state)
{
	struct cidr_list list;
	char text[CIDR_LIST_TEXT_CAP];
	(void)state;
	assert_int_equal(cidr_list_parse(SPAN_LIT(" 192.0.2.1,10.1.2.3/8\t2001:db8::/32 [2001:db9::1] "), &list, NULL), 0);
	assert_string_equal(cidr_list_format(&list, text), "192.0.2.1/32 10.0.0.0/8 2001:db8::/32 2001:db9::1/128");
	assert_true(has(&list, "192.0.2.1") && has(&list, "10.255.0.1") && has(&list, "2001:db8:ffff::1") && has(&list, "2001:db9::1"));
	assert_true(has(&list, "::ffff:10.0.0.1"));
	assert_false(has(&list, "192.0.2.2") || has(&list, "11.0.0.1") || has(&list, "2001:db7::1") || has(&list, "2001:db9::2") || has(&list, "::"));
	assert_int_equal(cidr_list_parse(SPAN_LIT(" \t"), &list, NULL), 0);
	assert_int_equal(list.count, 0);
	assert_string_equal(cidr_list_format(&list, text), "");
	assert_false(has(&list, "192.0.2.1"));
}

static void nonsense(void **state)
{
	static const char *const cases[] = { "x", "1.2.3", "1.2.3.4/", "1.2.3.4/33", "1.2.3.4/-1", "1.2.3.4/8/8", "/8", "::/129", "[::1", "[]", "[]/8", "1.2.3.4 x" };
	struct cidr_list list = { .count = 7 };
	struct reason why;
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(cidr_list_parse(span_of(cases[i]), &list, &why), ERR_SYNTAX);
		assert_non_null(strstr(why.text, "expected an address or a network"));
	}
	assert_int_equal(list.count, 7);
}

static void bounds(void **state)
{
	char many[(CIDR_LIST_MAX + 1) * 44 + 1] = "", text[CIDR_LIST_TEXT_CAP];
	struct cidr_list list;
	(void)state;
	for (size_t i = 0; i < CIDR_LIST_MAX; i++)
		strcat(many, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128 ");
	assert_int_equal(cidr_list_parse(span_of(many), &list, NULL), 0);
	assert_int_equal(strlen(cidr_list_format(&list, text)), CIDR_LIST_MAX * 44 - 1);
	strcat(many, "::1");
	assert_int_equal(cidr_list_parse(span_of(many), &list, NULL), ERR_TOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(words), cmocka_unit_test(nonsense), cmocka_unit_test(bounds) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
