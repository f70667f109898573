/* The growing buffer and its cap; the arena. */
#include "buf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "arena.h"
#include "err.h"

static void test_append(void **unused)
{
	(void)unused;
	struct buf b = { 0 };
	char block[1000];
	memset(block, 'x', sizeof block);
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_null(b.data);
	assert_int_equal(buf_append_span(&b, SPAN_LIT("ab")), 0);
	assert_int_equal(buf_append(&b, block, sizeof block), 0);
	assert_int_equal(b.len, 1002);
	assert_memory_equal(b.data, "abxx", 4);
	buf_consume(&b, 1);
	assert_memory_equal(b.data, "bxx", 3);
	buf_consume(&b, 0);
	assert_int_equal(b.len, 1001);
	buf_consume(&b, 5000);
	assert_int_equal(b.len, 0);
	buf_free(&b);
	assert_int_equal(buf_append_span(&b, SPAN_LIT("again")), 0);
	buf_clear(&b);
	assert_int_equal(buf_span(&b).len, 0);
	buf_free(&b);
}

static void test_cap(void **unused)
{
	(void)unused;
	struct buf b = { .cap = 5 };
	assert_int_equal(buf_append_span(&b, SPAN_LIT("123456")), ERR_TOOLONG);
	assert_int_equal(buf_append_span(&b, SPAN_LIT("123")), 0);
	assert_int_equal(buf_append_span(&b, SPAN_LIT("456")), ERR_TOOLONG);
	assert_int_equal(b.len, 3);
	assert_int_equal(buf_append_span(&b, SPAN_LIT("45")), 0);
	assert_int_equal(buf_reserve(&b, 1), ERR_TOOLONG);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), ERR_TOOLONG);
	buf_free(&b);
	assert_int_equal(b.cap, 5);
}

static void test_printf(void **unused)
{
	(void)unused;
	struct buf b = { .cap = 5 };
	assert_int_equal(buf_printf(&b, "%d", 123), 0);
	assert_int_equal(buf_printf(&b, "%d", 456), ERR_TOOLONG);
	assert_int_equal(buf_printf(&b, "%s", "45"), 0);
	assert_true(span_eq(buf_span(&b), SPAN_LIT("12345")));
	assert_int_equal(buf_append_span(&b, SPAN_LIT("6")), ERR_TOOLONG);
	buf_free(&b);
	b.cap = 0;
	for (int i = 0; i < 100; i++)
		assert_int_equal(buf_printf(&b, "%04d", i), 0);
	assert_int_equal(b.len, 400);
	assert_memory_equal(b.data + 396, "0099", 4);
	buf_free(&b);
}

static void test_arena(void **unused)
{
	(void)unused;
	struct arena a = { 0 };
	struct span copies[300];
	for (size_t i = 0; i < 300; i++) {
		char text[40];
		memset(text, (int)('0' + i % 10), sizeof text);
		copies[i] = arena_copy(&a, (struct span){ text, i % sizeof text });
		assert_non_null(copies[i].ptr);
		assert_int_equal(copies[i].ptr[copies[i].len], '\0');
	}
	for (size_t i = 0; i < 300; i++)
		for (size_t j = 0; j < copies[i].len; j++)
			assert_int_equal(copies[i].ptr[j], '0' + i % 10);
	unsigned char *zeroed = arena_alloc(&a, 100000);
	assert_non_null(zeroed);
	assert_int_equal((uintptr_t)zeroed % _Alignof(max_align_t), 0);
	for (size_t i = 0; i < 100000; i++)
		assert_int_equal(zeroed[i], 0);
	assert_null(arena_alloc(&a, SIZE_MAX));
	assert_non_null(arena_alloc(&a, 0));
	arena_free(&a);
	assert_null(a.head);
	arena_free(&a);
}

static void test_join(void **unused)
{
	(void)unused;
	struct buf b = { .cap = 8 };
	assert_int_equal(BUF_JOIN(&b, SPAN_LIT("ab"), SPAN_NONE, SPAN_LIT("cde")), 0);
	assert_int_equal(BUF_JOIN(&b, SPAN_LIT("f"), SPAN_LIT("ghi")), ERR_TOOLONG); /* the first part would fit */
	assert_int_equal(buf_append_spans(&b, (const struct span[]){ { "x", SIZE_MAX }, { "y", 1 } }, 2), ERR_TOOLONG);
	assert_int_equal(b.len, 5);
	assert_int_equal(BUF_JOIN(&b, SPAN_LIT("fgh")), 0);
	assert_memory_equal(b.data, "abcdefgh", 8);
	assert_int_equal(BUF_JOIN(&b, SPAN_NONE), 0);
	assert_int_equal(b.len, 8);
	buf_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_append),
		cmocka_unit_test(test_cap),
		cmocka_unit_test(test_join),
		cmocka_unit_test(test_printf),
		cmocka_unit_test(test_arena),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
