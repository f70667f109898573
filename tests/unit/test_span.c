/* Borrowed bytes. */
#include "span.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

static void test_sub(void **unused)
{
	(void)unused;
	struct span s = SPAN_LIT("abcdef");
	assert_true(span_eq(span_sub(s, 1, 3), SPAN_LIT("bc")));
	assert_true(span_eq(span_sub(s, 4, 99), SPAN_LIT("ef")));
	assert_int_equal(span_sub(s, 5, 2).len, 0);
	assert_int_equal(span_sub(s, 99, 100).len, 0);
	assert_null(span_sub(SPAN_NONE, 0, 1).ptr);
}

static void test_compare(void **unused)
{
	(void)unused;
	assert_true(span_eq(SPAN_NONE, SPAN_LIT("")));
	assert_false(span_eq(SPAN_LIT("a"), SPAN_LIT("A")));
	assert_true(span_eq_nocase(SPAN_LIT("aZ[`"), SPAN_LIT("Az[`")));
	assert_false(span_eq_nocase(SPAN_LIT("\xc4"), SPAN_LIT("\xe4")));
	assert_false(span_eq_nocase(SPAN_LIT("@["), SPAN_LIT("`{")));
	assert_true(span_starts_nocase(SPAN_LIT("FROM:x"), SPAN_LIT("from:")));
	assert_false(span_starts_nocase(SPAN_LIT("FR"), SPAN_LIT("from")));
	assert_true(span_ends_nocase(SPAN_LIT("a.Example"), SPAN_LIT(".eXAMPLE")));
	assert_false(span_ends_nocase(SPAN_LIT("x"), SPAN_LIT("xx")));
	assert_int_equal(span_hash_nocase(SPAN_LIT("Abc")), span_hash_nocase(SPAN_LIT("aBC")));
	assert_int_not_equal(span_hash_nocase(SPAN_LIT("abc")), span_hash_nocase(SPAN_LIT("abd")));
}

static void test_find(void **unused)
{
	(void)unused;
	struct span s = SPAN_LIT("a:b:c");
	assert_int_equal(span_find(s, ':', 0), 1);
	assert_int_equal(span_find(s, ':', 2), 3);
	assert_int_equal(span_find(s, ':', 4), 5);
	assert_int_equal(span_find(s, ':', 99), 5);
	assert_int_equal(span_rfind(s, ':'), 3);
	assert_int_equal(span_rfind(s, 'x'), 5);
	assert_int_equal(span_find(SPAN_NONE, 'x', 0), 0);
	assert_true(span_eq(span_trim(SPAN_LIT(" \t\r\na b\n ")), SPAN_LIT("a b")));
	assert_int_equal(span_trim(SPAN_LIT(" \r\n")).len, 0);
}

static void test_cut(void **unused)
{
	(void)unused;
	struct span rest = SPAN_LIT("a,,b,"), part;
	static const char *const parts[] = { "a", "", "b", "" };
	for (size_t i = 0; i < 4; i++) {
		assert_true(span_cut(&rest, ',', &part));
		assert_true(span_eq(part, span_of(parts[i])));
	}
	assert_false(span_cut(&rest, ',', &part));
	rest = SPAN_LIT("");
	assert_true(span_cut(&rest, ',', &part));
	assert_false(span_cut(&rest, ',', &part));
}

static void test_number(void **unused)
{
	(void)unused;
	uint64_t n = 7;
	assert_int_equal(span_to_u64(SPAN_LIT(""), 9, &n), ERR_SYNTAX);
	assert_int_equal(span_to_u64(SPAN_LIT("+1"), 9, &n), ERR_SYNTAX);
	assert_int_equal(span_to_u64(SPAN_LIT("1 "), 9, &n), ERR_SYNTAX);
	assert_int_equal(span_to_u64(SPAN_LIT("10"), 9, &n), ERR_TOOLONG);
	assert_int_equal(span_to_u64(SPAN_LIT("18446744073709551616"), UINT64_MAX, &n), ERR_TOOLONG);
	assert_int_equal(n, 7);
	assert_int_equal(span_to_u64(SPAN_LIT("18446744073709551615"), UINT64_MAX, &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(span_to_u64(SPAN_LIT("0009"), 9, &n), 0);
	assert_int_equal(n, 9);
}

static void test_digits(void **unused)
{
	(void)unused;
	char digits[SPAN_DIGITS_CAP];
	assert_true(span_eq(span_of_u64(0, 10, digits), SPAN_LIT("0")));
	assert_true(span_eq(span_of_u64(4711, 10, digits), SPAN_LIT("4711")));
	assert_true(span_eq(span_of_u64(UINT64_MAX, 10, digits), SPAN_LIT("18446744073709551615")));
	assert_true(span_eq(span_of_u64(0xbeef0, 16, digits), SPAN_LIT("beef0")));
	assert_true(span_eq(span_of_u64(UINT64_MAX, 16, digits), SPAN_LIT("ffffffffffffffff")));
}

static void test_cstr(void **unused)
{
	(void)unused;
	char text[4] = "xyz";
	assert_int_equal(span_to_cstr(SPAN_LIT("abcd"), text, sizeof text), ERR_TOOLONG);
	assert_int_equal(span_to_cstr(SPAN_LIT("a\0b"), text, sizeof text), ERR_TOOLONG);
	assert_string_equal(text, "xyz");
	assert_int_equal(span_to_cstr(SPAN_LIT("abc"), text, sizeof text), 0);
	assert_string_equal(text, "abc");
	assert_int_equal(span_to_cstr(SPAN_NONE, text, sizeof text), 0);
	assert_string_equal(text, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sub), cmocka_unit_test(test_compare), cmocka_unit_test(test_find),
		cmocka_unit_test(test_cut), cmocka_unit_test(test_number),  cmocka_unit_test(test_digits),
		cmocka_unit_test(test_cstr),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
