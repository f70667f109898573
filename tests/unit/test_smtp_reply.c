/* Replies: written by us, read from a server, and what a server offers. */
#include "smtp_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "smtp_caps.h"

static void expect_written(unsigned code, const char *enhanced, struct span text, const char *expected)
{
	struct buf out = { 0 };
	assert_int_equal(smtp_reply_append(&out, code, enhanced, text), 0);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(out.data, expected, out.len);
	buf_free(&out);
}

static void test_write(void **unused)
{
	(void)unused;
	expect_written(250, NULL, SPAN_LIT("ok"), "250 ok\r\n");
	expect_written(250, "2.1.5", SPAN_LIT("ok"), "250 2.1.5 ok\r\n");
	expect_written(250, "2.0.0", SPAN_NONE, "250 2.0.0\r\n");
	expect_written(354, NULL, SPAN_LIT(""), "354\r\n");
	expect_written(250, NULL, SPAN_LIT("host\nSIZE 10\nDSN\n"), "250-host\r\n250-SIZE 10\r\n250 DSN\r\n");
	expect_written(550, "5.7.1", SPAN_LIT("a\r\n\r\nb\r\n"), "550-5.7.1 a\r\n550-5.7.1\r\n550 5.7.1 b\r\n");
	expect_written(550, NULL, SPAN_LIT("a\0b\x1b\xff\tc\x7f\rd"), "550 a?b???c?d\r\n");
}

static void test_write_beyond_the_cap(void **unused)
{
	(void)unused;
	struct buf out = { .cap = 20 };
	assert_int_equal(smtp_reply_append(&out, 501, "5.5.4", SPAN_LIT("no")), 0);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("501 5.5.4 no\r\n")));
	/* The first of these lines would fit. */
	assert_int_equal(smtp_reply_append(&out, 250, NULL, SPAN_LIT("\na\nb")), ERR_TOOLONG);
	assert_int_equal(smtp_reply_append(&out, 250, NULL, SPAN_LIT("long enough")), ERR_TOOLONG);
	assert_int_equal(out.len, 14);
	buf_free(&out);
}

static void test_write_long(void **unused)
{
	(void)unused;
	char text[2000];
	struct buf out = { 0 };
	for (size_t spaces = 0; spaces < 2; spaces++) {
		for (size_t i = 0; i < sizeof text; i++)
			text[i] = spaces && i % 10 == 9 ? ' ' : 'x';
		assert_int_equal(smtp_reply_append(&out, 550, "5.7.1", (struct span){ text, sizeof text }), 0);
		struct span rest = buf_span(&out), line;
		size_t seen = 0;
		while (span_cut(&rest, '\n', &line) && rest.ptr) {
			assert_true(line.len + 1 <= SMTP_REPLY_LINE_CAP);
			assert_int_equal(line.ptr[3], rest.len ? '-' : ' ');
			for (size_t i = 10; i < line.len; i++)
				seen += line.ptr[i] == 'x';
		}
		assert_int_equal(seen, spaces ? 1800 : 2000);
		buf_clear(&out);
	}
	buf_free(&out);
}

static void expect_read(struct span in, unsigned code, const char *enhanced, const char *text, size_t rest)
{
	static struct smtp_reply reply;
	for (size_t cut = 0; cut <= in.len; cut++) {
		size_t first = 0, second = 0;
		smtp_reply_reset(&reply);
		int err = smtp_reply_push(&reply, span_sub(in, 0, cut), &first);
		assert_int_equal(err, cut < in.len - rest ? ERR_AGAIN : 0);
		assert_int_equal(smtp_reply_push(&reply, span_sub(in, first, in.len), &second), 0);
		assert_int_equal(first + second, in.len - rest);
		assert_int_equal(reply.code, code);
		assert_string_equal(reply.enhanced, enhanced);
		assert_true(span_eq(smtp_reply_span(&reply), span_of(text)));
		assert_false(reply.is_cut);
	}
	smtp_reply_reset(&reply);
	for (size_t i = 0; i < in.len - rest; i++) {
		size_t used = 0;
		assert_int_equal(smtp_reply_push(&reply, span_sub(in, i, i + 1), &used), i + 1 < in.len - rest ? ERR_AGAIN : 0);
		assert_int_equal(used, 1);
	}
	assert_true(span_eq(smtp_reply_span(&reply), span_of(text)));
}

static void test_read(void **unused)
{
	(void)unused;
	expect_read(SPAN_LIT("250 ok\r\n"), 250, "", "ok", 0);
	expect_read(SPAN_LIT("250 ok\r\n354 go\r\n"), 250, "", "ok", 8);
	expect_read(SPAN_LIT("250\r\n"), 250, "", "", 0);
	expect_read(SPAN_LIT("250\n"), 250, "", "", 0);
	expect_read(SPAN_LIT("250-a\n250\n"), 250, "", "a\n", 0);
	expect_read(SPAN_LIT("220-a\r\n220-\r\n220 b\r\n"), 220, "", "a\n\nb", 0);
	expect_read(SPAN_LIT("550-5.7.1 a\r\n550 5.7.1 b c\r\n"), 550, "5.7.1", "a\nb c", 0);
	expect_read(SPAN_LIT("550 5.123.456\r\n"), 550, "5.123.456", "", 0);
	expect_read(SPAN_LIT("550 4.1.1 no\r\n"), 550, "", "4.1.1 no", 0);
	expect_read(SPAN_LIT("550 5.1.1x\r\n"), 550, "", "5.1.1x", 0);
	expect_read(SPAN_LIT("550 5.1234.1 x\r\n"), 550, "", "5.1234.1 x", 0);
	expect_read(SPAN_LIT("250 a\x1b\xff\tb\rc\r\n"), 250, "", "a???bc", 0);
}

