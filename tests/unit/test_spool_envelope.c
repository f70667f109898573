/* Envelope lines: what goes in comes out, whatever bytes a peer chose; nothing that is cut or changed is taken for something else. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "envelope.h"
#include "err.h"

static struct spool_envelope full(void)
{
	static struct spool_recipient recipients[] = {
		{ .path = SPAN_LIT("plain@example.org") },
		{ .path = SPAN_LIT("\"odd > < \\name\xc3\xa9\"@example.org"), .notify = SPOOL_NOTIFY_SUCCESS | SPOOL_NOTIFY_DELAY,
		  .orcpt = SPAN_LIT("rfc822;a+2Bb@example.org"), .extra = SPAN_LIT("FUTURE=x\\x20y OTHER=1") },
		{ .path = SPAN_LIT("c@[192.0.2.1]"), .notify = SPOOL_NOTIFY_NEVER },
	};
	static struct spool_extra extras[] = { { SPAN_LIT("SPF"), SPAN_LIT("pass with  spaces ") }, { SPAN_LIT("X-1"), SPAN_LIT("") } };
	struct spool_envelope e = {
		.from = SPAN_LIT("from@example.com"), .recipients = recipients, .recipient_count = 3, .iface = SPAN_LIT("wan"),
		.listener = SPAN_LIT("outside"), .client_name = SPAN_LIT("mail.example.com"), .helo = SPAN_LIT("\x01\x7f\xff \\x41"),
		.proto = SPAN_LIT("ESMTPS"), .tls = SPAN_LIT("TLSv1.3 TLS_AES_256_GCM_SHA384"), .ident = SPAN_LIT("joe"), .is_trusted = true,
		.time = 1700000000, .body = SPOOL_BODY_8BITMIME, .ret = SPOOL_RET_HDRS, .envid = SPAN_LIT("QQ314159"),
		.extras = extras, .extra_count = 2,
	};
	assert_int_equal(endpoint_parse(SPAN_LIT("192.0.2.7:4711"), &e.client), 0);
	assert_int_equal(endpoint_parse(SPAN_LIT("[2001:db8::25]:25"), &e.dst), 0);
	return e;
}

#define assert_span(a, b) assert_true(span_eq((a), (b)))

static void assert_same(const struct spool_envelope *a, const struct spool_envelope *b)
{
	assert_span(a->from, b->from);
	assert_int_equal(a->recipient_count, b->recipient_count);
	for (size_t i = 0; i < a->recipient_count; i++) {
		assert_span(a->recipients[i].path, b->recipients[i].path);
		assert_int_equal(a->recipients[i].notify, b->recipients[i].notify);
		assert_span(a->recipients[i].orcpt, b->recipients[i].orcpt);
		assert_span(a->recipients[i].extra, b->recipients[i].extra);
	}
	assert_true(endpoint_eq(&a->client, &b->client) && endpoint_eq(&a->dst, &b->dst));
	assert_span(a->iface, b->iface);
	assert_span(a->listener, b->listener);
	assert_span(a->client_name, b->client_name);
	assert_span(a->helo, b->helo);
	assert_span(a->proto, b->proto);
	assert_span(a->tls, b->tls);
	assert_span(a->ident, b->ident);
	assert_span(a->envid, b->envid);
	assert_int_equal(a->is_trusted, b->is_trusted);
	assert_int_equal(a->time, b->time);
	assert_int_equal(a->body, b->body);
	assert_int_equal(a->ret, b->ret);
	assert_int_equal(a->extra_count, b->extra_count);
	for (size_t i = 0; i < a->extra_count; i++) {
		assert_span(a->extras[i].key, b->extras[i].key);
		assert_span(a->extras[i].value, b->extras[i].value);
	}
}

static void round_trip(void **state)
{
	(void)state;
	struct spool_envelope in = full(), out;
	struct buf lines = { .cap = 0 };
	struct arena arena = { NULL, 0 };
	assert_int_equal(spool_envelope_encode(&in, &lines), 0);
	for (size_t i = 0; i < lines.len; i++)
		assert_true(lines.data[i] == '\n' || (lines.data[i] >= ' ' && lines.data[i] <= '~'));
	assert_int_equal(spool_envelope_decode(buf_span(&lines), &arena, &out), 0);
	assert_same(&in, &out);
	arena_free(&arena);
	buf_free(&lines);
}

static void every_byte_in_a_value(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char value[] = { 'a', (char)c, 'b' };
		struct spool_recipient to = { .path = { value, 3 } };
		struct spool_envelope in = { .from = { value, 3 }, .helo = { value, 3 }, .recipients = &to, .recipient_count = 1 }, out;
		struct buf lines = { .cap = 0 };
		struct arena arena = { NULL, 0 };
		int err = spool_envelope_encode(&in, &lines);
		if (c == '\0' || c == '\r' || c == '\n') {
			assert_int_equal(err, ERR_INVAL);
			assert_int_equal(lines.len, 0);
		} else {
			assert_int_equal(err, 0);
			assert_int_equal(spool_envelope_decode(buf_span(&lines), &arena, &out), 0);
			assert_same(&in, &out);
		}
		arena_free(&arena);
		buf_free(&lines);
	}
}

/* A cut is refused, or gives an envelope that a shorter list of lines would have given too (the frame's length and CRC tell those). */
static void cut_everywhere(void **state)
{
	(void)state;
	struct spool_envelope in = full(), out;
	struct buf lines = { .cap = 0 };
	assert_int_equal(spool_envelope_encode(&in, &lines), 0);
	for (size_t len = 0; len < lines.len; len++) {
		char *copy = malloc(len + 1); /* exact, so that a sanitizer sees one byte too many */
		assert_non_null(copy);
		memcpy(copy, lines.data, len);
		char *exact = realloc(copy, len ? len : 1);
		struct arena arena = { NULL, 0 };
		int err = spool_envelope_decode((struct span){ exact, len }, &arena, &out);
		assert_true(err == ERR_CORRUPT || (err == 0 && lines.data[len - 1] == '\n' && out.recipient_count >= 1));
		arena_free(&arena);
		free(exact);
	}
	buf_free(&lines);
}

