/* Marks as an administrator writes them. */
#include "mark_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void expect(const char *text, uint32_t bits, uint32_t mask)
{
	struct mark_value value;
	assert_int_equal(mark_value_parse(span_of(text), &value, NULL), 0);
	assert_int_equal(value.bits, bits);
	assert_int_equal(value.mask, mask);
}

static void test_good(void **unused)
{
	(void)unused;
	expect("0", 0, MARK_FREE_BITS);
	expect("5", 5, MARK_FREE_BITS);
	expect("0x10", 16, MARK_FREE_BITS);
	expect("0X87FFFFFF", 0x87ffffff, MARK_FREE_BITS);
	expect("0x10/0xf0", 16, 0xf0);
	expect("1/1", 1, 1);
	expect("0/0", 0, 0);
}

static void test_bad(void **unused)
{
	static const char *const bad[] = { "", "x", "0x", "-1", "5/", "/5", "0x123456789", "4294967296", "0xg", "1/2", "3/1", "5 ", "1/1/1",
					   "0x40000000", "0x08000000", "0x20000000/0x20000000", "0/0xffffffff" };
	struct mark_value value = { 7, 7 };
	struct reason why;
	(void)unused;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		why.text[0] = '\0';
		assert_int_equal(mark_value_parse(span_of(bad[i]), &value, &why), ERR_SYNTAX);
		assert_true(why.text[0] && value.bits == 7 && value.mask == 7);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_good), cmocka_unit_test(test_bad) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
