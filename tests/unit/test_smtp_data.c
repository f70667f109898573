/* The DATA stream: every stream whole, byte by byte and cut at each pair of positions. */
#include "smtp_data.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "buf.h"

struct expected {
	struct span in;
	bool normalize;
	struct span out;
	bool has_ended;
	size_t seen;
	enum smtp_data_fault fault;
	uint64_t fault_offset;
};

static void collect(void *ctx, struct span wire)
{
	assert_true(wire.len > 0);
	assert_int_equal(buf_append_span(ctx, wire), 0);
}

static void push_piece(struct smtp_data *data, struct span in, size_t from, size_t to, struct buf *out)
{
	struct span piece = span_sub(in, from, to);
	bool had_ended = data->has_ended;
	size_t used = smtp_data_push(data, piece, collect, out);
	assert_true(used <= piece.len && (used == piece.len || data->has_ended));
	assert_true(!had_ended || used == 0);
}

static void check_outcome(const struct expected *e, const struct smtp_data *data, struct buf *out)
{
	assert_int_equal(data->has_ended, e->has_ended);
	assert_int_equal(data->seen_bytes, e->seen);
	assert_int_equal(data->fault, e->fault);
	if (e->fault != SMTP_DATA_CLEAN)
		assert_int_equal(data->fault_offset, e->fault_offset);
	assert_int_equal(out->len, e->out.len);
	if (out->len)
		assert_memory_equal(out->data, e->out.ptr, out->len);
	bool has_final_dot = e->has_ended && e->fault == SMTP_DATA_CLEAN;
	assert_int_equal(data->size_bytes, e->out.len - (has_final_dot ? 3 : 0));
	buf_free(out);
}

static void check(struct expected e)
{
	struct smtp_data data;
	struct buf out = { 0 };
	for (size_t first = 0; first <= e.in.len; first++) {
		for (size_t second = first; second <= e.in.len; second++) {
			smtp_data_init(&data, e.normalize);
			push_piece(&data, e.in, 0, first, &out);
			push_piece(&data, e.in, first, second, &out);
			push_piece(&data, e.in, second, e.in.len, &out);
			check_outcome(&e, &data, &out);
		}
	}
	smtp_data_init(&data, e.normalize);
	for (size_t i = 0; i < e.in.len; i++)
		push_piece(&data, e.in, i, i + 1, &out);
	check_outcome(&e, &data, &out);
}

#define CLEAN(text, rest)                                                                                                          \
	(struct expected)                                                                                                          \
	{                                                                                                                          \
		.in = SPAN_LIT(text rest), .out = SPAN_LIT(text), .has_ended = true, .seen = sizeof(text) - 1                      \
	}
#define OPEN(text)                                                                                                                 \
	(struct expected)                                                                                                          \
	{                                                                                                                          \
		.in = SPAN_LIT(text), .out = SPAN_LIT(text), .seen = sizeof(text) - 1                                              \
	}
#define FAULTY(text, kept, kind)                                                                                                   \
	(struct expected)                                                                                                          \
	{                                                                                                                          \
		.in = SPAN_LIT(text), .out = SPAN_LIT(kept), .has_ended = true, .seen = sizeof(text) - 1, .fault = (kind)          \
	}

static void check_both(struct expected e)
{
	check(e);
	e.normalize = true;
	check(e);
}

static void test_clean(void **unused)
{
	(void)unused;
	check_both(CLEAN(".\r\n", ""));
	check_both(CLEAN(".\r\n", "QUIT\r\n"));
	check_both(CLEAN("a\r\n.\r\n", "\0\rQUIT\n"));
	check_both(CLEAN("Subject: x\r\n\r\ntext\r\n.\r\n", ".\r\n"));
	check_both(CLEAN("\r\n\r\n.\r\n", "x"));
	check_both(CLEAN("..\r\n...\r\n.x\r\nx.\r\n.. \r\n.\r\n", "RSET"));
	check_both(CLEAN("\xff\xfe\x80\r\n.\r\n", ""));
}

static void test_open(void **unused)
{
	(void)unused;
	check_both(OPEN(""));
	check_both(OPEN("."));
	check_both(OPEN(".\r"));
	check_both(OPEN("text\r\n.\r"));
	check_both(OPEN("text\r\n.x\r\n"));
	check_both(OPEN("text.\r\n"));
}

static void test_bare_cr(void **unused)
{
	(void)unused;
	struct expected e = FAULTY("a\rb\r\n.\r\n", "a\r", SMTP_DATA_BARE_CR);
	e.fault_offset = 1;
	check_both(e);
	e = FAULTY("a\r\r\n.\r\n", "a\r", SMTP_DATA_BARE_CR);
	e.fault_offset = 1;
	check_both(e);
	e = FAULTY(".\r.\r\n.\r\n", ".\r", SMTP_DATA_BARE_CR);
	e.fault_offset = 1;
	check_both(e);
	e = FAULTY("x\r\n.\r\r\n.\r\n", "x\r\n.\r", SMTP_DATA_BARE_CR);
	e.fault_offset = 4;
	check_both(e);
	e = FAULTY("x\r\n\r.\r\n\r\n.\r\n", "x\r\n\r", SMTP_DATA_BARE_CR);
	e.fault_offset = 3;
	check_both(e);
}

