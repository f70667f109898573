/* Headers that filters change: what they leave alone keeps its bytes; indexes count as sendmail counts them. */
#include "milter_headers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "milter_body.h"
#include "milter_edits.h"

static struct milter_headers headers;
static struct buf text;

static int clear(void **unused)
{
	(void)unused;
	milter_headers_free(&headers);
	buf_free(&text);
	return 0;
}

static void load(const char *wire)
{
	size_t end, body;
	assert_int_equal(milter_headers_find_end(span_of(wire), &end, &body), 0);
	assert_int_equal(milter_headers_read(&headers, span_sub(span_of(wire), 0, end), body > end), 0);
}

static void expect(const char *wire)
{
	buf_clear(&text);
	assert_int_equal(milter_headers_write(&headers, &text), 0);
	assert_int_equal(buf_append(&text, "", 1), 0);
	assert_string_equal(text.data, wire);
}

static const char *shown(size_t index, bool has_space)
{
	size_t at = 0;
	const struct milter_field *field = milter_headers_next(&headers, &at);
	while (index-- > 0)
		field = milter_headers_next(&headers, &at);
	assert_non_null(field);
	buf_clear(&text);
	assert_int_equal(milter_field_show(field, has_space, 1000, &text), 0);
	assert_int_equal(buf_append(&text, "", 1), 0);
	return text.data;
}

static void test_end(void **unused)
{
	static const struct {
		const char *wire;
		size_t end, body;
	} cases[] = {
		{ "A: 1\r\n\r\nbody\r\n.\r\n", 6, 8 },     { "\r\n.\r\n", 0, 2 },		 { ".\r\n", 0, 0 },
		{ "A: 1\r\n.\r\n", 6, 6 },		   { "A: 1\r\nno field\r\n\r\n", 6, 6 }, { " folded first\r\n", 0, 0 },
		{ "From a@b Mon\r\nA: 1\r\n\r\n", 20, 22 }, { "A : 1\r\n\tb\r\n\r\n", 11, 13 },   { "A: 1\r\nFrom a@b\r\n", 6, 6 },
	};
	(void)unused;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct span wire = span_of(cases[i].wire);
		size_t end, body;
		bool was_found = false;
		/* Found or not yet: never found elsewhere. */
		for (size_t len = 0; len <= wire.len; len++) {
			int err = milter_headers_find_end(span_sub(wire, 0, len), &end, &body);
			assert_true(err == 0 || (err == ERR_AGAIN && !was_found));
			was_found = was_found || !err;
			if (!err) {
				assert_int_equal(end, cases[i].end);
				assert_int_equal(body, cases[i].body);
			}
		}
		assert_true(was_found);
	}
}

static void test_untouched_bytes_stay(void **unused)
{
	(void)unused;
	load("From a@b Mon\r\nSubject :  two\r\n\t spaces \r\n..dot: 1\r\nX:\r\n\r\n");
	expect("From a@b Mon\r\nSubject :  two\r\n\t spaces \r\n..dot: 1\r\nX:\r\n\r\n");
	assert_string_equal(shown(0, false), " two\n\t spaces ");
	assert_string_equal(shown(0, true), "  two\n\t spaces ");
	assert_string_equal(shown(2, true), "");
	assert_true(span_eq(headers.fields[2].name, SPAN_LIT(".dot")));
	assert_int_equal(headers.changes, 0);
}

static void test_add_and_insert(void **unused)
{
	(void)unused;
	load("A: 1\r\nB: 2\r\n\r\n");
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT("End"), SPAN_LIT("x\n\ty"), false), 0);
	assert_int_equal(milter_headers_insert(&headers, 0, SPAN_LIT("Top"), SPAN_LIT("t"), false), 0);
	assert_int_equal(milter_headers_insert(&headers, 2, SPAN_LIT("Mid"), SPAN_LIT(" m"), true), 0);
	assert_int_equal(milter_headers_insert(&headers, 99, SPAN_LIT("Last"), SPAN_LIT("l"), true), 0);
	expect("Top: t\r\nA: 1\r\nMid: m\r\nB: 2\r\nEnd: x\r\n\ty\r\nLast:l\r\n\r\n");
}

