/* The packets of the milter protocol: written as sendmail writes them, read whole, cut everywhere and with every length wrong. */
#include "milter_packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "milter_macros.h"
#include "milter_refusal.h"

static void expect_bytes(struct buf *out, struct span expected)
{
	assert_int_equal(out->len, expected.len);
	assert_memory_equal(out->data, expected.ptr, expected.len);
	buf_free(out);
}

static void test_read_cut_everywhere(void **unused)
{
	static const struct span two = SPAN_LIT("\0\0\0\x05yab\0c\0\0\0\x01""c");
	struct milter_packet packet;
	size_t used;
	(void)unused;
	for (size_t len = 0; len < 9; len++)
		assert_int_equal(milter_packet_read(span_sub(two, 0, len), &packet, &used), ERR_AGAIN);
	for (size_t len = 9; len <= two.len; len++) {
		assert_int_equal(milter_packet_read(span_sub(two, 0, len), &packet, &used), 0);
		assert_int_equal(used, 9);
		assert_int_equal(packet.command, 'y');
		assert_true(span_eq(packet.data, SPAN_LIT("ab\0c")));
	}
	assert_int_equal(milter_packet_read(span_sub(two, 9, two.len), &packet, &used), 0);
	assert_int_equal(used, 5);
	assert_int_equal(packet.data.len, 0);
}

static void test_lengths_that_are_none(void **unused)
{
	struct milter_packet packet;
	size_t used;
	(void)unused;
	assert_int_equal(milter_packet_read(SPAN_LIT("\0\0\0\0"), &packet, &used), ERR_PROTO);
	assert_int_equal(milter_packet_read(SPAN_LIT("\0\x10\0\x01"), &packet, &used), ERR_PROTO);
	assert_int_equal(milter_packet_read(SPAN_LIT("\xff\xff\xff\xff"), &packet, &used), ERR_PROTO);
	assert_int_equal(milter_packet_read(SPAN_LIT("\0\x10\0\0"), &packet, &used), ERR_AGAIN);
}