static void refused(void **state)
{
	(void)state;
	static const char *const bad[] = {
		"", "\n", "FROM <a>\n", "RCPT <a>\nFROM <b>\n", "FROM <a>\nRCPT <>\n", "FROM <a>\nRCPT <b>", "FROM <a>\nRCPT <b>\nFROM <c>\n",
		"FROM a\nRCPT <b>\n", "FROM <a>\nRCPT <b> NOTIFY=\n", "FROM <a>\nRCPT <b> NOTIFY=MAYBE\n", "FROM <a>\nRCPT <b>  ORCPT=x\n",
		"FROM <a>\nRCPT <b> ORCPT=x ORCPT=y\n", "FROM <a>\nRCPT <b>\nTIME 1\nTIME 2\n", "FROM <a>\nRCPT <b>\nTIME x\n",
		"FROM <a>\nRCPT <b>\nCLIENT 192.0.2.1\n", "FROM <a>\nRCPT <b>\nCLIENT 192.0.2.1 65536\n", "FROM <a>\nRCPT <b>\nCLIENT 1.2.3 5\n",
		"FROM <a>\nRCPT <b>\nBODY 9BIT\n", "FROM <a>\nRCPT <b>\nTRUST no\n", "FROM <a>\nRCPT <b>\nlower x\n", "FROM <a>\nRCPT <b>\n\n",
		"FROM <a>\nRCPT <b\\x0d\\x0aRCPT>\n", "FROM <a>\nRCPT <b\\x00>\n", "FROM <a>\nRCPT <b\\x4>\n", "FROM <a>\nRCPT <b\\n>\n",
		"FROM <a>\nRCPT <b\x80>\n", "FROM <a>\nRCPT <b>\r\n", "FROM <a>\nRCPT\n", "FROM <a b>\nRCPT <c>\n",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct arena arena = { NULL, 0 };
		struct spool_envelope out;
		if (spool_envelope_decode(span_of(bad[i]), &arena, &out) != ERR_CORRUPT)
			fail_msg("taken: %s", bad[i]);
		arena_free(&arena);
	}
}