static void test_change_counts_as_sendmail(void **unused)
{
	(void)unused;
	load("A: 1\r\nB: 2\r\na: 3\r\nA: 4\r\n\r\n");
	assert_int_equal(milter_headers_change(&headers, 1, SPAN_LIT("a"), SPAN_LIT(""), false), 0);
	/* What was deleted still counts: the second is still the second. */
	assert_int_equal(milter_headers_change(&headers, 2, SPAN_LIT("A"), SPAN_LIT("three"), false), 0);
	assert_int_equal(milter_headers_change(&headers, 4, SPAN_LIT("A"), SPAN_LIT("new"), false), 0);
	expect("B: 2\r\na: three\r\nA: 4\r\nA: new\r\n\r\n");
	size_t changes = headers.changes;
	assert_int_equal(milter_headers_change(&headers, 1, SPAN_LIT("None"), SPAN_LIT(""), false), 0);
	assert_int_equal(headers.changes, changes);
	assert_int_equal(milter_headers_change(&headers, 0, SPAN_LIT("B"), SPAN_LIT("zero"), false), 0);
	expect("B: zero\r\na: three\r\nA: 4\r\nA: new\r\n\r\n");
	/* The next filter was shown no other "A" before it. */
	milter_headers_forget_deleted(&headers);
	assert_int_equal(milter_headers_change(&headers, 1, SPAN_LIT("A"), SPAN_LIT("first"), false), 0);
	assert_int_equal(milter_headers_insert(&headers, 1, SPAN_LIT("C"), SPAN_LIT("5"), false), 0);
	expect("B: zero\r\nC: 5\r\na: first\r\nA: 4\r\nA: new\r\n\r\n");
}

static void test_nothing_is_smuggled(void **unused)
{
	(void)unused;
	load("A: 1\r\n\r\n");
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT("X"), SPAN_LIT("a\r\nBcc: b\n\n\r\n.\r\nbody\r"), false), 0);
	expect("A: 1\r\nX: a\r\n\tBcc: b\r\n\t.\r\n\tbody\r\n\r\n");
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT("a b"), SPAN_LIT("x"), false), ERR_INVAL);
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT("a:b"), SPAN_LIT("x"), false), ERR_INVAL);
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT("a\r\nb"), SPAN_LIT("x"), false), ERR_INVAL);
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT(""), SPAN_LIT("x"), false), ERR_INVAL);
	assert_int_equal(milter_headers_change(&headers, 1, SPAN_LIT("a b"), SPAN_LIT(""), false), ERR_INVAL);
	assert_int_equal(milter_headers_add(&headers, SPAN_LIT(".x"), SPAN_LIT("y"), false), 0);
	expect("A: 1\r\nX: a\r\n\tBcc: b\r\n\t.\r\n\tbody\r\n..x: y\r\n\r\n");
}

static void test_limits(void **unused)
{
	int err = 0;
	(void)unused;
	load("A: 1\r\n\r\n");
	for (size_t i = 0; i <= MILTER_CHANGES_CAP && !err; i++)
		err = milter_headers_insert(&headers, 0, SPAN_LIT("X"), SPAN_LIT("y"), false);
	assert_int_equal(err, ERR_TOOLONG);
	assert_int_equal(headers.count, MILTER_CHANGES_CAP + 1);
}

