/* Reports to senders: the encodings in them, and what is chosen when. tests/e2e/test_reports.py has them parsed by others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "dsn.h"
#include "dsn_text.h"

static void expect(struct buf *out, const char *text)
{
	if (!span_eq(buf_span(out), span_of(text)))
		fail_msg("'%.*s' instead of '%s'", SPAN_FMT(buf_span(out)), text);
	buf_free(out);
}

static void what_is_utf8(void **state)
{
	static const char *const good[] = { "\xc3\xa4", "a\xe2\x82\xac", "\xf0\x9f\x90\xb4", "\xf4\x8f\xbf\xbf", "\xc2\xa0" };
	static const char *const bad[] = { "",		   "ascii",	   "\xc3",	   "\xa4",	   "\xc3\x28",	       "\xc0\xaf",	   "\xe0\x80\xaf",
					   "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\xff",	   "\xc2\x85",	   "\xc3\xa4\n",	   "\xc3\xa4\x7f" };
	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(dsn_text_is_utf8(span_of(good[i])));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(dsn_text_is_utf8(span_of(bad[i])));
	/* Cut anywhere but between two characters it is none. */
	struct span text = SPAN_LIT("\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb4");
	for (size_t cut = 0; cut <= text.len; cut++)
		assert_int_equal(dsn_text_is_utf8(span_sub(text, 0, cut)), cut == 2 || cut == 5 || cut == 9);
}

static void addresses(void **state)
{
	struct buf out = { 0 };
	char longest[600];
	(void)state;
	assert_int_equal(dsn_text_address(&out, SPAN_LIT("b+c@example.org"), false), 0);
	expect(&out, "rfc822;b+c@example.org");
	assert_int_equal(dsn_text_address(&out, SPAN_LIT("a+\xc3\xa4@\xe2\x82\xac.example"), false), 0);
	expect(&out, "utf-8;a\\x{2B}\\x{E4}@\\x{20AC}.example");
	assert_int_equal(dsn_text_address(&out, SPAN_LIT("a+\xc3\xa4@\xe2\x82\xac.example"), true), 0);
	expect(&out, "utf-8;a+\xc3\xa4@\xe2\x82\xac.example");
	/* Latin 1, and a line end. */
	assert_int_equal(dsn_text_address(&out, SPAN_LIT("gr\xfc\xdf@x\r\nX: y"), true), 0);
	expect(&out, "rfc822;gr??@x??X: y");
	for (size_t i = 0; i < sizeof longest; i++)
		longest[i] = i % 2 ? '\xa4' : '\xc3';
	assert_int_equal(dsn_text_address(&out, (struct span){ longest, sizeof longest }, false), 0);
	assert_true(out.len < DSN_LINE_CAP - 40);
	assert_memory_equal(out.data, "rfc822;??", 9);
	buf_free(&out);
}

/* The other way round, as any reader does it. */
static void undo_qp(struct span text, struct buf *out)
{
	struct span line;
	while (text.len > 0 && span_cut(&text, '\n', &line)) {
		assert_true(line.len > 0 && line.len <= 77 && line.ptr[line.len - 1] == '\r');
		line.len--;
		assert_true(line.len == 0 || (line.ptr[0] != '.' && line.ptr[line.len - 1] != ' ' && line.ptr[line.len - 1] != '\t'));
		bool is_soft = line.len > 0 && line.ptr[line.len - 1] == '=';
		for (size_t i = 0; i + is_soft < line.len; i++) {
			assert_true((line.ptr[i] >= ' ' && line.ptr[i] <= '~') || line.ptr[i] == '\t');
			char c = line.ptr[i];
			if (c == '=') {
				char hex[3] = { line.ptr[i + 1], line.ptr[i + 2], 0 };
				c = (char)strtoul(hex, NULL, 16);
				i += 2;
			}
			assert_int_equal(buf_append(out, &c, 1), 0);
		}
		if (!is_soft)
			assert_int_equal(buf_append(out, "\r\n", 2), 0);
	}
}