static void caps(void **state)
{
	(void)state;
	static char longer[SPOOL_VALUE_CAP + 1];
	memset(longer, 'x', sizeof longer);
	struct spool_recipient to = { .path = SPAN_LIT("a") };
	struct spool_envelope e = { .recipients = &to, .recipient_count = 1, .helo = { longer, sizeof longer } };
	struct buf lines = { .cap = 0 };
	assert_int_equal(spool_envelope_encode(&e, &lines), ERR_TOOLONG);
	e.helo.len--;
	assert_int_equal(spool_envelope_encode(&e, &lines), 0);
	e.recipient_count = 0;
	assert_int_equal(spool_envelope_encode(&e, &lines), ERR_INVAL);
	struct spool_extra own = { SPAN_LIT("CLIENT"), SPAN_LIT("x") };
	e.recipient_count = 1;
	e.extras = &own;
	e.extra_count = 1;
	assert_int_equal(spool_envelope_encode(&e, &lines), ERR_INVAL);
	buf_free(&lines);
}

/* A session counts with recipient_len, and what it lets in can be written. */
static void recipient_lengths(void **state)
{
	(void)state;
	struct spool_envelope e = full();
	struct buf one = { .cap = 0 }, two = { .cap = 0 };
	static char all[256];
	for (unsigned i = 0; i < sizeof all; i++)
		all[i] = (char)(i == 0 || i == '\r' || i == '\n' ? 'x' : i);
	struct spool_recipient each[] = { e.recipients[0], e.recipients[1], e.recipients[2], { .path = { all, sizeof all }, .orcpt = { all, 77 } },
					  { .path = SPAN_LIT("b"), .notify = 15 } };
	for (size_t i = 0; i < sizeof each / sizeof each[0]; i++) {
		struct spool_recipient pair[] = { each[i], each[i] };
		buf_clear(&one);
		buf_clear(&two);
		e.recipients = pair;
		e.recipient_count = 1;
		assert_int_equal(spool_envelope_encode(&e, &one), 0);
		e.recipient_count = 2;
		assert_int_equal(spool_envelope_encode(&e, &two), 0);
		assert_int_equal(two.len - one.len, spool_envelope_recipient_len(&each[i]));
	}
	buf_free(&one);
	buf_free(&two);
}

static void full_of_recipients(void **state)
{
	(void)state;
	static char bad[SPOOL_VALUE_CAP];
	static struct spool_recipient recipients[SPOOL_RECIPIENTS_CAP];
	static struct spool_extra extras[SPOOL_EXTRAS_CAP];
	memset(bad, 0xff, sizeof bad); /* each byte takes four */
	struct span worst = { bad, sizeof bad };
	for (size_t i = 0; i < SPOOL_EXTRAS_CAP; i++)
		extras[i] = (struct spool_extra){ SPAN_LIT("X-ABCDEFGHIJKLMNOPQRSTUVWXYZ-345"), worst };
	struct spool_envelope e = full();
	e.from = e.iface = e.listener = e.client_name = e.helo = e.proto = e.tls = e.ident = e.envid = worst;
	e.extras = extras;
	e.extra_count = SPOOL_EXTRAS_CAP;
	e.recipients = recipients;
	size_t sum = 0, count = 0;
	for (; count < SPOOL_RECIPIENTS_CAP; count++) {
		recipients[count] = (struct spool_recipient){ .path = { bad, 256 } };
		if (sum + spool_envelope_recipient_len(&recipients[count]) > SPOOL_ENVELOPE_RCPT_CAP)
			break;
		sum += spool_envelope_recipient_len(&recipients[count]);
	}
	assert_in_range(count, 1000, SPOOL_RECIPIENTS_CAP - 1);
	e.recipient_count = count;
	struct buf out = { .cap = SPOOL_ENVELOPE_CAP + 8 * SPOOL_VALUE_CAP };
	assert_int_equal(spool_envelope_encode(&e, &out), 0);
	buf_free(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(round_trip), cmocka_unit_test(every_byte_in_a_value), cmocka_unit_test(cut_everywhere),
					    cmocka_unit_test(refused), cmocka_unit_test(caps), cmocka_unit_test(recipient_lengths),
					    cmocka_unit_test(full_of_recipients) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