static void test_body_unstuffed(void **unused)
{
	static const struct span wire = SPAN_LIT("a\r\n..\r\n.b\r\n\r.\r\nc\n.d\r\n..\r\n.\r\nbehind");
	static const struct span native = SPAN_LIT("a\r\n.\r\nb\r\n\r.\r\nc\n.d\r\n.\r\n");
	char out[64];
	(void)unused;
	for (size_t cut = 0; cut <= wire.len; cut++) {
		struct milter_undot undot = { 0 };
		size_t len = milter_undot_push(&undot, span_sub(wire, 0, cut), out);
		len += milter_undot_push(&undot, span_sub(wire, cut, wire.len), out + len);
		assert_true(span_eq((struct span){ out, len }, native));
		assert_true(undot.has_ended);
	}
}

static int take(struct milter_edits *edits, enum milter_reply kind, const char *first, const char *second)
{
	const struct milter_change change = { 1, span_of(first), span_of(second) };
	return milter_edits_take(edits, kind, &change);
}

static void test_edits_are_checked(void **unused)
{
	struct milter_edits edits;
	char described[MILTER_EDITS_TEXT_CAP];
	(void)unused;
	milter_edits_init(&edits, false, 19);
	assert_int_equal(take(&edits, MILTER_ADD_RCPT, "<a@b.example>", ""), 0);
	assert_int_equal(take(&edits, MILTER_ADD_RCPT_PAR, "c@b.example", "NOTIFY=NEVER"), 0);
	struct smtp_rcpt_params params;
	assert_int_equal(take(&edits, MILTER_ADD_RCPT_PAR, "<d@b.example>", " ORCPT=rfc822;x@y NOTIFY=FAILURE,DELAY "), 0);
	milter_edit_rcpt_params(&edits.list[1], &params);
	assert_int_equal(params.notify, SMTP_NOTIFY_NEVER);
	assert_int_equal(params.orcpt.len, 0);
	milter_edit_rcpt_params(&edits.list[2], &params);
	assert_int_equal(params.notify, SMTP_NOTIFY_FAILURE | SMTP_NOTIFY_DELAY);
	assert_true(span_eq(params.orcpt, SPAN_LIT("rfc822;x@y")));
	assert_int_equal(take(&edits, MILTER_ADD_RCPT, "", ""), ERR_INVAL);
	assert_int_equal(take(&edits, MILTER_ADD_RCPT, "a@b>\r\nRCPT TO:<c@d", ""), ERR_INVAL);
	assert_int_equal(take(&edits, MILTER_ADD_RCPT, "a@b> NOTIFY=NEVER <x", ""), ERR_INVAL);
	assert_int_equal(take(&edits, MILTER_ADD_RCPT_PAR, "a@b.example", "NOTIFY=PERHAPS"), ERR_INVAL);
	assert_int_equal(take(&edits, MILTER_CHANGE_FROM, "<>", ""), 0);
	assert_int_equal(take(&edits, MILTER_CHANGE_FROM, "not an address", ""), ERR_INVAL);
	assert_int_equal(take(&edits, MILTER_ADD_HEADER, "bad name", "x"), ERR_INVAL);
	assert_int_equal(take(&edits, MILTER_QUARANTINE, "why not", ""), 0);
	assert_int_equal(take(&edits, MILTER_CONTINUE, "", ""), ERR_UNSUPPORTED);
	assert_int_equal(take(&edits, MILTER_REPLACE_BODY, ".dot\nand", ""), 0);
	assert_string_equal(milter_edits_describe(&edits, described),
			    "3 recipients added, sender changed, quarantined, body replaced");
	assert_int_equal(take(&edits, MILTER_REPLACE_BODY, "0123456789", ""), ERR_TOOLONG);
	milter_edits_free(&edits);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(test_end, clear),
		cmocka_unit_test_teardown(test_untouched_bytes_stay, clear),
		cmocka_unit_test_teardown(test_add_and_insert, clear),
		cmocka_unit_test_teardown(test_change_counts_as_sendmail, clear),
		cmocka_unit_test_teardown(test_nothing_is_smuggled, clear),
		cmocka_unit_test_teardown(test_limits, clear),
		cmocka_unit_test_teardown(test_body_unstuffed, clear),
		cmocka_unit_test_teardown(test_edits_are_checked, clear),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