static void test_options(void **unused)
{
	static const struct span plain = SPAN_LIT("\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff");
	static const struct span lists = SPAN_LIT("\0\0\0\x06\0\0\0\x01\0\0\0\0\0\0\0\x05{a} i\0\0\0\0\x03\0\0\0\0\x63x\0");
	struct milter_options options;
	struct buf out = { 0 };
	(void)unused;
	assert_int_equal(milter_options_read(plain, &options), 0);
	assert_int_equal(options.actions, MILTER_ACTIONS);
	assert_int_equal(options.steps, MILTER_STEPS);
	assert_null(options.macros[MILTER_AT_MAIL].ptr);
	assert_int_equal(milter_options_read(lists, &options), 0);
	assert_true(span_eq(options.macros[MILTER_AT_END], SPAN_LIT("{a} i")));
	/* An empty list is a list: no macros. */
	assert_non_null(options.macros[MILTER_AT_RCPT].ptr);
	assert_int_equal(options.macros[MILTER_AT_RCPT].len, 0);
	for (size_t len = 0; len < lists.len; len++) {
		bool is_whole = len == 12 || len == 22 || len == 27;
		assert_int_equal(milter_options_read(span_sub(lists, 0, len), &options), is_whole ? 0 : ERR_PROTO);
	}
	assert_int_equal(milter_options_read(SPAN_LIT("\0\0\0\x01\0\0\0\0\0\0\0\0"), &options), ERR_PROTO);
	assert_int_equal(milter_options_write(&out, MILTER_ACTIONS, MILTER_STEPS), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x0dO\0\0\0\x06\0\0\x01\xff\0\x1f\xff\xff"));
}

/* data is right as a whole, and nothing shorter or longer is. */
static void check_change(enum milter_reply command, struct span data, uint32_t index, const char *first, const char *second)
{
	struct milter_packet packet = { (char)command, data };
	struct milter_change change;
	assert_int_equal(milter_change_read(&packet, &change), 0);
	assert_int_equal(change.index, index);
	assert_true(span_eq(change.first, span_of(first)));
	assert_true(span_eq(change.second, span_of(second)));
	if (command == MILTER_REPLACE_BODY)
		return;
	for (size_t len = 0; len < data.len; len++) {
		packet.data = span_sub(data, 0, len);
		/* The arguments of an address may be left out. */
		bool is_whole = (command == MILTER_CHANGE_FROM || command == MILTER_ADD_RCPT_PAR) && len == strlen(first) + 1;
		assert_int_equal(milter_change_read(&packet, &change), is_whole ? 0 : ERR_PROTO);
	}
	char longer[64];
	memcpy(longer, data.ptr, data.len);
	longer[data.len] = 'x';
	packet.data = (struct span){ longer, data.len + 1 };
	assert_int_equal(milter_change_read(&packet, &change), ERR_PROTO);
}

static void test_changes(void **unused)
{
	(void)unused;
	check_change(MILTER_ADD_HEADER, SPAN_LIT("X-A\0v\0"), 0, "X-A", "v");
	check_change(MILTER_INSERT_HEADER, SPAN_LIT("\0\0\0\x01X-A\0v\0"), 1, "X-A", "v");
	check_change(MILTER_CHANGE_HEADER, SPAN_LIT("\0\0\x01\0X-A\0\0"), 256, "X-A", "");
	check_change(MILTER_CHANGE_FROM, SPAN_LIT("<a@b>\0RET=HDRS\0"), 0, "<a@b>", "RET=HDRS");
	check_change(MILTER_ADD_RCPT_PAR, SPAN_LIT("<a@b>\0NOTIFY=NEVER\0"), 0, "<a@b>", "NOTIFY=NEVER");
	check_change(MILTER_ADD_RCPT, SPAN_LIT("<a@b>\0"), 0, "<a@b>", "");
	check_change(MILTER_DEL_RCPT, SPAN_LIT("<a@b>\0"), 0, "<a@b>", "");
	check_change(MILTER_QUARANTINE, SPAN_LIT("spam\0"), 0, "spam", "");
	check_change(MILTER_REPLY_CODE, SPAN_LIT("550 no\0"), 0, "550 no", "");
	check_change(MILTER_REPLACE_BODY, SPAN_LIT("any bytes"), 0, "any bytes", "");
	check_change(MILTER_CONTINUE, SPAN_LIT(""), 0, "", "");
}

static void test_written_as_sendmail_does(void **unused)
{
	const struct span mail[] = { SPAN_LIT("<a@b>"), SPAN_LIT("SIZE=10") };
	char *big = malloc(MILTER_CHUNK_BYTES + 1);
	struct buf out = { 0 };
	(void)unused;
	memset(big, 'x', MILTER_CHUNK_BYTES + 1);
	assert_int_equal(milter_connect_write(&out, SPAN_LIT("mail.example"), '4', 0x1234, SPAN_LIT("192.0.2.1")), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x1b""Cmail.example\0""4\x12\x34""192.0.2.1\0"));
	assert_int_equal(milter_connect_write(&out, SPAN_LIT("x"), 'U', 1, SPAN_LIT("y")), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x04""Cx\0U"));
	assert_int_equal(milter_command_write(&out, MILTER_MAIL, mail, 2), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x0fM<a@b>\0SIZE=10\0"));
	assert_int_equal(milter_command_write(&out, MILTER_HEADERS_END, NULL, 0), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x01N"));
	/* A NUL of the client's ends its text, and no more. */
	assert_int_equal(milter_command_write(&out, MILTER_HELO, &SPAN_LIT("a\0b"), 1), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x03Ha\0"));
	assert_int_equal(milter_body_head_write(&out, MILTER_CHUNK_BYTES), 0);
	expect_bytes(&out, SPAN_LIT("\0\x01\0\0""B"));
	assert_int_equal(milter_body_head_write(&out, MILTER_CHUNK_BYTES + 1), ERR_TOOLONG);
	const struct span texts[] = { { big, MILTER_CHUNK_BYTES - 1 }, { big, MILTER_CHUNK_BYTES } };
	assert_int_equal(milter_command_write(&out, MILTER_HELO, texts, 1), 0);
	assert_int_equal(milter_command_write(&out, MILTER_HELO, texts + 1, 1), ERR_TOOLONG);
	assert_int_equal(out.len, MILTER_CHUNK_BYTES + MILTER_HEAD_BYTES);
	buf_free(&out);
	free(big);
}

static void test_macros(void **unused)
{
	struct milter_facts facts = { .hostname = SPAN_LIT("fw.example"), .id = SPAN_LIT("7"), .from = SPAN_LIT("a@b.example"), .helo = SPAN_LIT("h") };
	const struct milter_moment rcpt = { .rcpt = SPAN_LIT("c@d.example") }, none = { .rcpts = 2 };
	const struct milter_moment refused = { .rcpt = SPAN_LIT("c@d.example"), .rcpt_refusal = SPAN_LIT("550 5.1.1 no such user") };
	struct buf out = { 0 };
	(void)unused;
	assert_int_equal(addr_parse(SPAN_LIT("192.0.2.1"), &facts.client.addr), 0);
	facts.client.port = 4711;
	assert_int_equal(milter_macros_write(&out, MILTER_AT_RCPT, MILTER_RCPT, SPAN_NONE, &facts, &rcpt), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x47""DRi\0""7\0{rcpt_addr}\0c@d.example\0{rcpt_host}\0d.example\0{rcpt_mailer}\0smtp\0"));
	assert_int_equal(milter_macros_write(&out, MILTER_AT_RCPT, MILTER_RCPT, SPAN_LIT("{rcpt_mailer},{rcpt_host} rcpt_addr"), &facts, &refused), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x41""DR{rcpt_mailer}\0error\0{rcpt_host}\0""5.1.1\0{rcpt_addr}\0no such user\0"));
	assert_int_equal(milter_macros_write(&out, MILTER_AT_HELO, MILTER_HELO, SPAN_LIT("{_} client_port {unheard_of} {nrcpts}"), &facts, &none), 0);
	expect_bytes(&out, SPAN_LIT("\0\0\0\x2e""DH_\0[192.0.2.1]\0{client_port}\0""4711\0{nrcpts}\0""2\0"));
	/* Nothing known, nothing wanted: no packet. */
	const struct milter_facts later = { .proto = SPAN_LIT("ESMTP"), .time = 86400 * 365 };
	size_t start = out.len;
	assert_int_equal(milter_macros_write(&out, MILTER_AT_MAIL, MILTER_MAIL, SPAN_LIT("r Z {b}"), &later, &none), 0);
	static const char head[] = "DMr\0ESMTP\0Z\0" POSTERN_VERSION "\0b\0";
	struct span date = span_sub(buf_span(&out), start + 4 + sizeof head - 1, out.len - 1);
	assert_memory_equal(out.data + start + 4, head, sizeof head - 1);
	/* "Fri, 01 Jan 1971 00:00:00 +0000" or what that is here. */
	assert_int_equal(date.len, 31);
	assert_true(span_find(date, ',', 0) == 3 && date.ptr[16] == ' ' && strchr("+-", date.ptr[26]));
	out.len = start;
	assert_int_equal(milter_macros_write(&out, MILTER_AT_HELO, MILTER_HELO, SPAN_LIT("{cipher}"), &facts, &none), 0);
	assert_int_equal(milter_macros_write(&out, MILTER_AT_HELO, MILTER_HELO, SPAN_LIT(""), &facts, &none), 0);
	assert_int_equal(out.len, 0);
	buf_free(&out);
}

static void check_refusal(const char *said, unsigned code, const char *enhanced, const char *text)
{
	struct milter_refusal refusal;
	char line[MILTER_REFUSAL_LINE_CAP];
	assert_int_equal(milter_refusal_read(span_of(said), &refusal), 0);
	assert_int_equal(refusal.code, code);
	assert_string_equal(refusal.enhanced, enhanced);
	assert_string_equal(refusal.text, text);
	assert_false(strpbrk(milter_refusal_line(&refusal, line), "\r\n"));
}

static void test_refusals(void **unused)
{
	static const char *const none[] = { "", "5", "250 2.0.0 fine", "354 go on", "600 no", "55x no", "5500 no", "-550", "\r\n" };
	static char endless[20000];
	struct milter_refusal refusal;
	(void)unused;
	check_refusal("550 5.7.1 no", 550, "5.7.1", "no");
	check_refusal("451 later", 451, "", "later");
	check_refusal("554-5.7.1 one\r\n554 5.7.1 two", 554, "5.7.1", "one\ntwo");
	check_refusal("550 5.7.1 100%% sure, 50% not", 550, "5.7.1", "100% sure, 50% not");
	check_refusal("421 4.3.2 bye", 421, "4.3.2", "bye");
	/* However the rest looks, it has refused. */
	check_refusal("550", 550, "", "Refused by a content filter");
	check_refusal("550 \r\n", 550, "", "Refused by a content filter");
	check_refusal("550\r\n550 5.7.1 no", 550, "5.7.1", "no");
	check_refusal("550-a", 550, "", "a");
	check_refusal("550 a\r\nb", 550, "", "a\nb");
	check_refusal("550 a\rRCPT\n\nb", 550, "", "a\nRCPT\nb");
	check_refusal("550-5.7.1 a\r\n450 4.7.1 b\r\n250 ok", 550, "5.7.1", "a\nb\n250 ok");
	check_refusal("451 5.7.1 no", 451, "", "no");
	check_refusal("550 5.7 is the version", 550, "", "5.7 is the version");
	check_refusal("550 4.7.1x", 550, "", "4.7.1x");
	check_refusal("550 a\tb\x1b[31m\xc3\xa9%", 550, "", "a?b?[31m??%");
	memset(endless, 'x', sizeof endless - 1);
	memcpy(endless, "550 5.7.1 ", 10);
	assert_int_equal(milter_refusal_read(span_of(endless), &refusal), 0);
	assert_string_equal(refusal.enhanced, "5.7.1");
	assert_int_equal(strlen(refusal.text), MILTER_REFUSAL_TEXT_CAP - 1);
	for (size_t i = 10; i + 2 < sizeof endless; i += 2)
		memcpy(endless + i, "a\n", 2);
	assert_int_equal(milter_refusal_read(span_of(endless), &refusal), 0);
	assert_int_equal(refusal.code, 550);
	for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
		assert_int_equal(milter_refusal_read(span_of(none[i]), &refusal), ERR_PROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read_cut_everywhere), cmocka_unit_test(test_lengths_that_are_none), cmocka_unit_test(test_options),
		cmocka_unit_test(test_changes), cmocka_unit_test(test_written_as_sendmail_does), cmocka_unit_test(test_macros),
		cmocka_unit_test(test_refusals),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
