/* Dot-stuffing and its reverse, whole, byte by byte and cut at each position. */
#include "smtp_dot.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

static void expect(struct buf *out, struct span expected)
{
	assert_int_equal(out->len, expected.len);
	if (out->len)
		assert_memory_equal(out->data, expected.ptr, out->len);
	buf_free(out);
}

static void check_undot(struct span wire, struct span native, bool has_ended)
{
	struct smtp_undot undot;
	struct buf out = { 0 };
	for (size_t cut = 0; cut <= wire.len; cut++) {
		smtp_undot_init(&undot);
		assert_int_equal(smtp_undot_push(&undot, span_sub(wire, 0, cut), &out), 0);
		assert_int_equal(smtp_undot_push(&undot, span_sub(wire, cut, wire.len), &out), 0);
		assert_int_equal(undot.has_ended, has_ended);
		expect(&out, native);
	}
	smtp_undot_init(&undot);
	for (size_t i = 0; i < wire.len; i++)
		assert_int_equal(smtp_undot_push(&undot, span_sub(wire, i, i + 1), &out), 0);
	expect(&out, native);
}

static void check_dot(struct span native, struct span wire)
{
	struct smtp_dot dot;
	struct buf out = { 0 };
	for (size_t cut = 0; cut <= native.len; cut++) {
		smtp_dot_init(&dot);
		assert_int_equal(smtp_dot_push(&dot, span_sub(native, 0, cut), &out), 0);
		assert_int_equal(smtp_dot_push(&dot, span_sub(native, cut, native.len), &out), 0);
		assert_int_equal(smtp_dot_finish(&dot, &out), 0);
		expect(&out, wire);
	}
	smtp_dot_init(&dot);
	for (size_t i = 0; i < native.len; i++)
		assert_int_equal(smtp_dot_push(&dot, span_sub(native, i, i + 1), &out), 0);
	assert_int_equal(smtp_dot_finish(&dot, &out), 0);
	expect(&out, wire);
}

static void test_undot(void **unused)
{
	(void)unused;
	check_undot(SPAN_LIT(""), SPAN_LIT(""), false);
	check_undot(SPAN_LIT(".\r\nbehind"), SPAN_LIT(""), true);
	check_undot(SPAN_LIT("a\r\n..\r\n...b\r\n.c\r\n\r\n.\r\nbehind"), SPAN_LIT("a\n.\n..b\nc\n\n"), true);
	check_undot(SPAN_LIT("a.\r\n. \r\nb"), SPAN_LIT("a.\n \nb"), false);
}

static void test_undot_of_damaged_bytes(void **unused)
{
	(void)unused;
	check_undot(SPAN_LIT("a\rb\nc\r\r\n.\rd\r\n.\r\n"), SPAN_LIT("a\rb\nc\r\n\rd\n"), true);
	check_undot(SPAN_LIT("a\n.\r\n.\r\n"), SPAN_LIT("a\n.\n"), true);
}

static void test_dot(void **unused)
{
	(void)unused;
	check_dot(SPAN_LIT(""), SPAN_LIT(".\r\n"));
	check_dot(SPAN_LIT("a"), SPAN_LIT("a\r\n.\r\n"));
	check_dot(SPAN_LIT(".\n..\n.x\nx.\n"), SPAN_LIT("..\r\n...\r\n..x\r\nx.\r\n.\r\n"));
	check_dot(SPAN_LIT("a\r\n\r.b\0c\rd\n\n"), SPAN_LIT("a\r\n..bcd\r\n\r\n.\r\n"));
}

static void test_cap(void **unused)
{
	(void)unused;
	struct buf out = { .cap = 5 };
	struct smtp_undot undot;
	struct smtp_dot dot;
	smtp_undot_init(&undot);
	assert_int_equal(smtp_undot_push(&undot, SPAN_LIT("ab\r\ncd\r"), &out), 0);
	assert_int_equal(smtp_undot_push(&undot, SPAN_LIT("\n"), &out), ERR_TOOLONG);
	buf_clear(&out);
	assert_int_equal(smtp_undot_push(&undot, SPAN_LIT("\n"), &out), 0);
	expect(&out, SPAN_LIT("\n"));
	smtp_dot_init(&dot);
	assert_int_equal(smtp_dot_push(&dot, SPAN_LIT("a\n.b\n"), &out), ERR_TOOLONG);
	assert_int_equal(out.len, 0);
	assert_int_equal(smtp_dot_push(&dot, SPAN_LIT(".b\n"), &out), 0);
	expect(&out, SPAN_LIT("..b\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_undot),
		cmocka_unit_test(test_undot_of_damaged_bytes),
		cmocka_unit_test(test_dot),
		cmocka_unit_test(test_cap),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