static void quoted_printable(void **state)
{
	struct buf out = { 0 }, back = { 0 }, lines = { 0 };
	(void)state;
	assert_int_equal(dsn_text_quoted_printable(&out, SPAN_LIT("Subject: gr\xfc\xdf = \t\r\n..dot\r\n\r\n")), 0);
	expect(&out, "Subject: gr=FC=DF =3D =09\r\n=2Edot\r\n\r\n");
	/* Every length, so that every byte comes to stand at every place of a broken line. */
	static const char bytes[] = "abc. \t=\xe4";
	for (size_t len = 0; len < 400; len++) {
		buf_clear(&out);
		buf_clear(&lines);
		buf_clear(&back);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(buf_append(&lines, &bytes[(i * 5 + len + i / 7) % 8], 1), 0);
		bool is_stuffed = len > 0 && lines.data[0] == '.';
		assert_int_equal(buf_append(&lines, "\r\n", 2), 0);
		if (is_stuffed) {
			struct buf doubled = { 0 };
			assert_int_equal(buf_append(&doubled, ".", 1), 0);
			assert_int_equal(buf_append_span(&doubled, buf_span(&lines)), 0);
			assert_int_equal(dsn_text_quoted_printable(&out, buf_span(&doubled)), 0);
			buf_free(&doubled);
		} else {
			assert_int_equal(dsn_text_quoted_printable(&out, buf_span(&lines)), 0);
		}
		undo_qp(buf_span(&out), &back);
		assert_true(span_eq(buf_span(&back), buf_span(&lines)));
	}
	buf_free(&out);
	buf_free(&back);
	buf_free(&lines);
}

/* ---- whole reports */

static struct spool_recipient to = { .path = SPAN_LIT("b@example.org") };
static struct dsn_recipient about = { .recipient = &to, .status = SPAN_LIT("5.1.1"), .reply = SPAN_LIT("550 5.1.1 no"), .code = 550 };

static struct buf report_of(struct spool_envelope *original, struct span body, struct span remote)
{
	struct buf out = { 0 };
	original->recipients = &to;
	original->recipient_count = 1;
	struct dsn_report report = { .kind = DSN_FAILED,
				     .hostname = SPAN_LIT("fw.example.net"),
				     .remote = remote,
				     .original = original,
				     .now = 1700000000,
				     .recipients = &about,
				     .count = 1,
				     .original_body = body,
				     .is_body_whole = true };
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &report.id), 0);
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abce"), &report.original_id), 0);
	assert_int_equal(dsn_write(&report, &out), 0);
	assert_true(dsn_text_is_short(buf_span(&out)));
	return out;
}