static void test_nul(void **unused)
{
	(void)unused;
	struct expected e = FAULTY("a\r\nb\0\rc\r\n.\r\n", "a\r\nb", SMTP_DATA_NUL);
	e.fault_offset = 4;
	check_both(e);
	e = FAULTY("\0\r\n.\r\n", "", SMTP_DATA_NUL);
	check_both(e);
	e = FAULTY(".\0\r\n.\r\n", ".", SMTP_DATA_NUL);
	e.fault_offset = 1;
	check_both(e);
	/* The CR comes first. */
	e = FAULTY("a\r\0\r\n.\r\n", "a\r", SMTP_DATA_BARE_CR);
	e.fault_offset = 1;
	check_both(e);
}

static void test_bare_lf_rejected(void **unused)
{
	(void)unused;
	struct expected e = FAULTY("a\nb\r\n.\r\n", "a", SMTP_DATA_BARE_LF);
	e.fault_offset = 1;
	check(e);
	e = FAULTY("a\n.\r\nMAIL\r\n.\r\n", "a", SMTP_DATA_BARE_LF);
	e.fault_offset = 1;
	check(e);
	e = FAULTY("a\r\n.\nMAIL\r\n.\r\n", "a\r\n.", SMTP_DATA_BARE_LF);
	e.fault_offset = 4;
	check(e);
	e = FAULTY("a\n.\nMAIL\r\n.\r\n", "a", SMTP_DATA_BARE_LF);
	e.fault_offset = 1;
	check(e);
	e = FAULTY("\n.\r\n\r\n.\r\n", "", SMTP_DATA_BARE_LF);
	check(e);
	e = FAULTY("a\r\n\n.\r\n\r\n.\r\n", "a\r\n", SMTP_DATA_BARE_LF);
	e.fault_offset = 3;
	check(e);
}

static void check_normalized(struct span in, struct span out)
{
	check((struct expected){ .in = in, .normalize = true, .out = out, .has_ended = true, .seen = in.len });
}

static void test_bare_lf_normalized(void **unused)
{
	(void)unused;
	check_normalized(SPAN_LIT("a\nb\n\r\n.\r\n"), SPAN_LIT("a\r\nb\r\n\r\n.\r\n"));
	check_normalized(SPAN_LIT("\n\n\r\n.\r\n"), SPAN_LIT("\r\n\r\n\r\n.\r\n"));
	check_normalized(SPAN_LIT("a\n..b\n.c\r\n.\r\n"), SPAN_LIT("a\r\n..b\r\n.c\r\n.\r\n"));
	/* The smuggler's three, and at the very start. */
	check_normalized(SPAN_LIT("a\n.\r\nMAIL\r\n.\r\n"), SPAN_LIT("a\r\n..\r\nMAIL\r\n.\r\n"));
	check_normalized(SPAN_LIT("a\r\n.\nMAIL\r\n.\r\n"), SPAN_LIT("a\r\n..\r\nMAIL\r\n.\r\n"));
	check_normalized(SPAN_LIT("a\n.\nMAIL\r\n.\r\n"), SPAN_LIT("a\r\n..\r\nMAIL\r\n.\r\n"));
	check_normalized(SPAN_LIT(".\nMAIL\r\n.\r\n"), SPAN_LIT("..\r\nMAIL\r\n.\r\n"));
	check_normalized(SPAN_LIT("\n.\r\n.\r\n"), SPAN_LIT("\r\n..\r\n.\r\n"));
	check_normalized(SPAN_LIT(".\n.\n.\n.\r\n.\r\n"), SPAN_LIT("..\r\n..\r\n..\r\n..\r\n.\r\n"));
}

static void test_lone_dot(void **unused)
{
	(void)unused;
	struct smtp_data data;
	struct buf out = { 0 };
	smtp_data_init(&data, false);
	push_piece(&data, SPAN_LIT("text\n.\n"), 0, 7, &out);
	assert_true(data.has_lone_dot);
	assert_false(data.has_ended);
	assert_int_equal(data.fault, SMTP_DATA_BARE_LF);
	assert_int_equal(smtp_data_fault_reply(data.fault)->code, 550);
	assert_null(smtp_data_fault_reply(SMTP_DATA_CLEAN));
	buf_free(&out);
}

static void test_large(void **unused)
{
	(void)unused;
	static char block[100000];
	struct smtp_data data;
	struct buf out = { 0 };
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = i % 100 == 98 ? '\r' : i % 100 == 99 ? '\n' : '.';
	smtp_data_init(&data, false);
	for (size_t from = 0; from < sizeof block; from += 777)
		push_piece(&data, (struct span){ block, sizeof block }, from, from + 777, &out);
	assert_int_equal(out.len, sizeof block);
	assert_memory_equal(out.data, block, sizeof block);
	assert_int_equal(data.fault, SMTP_DATA_CLEAN);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean),
		cmocka_unit_test(test_open),
		cmocka_unit_test(test_bare_cr),
		cmocka_unit_test(test_nul),
		cmocka_unit_test(test_bare_lf_rejected),
		cmocka_unit_test(test_bare_lf_normalized),
		cmocka_unit_test(test_lone_dot),
		cmocka_unit_test(test_large),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
