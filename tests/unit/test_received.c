/* The Received field: its exact form, for every combination of what is known. */
#include "received.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "addr.h"
#include "message_id.h"
#include "origdst.h"

static struct endpoint endpoint(const char *text, uint16_t port)
{
	struct endpoint e = { .port = port };
	assert_int_equal(addr_parse(span_of(text), &e.addr), 0);
	return e;
}

static void assert_field(const struct received_facts *facts, const char *expected)
{
	struct buf out = { .cap = 4096 };
	assert_int_equal(buf_append(&out, "before", 6), 0);
	assert_int_equal(received_append(facts, &out), 0);
	assert_int_equal(buf_append(&out, "", 1), 0);
	assert_string_equal(out.data + 6, expected);
	buf_free(&out);
}

static void exact_forms(void **state)
{
	struct origdst where = { .client = endpoint("192.0.2.10", 4711), .original = endpoint("203.0.113.25", 25) };
	struct spool_id id;
	(void)state;
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &id), 0);
	struct received_facts facts = {
		.where = &where,
		.iface = SPAN_LIT("wan"),
		.hostname = SPAN_LIT("fw.example.net"),
		.helo = SPAN_LIT("client.example"),
		.helo_is_domain = true,
		.is_esmtp = true,
		.is_diverted = true,
		.id = &id,
		.only_recipient = SPAN_LIT("b@c.example"),
		.time = 1700000000,
	};
	assert_field(&facts, "Received: from client.example ([192.0.2.10])\r\n\tby fw.example.net (postern) with ESMTP id 0123456789abcd\r\n"
			     "\t(on its way to 203.0.113.25:25, diverted on wan)\r\n\tfor <b@c.example>;\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n");
	facts.only_recipient = SPAN_NONE;
	facts.is_esmtp = false;
	facts.client_name = SPAN_LIT("confirmed.example");
	assert_field(&facts,
		     "Received: from client.example (confirmed.example [192.0.2.10])\r\n\tby fw.example.net (postern) with SMTP id 0123456789abcd\r\n"
		     "\t(on its way to 203.0.113.25:25, diverted on wan);\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n");
	where.client = endpoint("2001:db8::10", 4711);
	where.original = endpoint("2001:db8::25", 587);
	facts.helo = SPAN_LIT("not (a) name");
	facts.helo_is_domain = false;
	facts.client_name = SPAN_NONE;
	assert_field(&facts, "Received: from [IPv6:2001:db8::10] ([IPv6:2001:db8::10])\r\n\tby fw.example.net (postern) with SMTP id 0123456789abcd\r\n"
			     "\t(on its way to [2001:db8::25]:587, diverted on wan);\r\n\tTue, 14 Nov 2023 22:13:20 +0000\r\n");
	facts.time += 86400 * 17; /* the date is made anew */
	facts.is_diverted = false;
	assert_field(&facts, "Received: from [IPv6:2001:db8::10] ([IPv6:2001:db8::10])\r\n"
			     "\tby fw.example.net (postern) with SMTP id 0123456789abcd;\r\n\tFri, 01 Dec 2023 22:13:20 +0000\r\n");
}

static void no_room_leaves_no_half_field(void **state)
{
	const struct origdst where = { .client = endpoint("192.0.2.10", 1), .original = endpoint("203.0.113.25", 25) };
	struct spool_id id;
	(void)state;
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &id), 0);
	const struct received_facts facts = { .where = &where, .hostname = SPAN_LIT("fw"), .helo = SPAN_LIT("h"), .helo_is_domain = true, .id = &id };
	struct buf whole = { .cap = 4096 };
	assert_int_equal(received_append(&facts, &whole), 0);
	for (size_t cap = 1; cap < whole.len; cap++) {
		struct buf out = { .cap = cap };
		assert_int_not_equal(received_append(&facts, &out), 0);
		assert_int_equal(out.len, 0);
		buf_free(&out);
	}
	buf_free(&whole);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(exact_forms), cmocka_unit_test(no_room_leaves_no_half_field) };
	(void)setenv("TZ", "UTC", 1);
	tzset();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
