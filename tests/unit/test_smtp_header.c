/* The header scanner: every header section whole, byte by byte and cut at each position. */
#include "smtp_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define OWN SPAN_LIT("gate.example.org")

struct expected {
	unsigned received, own;
	bool date, message_id, done;
};

static void compare(const struct smtp_header *header, const struct expected *e)
{
	assert_int_equal(header->received_count, e->received);
	assert_int_equal(header->own_count, e->own);
	assert_int_equal(header->has_date, e->date);
	assert_int_equal(header->has_message_id, e->message_id);
	assert_int_equal(header->is_done, e->done);
}

static void check(struct span wire, struct expected e)
{
	struct smtp_header header;
	for (size_t cut = 0; cut <= wire.len; cut++) {
		smtp_header_init(&header, OWN);
		smtp_header_push(&header, span_sub(wire, 0, cut));
		smtp_header_push(&header, span_sub(wire, cut, wire.len));
		compare(&header, &e);
	}
	smtp_header_init(&header, OWN);
	for (size_t i = 0; i < wire.len; i++)
		smtp_header_push(&header, span_sub(wire, i, i + 1));
	compare(&header, &e);
}

static void test_counts(void **unused)
{
	(void)unused;
	check(SPAN_LIT(""), (struct expected){ .done = false });
	check(SPAN_LIT("\r\nReceived: by gate.example.org\r\n"), (struct expected){ .done = true });
	check(SPAN_LIT(".\r\n"), (struct expected){ .done = true });
	check(SPAN_LIT("Received: from a by b; date\r\nRECEIVED : x\r\nReceivedd: y\r\nX-Received: z\r\nDate: d\r\nMessage-ID:\r\n "
		       "<x>\r\n\r\n"
		       "Received: body\r\n"),
	      (struct expected){ .received = 2, .date = true, .message_id = true, .done = true });
	check(SPAN_LIT("Subject: a\r\n Received: folded\r\n\tDate: folded\r\nReceived\r\nx: y\r\n.\r\n"),
	      (struct expected){ .done = true });
}

static void test_own_name(void **unused)
{
	(void)unused;
	check(SPAN_LIT("Received: from a by gate.example.org; d\r\n"), (struct expected){ .received = 1, .own = 1 });
	check(SPAN_LIT("Received: from a\r\n\tBY\r\n Gate.Example.ORG(postern) with ESMTP\r\n"),
	      (struct expected){ .received = 1, .own = 1 });
	check(SPAN_LIT("Received: by gate.example.org by gate.example.org\r\n"), (struct expected){ .received = 1, .own = 1 });
	check(SPAN_LIT("Received: by gate.example.org\r\nReceived: by gate.example.org\r\n"),
	      (struct expected){ .received = 2, .own = 2 });
	check(SPAN_LIT("Received: by (a (b) \\) by x) gate.example.org\r\n"), (struct expected){ .received = 1, .own = 1 });
}

static void test_not_own_name(void **unused)
{
	(void)unused;
	const struct expected e = { .received = 1 };
	check(SPAN_LIT("Received: from gate.example.org by other\r\n"), e);
	check(SPAN_LIT("Received: by gate.example.org.evil\r\n"), e);
	check(SPAN_LIT("Received: by xgate.example.org\r\n"), e);
	check(SPAN_LIT("Received: by gate.example.or\r\n"), e);
	check(SPAN_LIT("Received: bye gate.example.org\r\n"), e);
	check(SPAN_LIT("Received: (by gate.example.org) by other\r\n"), e);
	check(SPAN_LIT("Received: \"by gate.example.org\" \"by\" gate.example.org\r\n"), e);
	check(SPAN_LIT("Received: from a; by gate.example.org\r\n by gate.example.org\r\n"), e);
}

static void test_gigantic(void **unused)
{
	(void)unused;
	struct smtp_header header;
	smtp_header_init(&header, OWN);
	for (int i = 0; i < 100000; i++)
		smtp_header_push(&header, SPAN_LIT("longname"));
	smtp_header_push(&header, SPAN_LIT(": x\r\nReceived: "));
	for (int i = 0; i < 100000; i++)
		smtp_header_push(&header, SPAN_LIT("gate.example.org\r\n "));
	smtp_header_push(&header, SPAN_LIT("by gate.example.org\r\n\r\n"));
	compare(&header, &(struct expected){ .received = 1, .own = 1, .done = true });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_own_name),
		cmocka_unit_test(test_not_own_name),
		cmocka_unit_test(test_gigantic),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
