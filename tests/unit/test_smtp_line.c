/* Command line framing: each stream is cut in every way that matters, and must give the same lines and faults. */
#include "smtp_line.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "buf.h"

/* Events as text: "[line]" for a line, "R" "L" "0" "X" for the faults. */
static void read_all(struct smtp_line *state, struct buf *in, struct buf *events)
{
	struct span line;
	size_t drop;
	for (;;) {
		enum smtp_line_result result = smtp_line_next(state, buf_span(in), &line, &drop);
		assert_true(drop <= in->len);
		if (result == SMTP_LINE_READY) {
			assert_int_equal(buf_append(events, "[", 1), 0);
			assert_int_equal(buf_append_span(events, line), 0);
			assert_int_equal(buf_append(events, "]", 1), 0);
		} else if (result != SMTP_LINE_MORE) {
			assert_non_null(smtp_line_fault_reply(result));
			assert_int_equal(buf_append(events, &"??RL0X"[result], 1), 0);
		}
		buf_consume(in, drop);
		if (result == SMTP_LINE_MORE)
			return;
		assert_true(drop > 0);
	}
}

/* Feed the stream in three pieces. */
static void check_cut(struct span stream, bool normalize, const char *expected, size_t first, size_t second)
{
	struct smtp_line state;
	struct buf in = { 0 }, events = { 0 };
	size_t cuts[] = { 0, first, second, stream.len };
	smtp_line_init(&state, 16, normalize);
	for (size_t i = 0; i + 1 < sizeof cuts / sizeof cuts[0]; i++) {
		assert_int_equal(buf_append_span(&in, span_sub(stream, cuts[i], cuts[i + 1])), 0);
		read_all(&state, &in, &events);
	}
	assert_int_equal(events.len, strlen(expected));
	assert_memory_equal(events.data ? events.data : "", expected, events.len);
	buf_free(&in);
	buf_free(&events);
}

static void check(struct span stream, bool normalize, const char *expected)
{
	for (size_t first = 0; first <= stream.len; first++)
		for (size_t second = first; second <= stream.len; second++)
			check_cut(stream, normalize, expected, first, second);

	struct smtp_line state;
	struct buf in = { 0 }, events = { 0 };
	smtp_line_init(&state, 16, normalize);
	for (size_t i = 0; i < stream.len; i++) {
		assert_int_equal(buf_append(&in, stream.ptr + i, 1), 0);
		read_all(&state, &in, &events);
	}
	assert_int_equal(events.len, strlen(expected));
	assert_memory_equal(events.data ? events.data : "", expected, events.len);
	buf_free(&in);
	buf_free(&events);
}

static void test_lines(void **unused)
{
	(void)unused;
	check(SPAN_LIT(""), false, "");
	check(SPAN_LIT("NOOP"), false, "");
	check(SPAN_LIT("NOOP\r"), false, "");
	check(SPAN_LIT("\r\n"), false, "[]");
	check(SPAN_LIT("RSET\r\nQUIT\r\nrest"), false, "[RSET][QUIT]");
	check(SPAN_LIT("RSET\r\nQUIT\r\nrest"), true, "[RSET][QUIT]");
}

static void test_bare_lf(void **unused)
{
	(void)unused;
	check(SPAN_LIT("RSET\nQUIT\r\nNOOP\r\n"), false, "L[NOOP]");
	check(SPAN_LIT("RSET\n\r\nNOOP\r\n"), false, "L[NOOP]");
	check(SPAN_LIT("a\nb\nc\n"), false, "L");
	check(SPAN_LIT("RSET\nQUIT\r\nNOOP\n"), true, "[RSET][QUIT][NOOP]");
}

static void test_bare_cr(void **unused)
{
	(void)unused;
	check(SPAN_LIT("RSET\rQUIT\r\nNOOP\r\n"), false, "R[NOOP]");
	check(SPAN_LIT("RSET\r\r\nNOOP\r\n"), false, "R[NOOP]");
	check(SPAN_LIT("RSET\rQUIT\nNOOP\r\n"), true, "R[NOOP]");
	check(SPAN_LIT("RSET\rQUIT\nMAIL\r\nNOOP\r\n"), false, "R[NOOP]");
}

static void test_nul(void **unused)
{
	(void)unused;
	check(SPAN_LIT("RS\0ET\r\nNOOP\r\n"), false, "0[NOOP]");
	check(SPAN_LIT("RS\0E\rT\nx\r\nNOOP\r\n"), false, "0[NOOP]");
	check(SPAN_LIT("\0\r\n\0\r\nNOOP\r\n"), false, "00[NOOP]");
	check(SPAN_LIT("RS\0ET\nNOOP\r\n"), true, "0[NOOP]");
}

static void test_too_long(void **unused)
{
	(void)unused;
	check(SPAN_LIT("12345678901234\r\nNOOP\r\n"), false, "[12345678901234][NOOP]");
	check(SPAN_LIT("123456789012345\r\nNOOP\r\n"), false, "X[NOOP]");
	check(SPAN_LIT("1234567890123456\r\nNOOP\r\n"), false, "X[NOOP]");
	check(SPAN_LIT("12345678901234567890123456\r\nNOOP\r\n"), false, "X[NOOP]");
	check(SPAN_LIT("123456789012345\nNOOP\r\n"), true, "[123456789012345][NOOP]");
	check(SPAN_LIT("1234567890123456\nNOOP\r\n"), true, "X[NOOP]");
	check(SPAN_LIT("1234567890123456789"), false, "X");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_bare_lf),
		cmocka_unit_test(test_bare_cr),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_too_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