/* One report in full. */
static void transcript(void **state)
{
	static const char expected[] = "From: Mail Delivery System <MAILER-DAEMON@fw.example.net>\r\n"
				       "To: <a@example.net>\r\n"
				       "Subject: Undelivered mail returned to sender\r\n"
				       "Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
				       "Message-ID: <0123456789abcd@fw.example.net>\r\n"
				       "Auto-Submitted: auto-replied\r\n"
				       "MIME-Version: 1.0\r\n"
				       "Content-Type: multipart/report; report-type=delivery-status;\r\n"
				       "\tboundary=\"0123456789abcd.dsn\"\r\n"
				       "\r\n"
				       "--0123456789abcd.dsn\r\n"
				       "Content-Type: text/plain; charset=us-ascii\r\n"
				       "\r\n"
				       "This is the mail system at fw.example.net.\r\n"
				       "\r\n"
				       "Your message could not be delivered to the recipients below. It will not be\r\n"
				       "tried again. The reason each server gave stands with each recipient.\r\n"
				       "\r\n"
				       "<b@example.org>:\r\n"
				       "    550 5.1.1 no\r\n"
				       "\r\n"
				       "--0123456789abcd.dsn\r\n"
				       "Content-Type: message/delivery-status\r\n"
				       "\r\n"
				       "Original-Envelope-Id: QQ+1\r\n"
				       "Reporting-MTA: dns;fw.example.net\r\n"
				       "Received-From-MTA: dns;client.example.net\r\n"
				       "Arrival-Date: Tue, 14 Nov 2023 22:12:00 +0000\r\n"
				       "X-Postern-Id: 0123456789abce\r\n"
				       "\r\n"
				       "Original-Recipient: rfc822;x+y@example.org\r\n"
				       "Final-Recipient: rfc822;b@example.org\r\n"
				       "Action: failed\r\n"
				       "Status: 5.1.1\r\n"
				       "Remote-MTA: dns;mx.example.org\r\n"
				       "Diagnostic-Code: smtp;550 5.1.1 no\r\n"
				       "Last-Attempt-Date: Tue, 14 Nov 2023 22:13:20 +0000\r\n"
				       "\r\n"
				       "--0123456789abcd.dsn\r\n"
				       "Content-Type: message/rfc822\r\n"
				       "\r\n"
				       "Subject: x\r\n"
				       "\r\n"
				       "..dot\r\n"
				       "\r\n"
				       "--0123456789abcd.dsn--\r\n"
				       ".\r\n";
	struct spool_envelope original = { .from = SPAN_LIT("a@example.net"),
					   .envid = SPAN_LIT("QQ+2B1"),
					   .helo = SPAN_LIT("client.example.net"),
					   .time = 1699999920 };
	(void)state;
	to.orcpt = SPAN_LIT("rfc822;x+2By@example.org");
	struct buf out = report_of(&original, SPAN_LIT("Subject: x\r\n\r\n..dot\r\n.\r\n"), SPAN_LIT("mx.example.org[192.0.2.1]:25"));
	to.orcpt = SPAN_NONE;
	expect(&out, expected);
}

static bool has(const struct buf *out, const char *text)
{
	return memmem(out->data, out->len, text, strlen(text)) != NULL;
}

static void expect_part(struct spool_envelope *original, struct span body, const char *with, const char *without)
{
	struct buf out = report_of(original, body, SPAN_LIT("mx.example.org[192.0.2.1]:25"));
	if (!has(&out, with) || (without && has(&out, without)))
		fail_msg("'%s' but not '%s' in: %.*s", with, without ? without : "", SPAN_FMT(buf_span(&out)));
	buf_free(&out);
}

static void what_is_returned(void **state)
{
	struct spool_envelope plain = { .from = SPAN_LIT("a@example.net") }, brief = plain, global = plain;
	char wide[1200];
	(void)state;
	brief.ret = SPOOL_RET_HDRS;
	global.from = SPAN_LIT("\xc3\xa4@example.net");
	struct span ascii = SPAN_LIT("Subject: x\r\n\r\ntext\r\n.\r\n"), eight = SPAN_LIT("Subject: x\r\n\r\ngr\xc3\xbc\xc3\x9f\r\n.\r\n"),
		    odd = SPAN_LIT("Subject: gr\xfc\xdf\r\n\r\ntext\r\n.\r\n");
	expect_part(&plain, ascii, "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\ntext\r\n\r\n--", "Content-Transfer-Encoding");
	expect_part(&plain, eight, "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\nSubject: x\r\n\r\ngr\xc3", NULL);
	expect_part(&plain, eight, "MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n", "message/global");
	expect_part(&brief, eight, "Content-Type: text/rfc822-headers\r\n\r\nSubject: x\r\n\r\n--", "8bit");
	expect_part(&brief, odd, "text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nSubject: gr=FC=DF\r\n", "8bit");
	expect_part(&global, eight, "Content-Type: message/global\r\n", "message/rfc822");
	expect_part(&global, ascii, "Content-Type: message/rfc822\r\n", "us-ascii");
	expect_part(&global, ascii, "Content-Type: message/global-delivery-status\r\nContent-Transfer-Encoding: 8bit\r\n", NULL);
	expect_part(&global, ascii, "To: <\xc3\xa4@example.net>\r\n", NULL);
	/* A line that no mail may have: the header goes back alone, and a header like that encoded. */
	memset(wide, 'w', sizeof wide);
	memcpy(wide, "Subject: x\r\n\r\n", 14);
	memcpy(wide + sizeof wide - 5, "\r\n.\r\n", 5);
	expect_part(&plain, (struct span){ wide, sizeof wide }, "text/rfc822-headers\r\n\r\nSubject: x\r\n", "www");
	memcpy(wide, "Subject: x\r\nX:", 14);
	memcpy(wide + sizeof wide - 5, "\r\n\r\n", 4);
	expect_part(&plain, (struct span){ wide, sizeof wide - 1 }, "quoted-printable\r\n\r\nSubject: x\r\nX:www", NULL);
	/* One that knew the id. */
	struct span planted = SPAN_LIT("Subject: x\r\n\r\n--0123456789abcd.dsn\r\nContent-Type: text/html\r\n\r\nx\r\n.\r\n");
	expect_part(&plain, planted, "boundary=\"0123456789abcd.dsnx\"", "boundary=\"0123456789abcd.dsn\"");
}