static void expect_broken(struct span in)
{
	static struct smtp_reply reply;
	size_t used;
	smtp_reply_reset(&reply);
	assert_int_equal(smtp_reply_push(&reply, in, &used), ERR_PROTO);
	smtp_reply_reset(&reply);
	int err = ERR_AGAIN;
	for (size_t i = 0; i < in.len && err == ERR_AGAIN; i++)
		err = smtp_reply_push(&reply, span_sub(in, i, i + 1), &used);
	assert_int_equal(err, ERR_PROTO);
}

static void test_broken(void **unused)
{
	(void)unused;
	expect_broken(SPAN_LIT("\r\n"));
	expect_broken(SPAN_LIT("\n"));
	expect_broken(SPAN_LIT("25\r\n"));
	expect_broken(SPAN_LIT("25\n"));
	expect_broken(SPAN_LIT("2500 ok\r\n"));
	expect_broken(SPAN_LIT("150 ok\r\n"));
	expect_broken(SPAN_LIT("650 ok\r\n"));
	expect_broken(SPAN_LIT("HTTP/1.1 400 Bad Request\r\n"));
	expect_broken(SPAN_LIT(" 250 ok\r\n"));
	expect_broken(SPAN_LIT("250 o\0k\r\n"));
	expect_broken(SPAN_LIT("250-a\r\n251 b\r\n"));
	expect_broken(SPAN_LIT("250-a\r\nb\r\n"));
}

static int push_many(struct smtp_reply *reply, struct span piece, unsigned count)
{
	size_t used;
	int err = ERR_AGAIN;
	while (count-- > 0 && err == ERR_AGAIN)
		err = smtp_reply_push(reply, piece, &used);
	return err;
}

static void test_caps_of_reading(void **unused)
{
	(void)unused;
	static struct smtp_reply reply;
	smtp_reply_reset(&reply);
	assert_int_equal(push_many(&reply, SPAN_LIT("250-x\r\n"), 128), ERR_AGAIN);
	assert_int_equal(push_many(&reply, SPAN_LIT("250 x\r\n"), 1), ERR_PROTO);
	smtp_reply_reset(&reply);
	assert_int_equal(push_many(&reply, SPAN_LIT("250 "), 1), ERR_AGAIN);
	assert_int_equal(push_many(&reply, SPAN_LIT("\r"), SMTP_REPLY_READ_LINE_CAP), ERR_PROTO);
	smtp_reply_reset(&reply);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(push_many(&reply, SPAN_LIT("550-5.0.0 "), 1), ERR_AGAIN);
		assert_int_equal(push_many(&reply, SPAN_LIT("0123456789"), 150), ERR_AGAIN);
		assert_int_equal(push_many(&reply, SPAN_LIT("\r\n"), 1), ERR_AGAIN);
	}
	assert_int_equal(push_many(&reply, SPAN_LIT("550 5.0.0 end\r\n"), 1), 0);
	assert_true(reply.is_cut);
	assert_int_equal(reply.text_len, SMTP_REPLY_TEXT_CAP);
	assert_int_equal(reply.line_count, 6);
}

static struct smtp_caps caps_of(struct span ehlo)
{
	static struct smtp_reply reply;
	struct smtp_caps caps;
	size_t used;
	smtp_reply_reset(&reply);
	assert_int_equal(smtp_reply_push(&reply, ehlo, &used), 0);
	smtp_caps_parse(&reply, &caps);
	return caps;
}

static void test_ehlo(void **unused)
{
	(void)unused;
	struct smtp_caps caps = caps_of(SPAN_LIT("250 SIZE\r\n"));
	assert_int_equal(caps.offered, 0);
	caps = caps_of(SPAN_LIT(
		"250-mx.example SIZE\r\n250-PIPELINING\r\n250-size 10240000\r\n250-8bitmime\r\n250-DSN\r\n250-AUTH PLAIN\r\n"
		"250-XFORWARD NAME ADDR PORT PROTO HELO SOURCE NEW\r\n250-XCLIENT name destaddr\r\n250-\r\n250 CHUNKING\r\n"));
	assert_int_equal(caps.offered, SMTP_CAP_PIPELINING | SMTP_CAP_SIZE | SMTP_CAP_8BITMIME | SMTP_CAP_DSN | SMTP_CAP_XFORWARD |
					       SMTP_CAP_XCLIENT | SMTP_CAP_CHUNKING);
	assert_int_equal(caps.size_limit, 10240000);
	assert_int_equal(caps.xforward,
			 SMTP_ATTR_NAME | SMTP_ATTR_ADDR | SMTP_ATTR_PORT | SMTP_ATTR_PROTO | SMTP_ATTR_HELO | SMTP_ATTR_SOURCE);
	assert_int_equal(caps.xclient, SMTP_ATTR_NAME | SMTP_ATTR_DESTADDR);
	caps = caps_of(
		SPAN_LIT("250-mx\r\n250-SIZE many\r\n250-STARTTLS\r\n250-SMTPUTF8 \r\n250-DSNX\r\n250 ENHANCEDSTATUSCODES\r\n"));
	assert_int_equal(caps.offered, SMTP_CAP_SIZE | SMTP_CAP_STARTTLS | SMTP_CAP_SMTPUTF8 | SMTP_CAP_ENHANCEDSTATUSCODES);
	assert_int_equal(caps.size_limit, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write), cmocka_unit_test(test_write_beyond_the_cap), cmocka_unit_test(test_write_long),
		cmocka_unit_test(test_read),  cmocka_unit_test(test_broken),     cmocka_unit_test(test_caps_of_reading),
		cmocka_unit_test(test_ehlo),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