static void who_spoke(void **state)
{
	static const struct {
		const char *remote, *field;
	} cases[] = { { "mx.example.org[192.0.2.1]:25", "Remote-MTA: dns;mx.example.org\r\n" },
		      { "192.0.2.1:25", "Remote-MTA: dns;[192.0.2.1]\r\n" },
		      { "[2001:db8::1]:25", "Remote-MTA: dns;[IPv6:2001:db8::1]\r\n" },
		      { "/run/dovecot/lmtp", "Remote-MTA: x-unix;/run/dovecot/lmtp\r\n" } };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct spool_envelope original = { .from = SPAN_LIT("a@example.net") };
		struct buf out = report_of(&original, SPAN_NONE, span_of(cases[i].remote));
		if (!has(&out, cases[i].field))
			fail_msg("no %s", cases[i].field);
		buf_free(&out);
	}
}

/* The longest that any envelope and any server can make it: it fits, and stays within what a report may have. */
static void ten_thousand_recipients(void **state)
{
	char path[512], orcpt[520], reply[512];
	struct dsn_recipient *list = calloc(SPOOL_RECIPIENTS_CAP, sizeof *list);
	struct spool_recipient one = { .path = { path, sizeof path }, .orcpt = { orcpt, sizeof orcpt } };
	struct spool_envelope original = { .from = SPAN_LIT("a@example.net"), .recipients = &one, .recipient_count = 1 };
	struct buf out = { .cap = 32u << 20 };
	(void)state;
	memset(path, 'p', sizeof path);
	memset(orcpt, 'o', sizeof orcpt);
	memset(reply, 'r', sizeof reply);
	memcpy(orcpt, "rfc822;", 7);
	assert_non_null(list);
	for (size_t i = 0; i < SPOOL_RECIPIENTS_CAP; i++)
		list[i] = (struct dsn_recipient){ &one, SPAN_LIT("5.123.456"), { reply, sizeof reply }, 550 };
	struct dsn_report report = { .kind = DSN_DELAYED, .hostname = SPAN_LIT("fw.example.net"), .remote = SPAN_LIT("mx"), .original = &original,
				     .now = 1700000000, .expires = 1800000000, .recipients = list, .count = SPOOL_RECIPIENTS_CAP };
	assert_int_equal(dsn_write(&report, &out), 0);
	assert_true(dsn_text_is_short(buf_span(&out)));
	assert_true(has(&out, "and 9900 more"));
	size_t fields = 0;
	struct span rest = buf_span(&out), line;
	while (span_cut(&rest, '\n', &line))
		fields += span_starts_nocase(line, SPAN_LIT("Final-Recipient: "));
	assert_int_equal(fields, SPOOL_RECIPIENTS_CAP);
	buf_free(&out);
	free(list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_utf8),	    cmocka_unit_test(addresses), cmocka_unit_test(quoted_printable),
		cmocka_unit_test(transcript),
		cmocka_unit_test(what_is_returned), cmocka_unit_test(who_spoke), cmocka_unit_test(ten_thousand_recipients),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
