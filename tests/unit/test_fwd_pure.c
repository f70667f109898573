/* The pure parts of the forwarder: back-off, routes, command lines, reports, exit codes, the heap and the table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <cmocka.h>

#include "backoff.h"
#include "dsn.h"
#include "fwd_message.h"
#include "message_heap.h"
#include "route.h"
#include "sendmail_pipe.h"
#include "smtp_lines.h"

static struct spool_id id_of(unsigned worker)
{
	struct spool_id_source source;
	spool_id_source_init(&source, worker);
	return spool_id_next(&source);
}

static void backoff_doubles_within_bounds(void **state)
{
	(void)state;
	for (unsigned failures = 0; failures < 80; failures++) {
		for (uint32_t random = 0; random < 1000; random += 37) {
			uint64_t delay = backoff_delay(failures, 60, 3600, random);
			assert_in_range(delay, 60, 3600);
			if (failures == 3)
				assert_in_range(delay, 210, 270);
			if (failures > 10)
				assert_in_range(delay, 3150, 3600);
		}
	}
	assert_int_equal(backoff_delay(5, 10, 10, 3), 10);
	assert_int_equal(backoff_delay(1, 100, 10, 0), 100);
	assert_in_range(backoff_delay(200, 1, UINT64_MAX, 5), UINT64_MAX / 8 * 6, UINT64_MAX);
}

static struct conf conf;

static void make_conf(void)
{
	memset(&conf, 0, sizeof conf);
	conf.bounce_via.kind = FORWARD_SENDMAIL;
	strcpy(conf.bounce_via.path, "/usr/sbin/sendmail");
	conf.listen_count = 2;
	strcpy(conf.listen[0].iface, "wan");
	conf.listen[0].forward.kind = FORWARD_ORIGINAL;
	conf.listen[0].identity = IDENTITY_SPOOF;
	conf.listen[0].tls = conf.listen[1].tls = conf.bounce_tls = TLS_MAY;
	conf.listen[0].spoof_fallback = IDENTITY_SPOOF;
	strcpy(conf.listen[1].iface, "lan");
	conf.listen[1].forward.kind = FORWARD_SMTP;
	strcpy(conf.listen[1].forward.host, "mx.example.org");
	conf.listen[1].forward.port = 25;
	conf.listen[1].identity = IDENTITY_XFORWARD;
}

static const char *key_of(const struct spool_id *id, const struct spool_envelope *e)
{
	static char key[ROUTE_KEY_CAP];
	struct route route;
	assert_int_equal(route_choose(&conf, id, e, &route), 0);
	return route_key(&route, key);
}

static void routes(void **state)
{
	(void)state;
	struct spool_id theirs = id_of(0), own = id_of(SPOOL_ID_WORKER_FWD);
	struct spool_envelope e = { .listener = SPAN_LIT("wan") };
	struct route route;
	make_conf();
	assert_int_equal(route_choose(&conf, &theirs, &e, &route), ERR_INVAL);
	assert_int_equal(endpoint_parse(SPAN_LIT("203.0.113.25:25"), &e.dst), 0);
	assert_int_equal(endpoint_parse(SPAN_LIT("192.0.2.10:4000"), &e.client), 0);
	assert_string_equal(key_of(&theirs, &e), "203.0.113.25:25 from 192.0.2.10");
	const struct span unknown[] = { SPAN_LIT("gone"), SPAN_LIT("wan2"), SPAN_LIT("wa"), SPAN_LIT("") };
	for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
		e.listener = unknown[i];
		assert_int_equal(route_choose(&conf, &theirs, &e, &route), ERR_NOTFOUND);
	}
	e.listener = SPAN_LIT("wan");
	conf.listen[0].spoof_fallback = IDENTITY_XCLIENT;
	assert_string_equal(key_of(&theirs, &e), "203.0.113.25:25 from 192.0.2.10 or xclient");
	conf.listen[0].spoof_fallback = IDENTITY_NONE;
	assert_string_equal(key_of(&theirs, &e), "203.0.113.25:25 from 192.0.2.10 or none");
	conf.listen[0].spoof_fallback = IDENTITY_SPOOF;
	e.listener = SPAN_LIT("");
	conf.listen_count = 1; /* now no name leaves no doubt, but another one does */
	assert_string_equal(key_of(&theirs, &e), "203.0.113.25:25 from 192.0.2.10");
	e.listener = SPAN_LIT("gone");
	assert_int_equal(route_choose(&conf, &theirs, &e, &route), ERR_NOTFOUND);
	conf.listen_count = 2;
	e.listener = SPAN_LIT("lan");
	assert_string_equal(key_of(&theirs, &e), "smtp:mx.example.org:25 xforward");
	conf.listen[1].identity = IDENTITY_XCLIENT;
	assert_string_equal(key_of(&theirs, &e), "smtp:mx.example.org:25 xclient");
	conf.listen[1].tls = TLS_NONE;
	assert_string_equal(key_of(&theirs, &e), "smtp:mx.example.org:25 xclient tls=none");
	assert_false(route_uses_verify(&conf));
	conf.listen[1].tls = TLS_VERIFY;
	assert_true(route_uses_verify(&conf));
	assert_int_equal(route_choose(&conf, &theirs, &e, &route), 0);
	assert_string_equal(route.tls_name, "mx.example.org");
	strcpy(conf.listen[1].tls_name, "mail.example.org");
	assert_string_equal(key_of(&theirs, &e), "smtp:mx.example.org:25 xclient tls=verify name=mail.example.org");
	/* Questions go out in our own name, and only where the section wants them. */
	assert_int_equal(route_choose_for_question(&conf, "lan", &e.dst, &route), ERR_UNSUPPORTED);
	assert_int_equal(route_choose_for_question(&conf, "gone", &e.dst, &route), ERR_NOTFOUND);
	conf.listen[0].verify_recipients = conf.listen[1].verify_recipients = 1;
	assert_int_equal(route_choose_for_question(&conf, "lan", &e.dst, &route), 0);
	assert_int_equal(route.identity, IDENTITY_NONE);
	assert_int_equal(route_choose_for_question(&conf, "wan", &e.dst, &route), 0);
	assert_int_equal(route.identity, IDENTITY_NONE);
	assert_int_equal(route.spoofed.family, ADDR_NONE);
	assert_true(endpoint_eq(&route.original, &e.dst));
	/* A program needs none, whatever the section says. */
	conf.listen[1].forward = conf.bounce_via;
	assert_string_equal(key_of(&theirs, &e), "sendmail:/usr/sbin/sendmail xclient");
	assert_string_equal(key_of(&own, &e), "sendmail:/usr/sbin/sendmail");
	assert_true(route_uses_programs(&conf));
	assert_true(route_uses_spoof(&conf));
	conf.listen_count = 0;
	assert_false(route_uses_spoof(&conf));
	/* The command line of the seeds: everything goes to the program. */
	e.listener = SPAN_LIT("gone");
	assert_string_equal(key_of(&theirs, &e), "sendmail:/usr/sbin/sendmail");
}

static void lines_follow_the_offer(void **state)
{
	(void)state;
	struct spool_recipient r = { .path = SPAN_LIT("b@example.org"),
				     .notify = SPOOL_NOTIFY_FAILURE | SPOOL_NOTIFY_DELAY,
				     .orcpt = SPAN_LIT("rfc822;b@x") };
	struct spool_envelope e = { .from = SPAN_LIT("a@example.net"),
				    .body = SPOOL_BODY_8BITMIME,
				    .ret = SPOOL_RET_HDRS,
				    .envid = SPAN_LIT("QQ1"),
				    .recipients = &r,
				    .recipient_count = 1 };
	struct smtp_caps bare = { 0 }, full = { .offered = SMTP_CAP_SIZE | SMTP_CAP_8BITMIME | SMTP_CAP_DSN };
	struct buf out = { 0 };
	assert_int_equal(smtp_lines_mail(&out, &e, 123, &bare), 0);
	assert_int_equal(smtp_lines_rcpt(&out, &r, &bare), 0);
	assert_int_equal(smtp_lines_mail(&out, &e, 123, &full), 0);
	assert_int_equal(smtp_lines_rcpt(&out, &r, &full), 0);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\n"
						       "MAIL FROM:<a@example.net> SIZE=123 BODY=8BITMIME RET=HDRS ENVID=QQ1\r\n"
						       "RCPT TO:<b@example.org> NOTIFY=FAILURE,DELAY ORCPT=rfc822;b@x\r\n")));
	size_t len = out.len;
	r.path = SPAN_LIT("x>\r\nRSET");
	assert_int_equal(smtp_lines_rcpt(&out, &r, &full), ERR_INVAL);
	e.from = SPAN_LIT("x\ny");
	assert_int_equal(smtp_lines_mail(&out, &e, 1, &full), ERR_INVAL);
	assert_int_equal(out.len, len);
	r.path = SPAN_LIT("b@example.org");
	r.orcpt = SPAN_LIT("rfc822;b NOTIFY=NEVER");
	buf_clear(&out);
	assert_int_equal(smtp_lines_rcpt(&out, &r, &full), 0);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("RCPT TO:<b@example.org> NOTIFY=FAILURE,DELAY\r\n")));
	buf_free(&out);
}

static void expect_short(const struct buf *out, const char *verb, unsigned count)
{
	struct span rest = buf_span(out), line;
	unsigned lines = 0;
	while (span_cut(&rest, '\n', &line) && line.len > 0) {
		lines++;
		assert_true(span_starts_nocase(line, span_of(verb)) && line.ptr[strlen(verb)] == ' ');
		assert_true(line.len + 1 <= SMTP_LINES_X_CAP);
	}
	assert_int_equal(lines, count);
}

static void identity_lines_are_short(void **state)
{
	(void)state;
	char name[400], helo[400];
	memset(name, 'n', sizeof name); /* no domain: its labels are too long */
	memset(helo, '=', sizeof helo); /* each becomes three bytes */
	struct spool_id id = id_of(1);
	struct spool_envelope e = { .client_name = { name, sizeof name }, .helo = { helo, sizeof helo } };
	struct smtp_caps caps = { .offered = SMTP_CAP_XFORWARD, .xforward = ~0u, .xclient = ~0u };
	struct buf out = { 0 };
	unsigned count = 0;
	assert_int_equal(endpoint_parse(SPAN_LIT("[2001:db8::1]:99"), &e.client), 0);
	assert_int_equal(endpoint_parse(SPAN_LIT("203.0.113.25:25"), &e.dst), 0);
	assert_int_equal(smtp_lines_xforward(&out, &e, &id, &caps, &count), 0);
	expect_short(&out, "XFORWARD", count);
	assert_non_null(memmem(out.data, out.len, "ADDR=IPV6:2001:db8::1", 21));
	assert_non_null(memmem(out.data, out.len, " NAME=[UNAVAILABLE]", 19));
	buf_clear(&out);
	assert_int_equal(smtp_lines_xclient(&out, &e, &caps, &count), 0);
	expect_short(&out, "XCLIENT", count);
	assert_int_equal(count, 1);
	struct span helo_value = span_sub(buf_span(&out), span_find(buf_span(&out), '+', 0), out.len);
	assert_int_equal(span_find(helo_value, ' ', 0), 255);
	e.proto = SPAN_LIT("ESMTP");
	memset(name, 'n', sizeof name);
	for (size_t i = 50; i < sizeof name; i += 50)
		name[i] = '.';
	e.client_name.len = 250;
	buf_clear(&out);
	assert_int_equal(smtp_lines_xclient(&out, &e, &caps, &count), 0);
	expect_short(&out, "XCLIENT", count);
	assert_int_equal(count, 2);
	assert_null(memmem(out.data, span_find(buf_span(&out), '\n', 0), " ADDR=", 6));
	e.client_name.len = 0;
	buf_clear(&out);
	assert_int_equal(smtp_lines_xclient(&out, &e, &caps, &count), 0);
	assert_non_null(memmem(out.data, out.len, " DESTPORT=25 NAME=[UNAVAILABLE] ADDR=IPV6:2001:db8::1\r\n", 55));
	assert_true(span_eq(smtp_lines_xclient_helo(&e, SPAN_LIT("fw.example.net")), SPAN_LIT("fw.example.net")));
	e.helo = SPAN_LIT("[192.0.2.1]");
	assert_true(span_eq(smtp_lines_xclient_helo(&e, SPAN_LIT("fw.example.net")), e.helo));
	caps.xforward = 0;
	caps.xclient = SMTP_ATTR_ADDR | SMTP_ATTR_HELO;
	buf_clear(&out);
	assert_int_equal(smtp_lines_xclient(&out, &e, &caps, &count), 0);
	assert_true(span_eq(buf_span(&out), SPAN_LIT("XCLIENT HELO=[192.0.2.1] ADDR=IPV6:2001:db8::1\r\n")));
	buf_clear(&out);
	assert_int_equal(smtp_lines_xforward(&out, &e, &id, &caps, &count), 0);
	assert_int_equal(count, 0);
	assert_int_equal(out.len, 0);
	buf_free(&out);
}

static void exit_codes(void **state)
{
	(void)state;
	static const struct {
		int code;
		enum spool_outcome outcome;
		bool is_broken;
	} cases[] = { { 0, SPOOL_OUTCOME_DELIVERED, false },
		      { 1, SPOOL_OUTCOME_FAILED, false },
		      { EX_USAGE, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_DATAERR, SPOOL_OUTCOME_FAILED, false },
		      { EX_NOINPUT, SPOOL_OUTCOME_FAILED, false },
		      { EX_NOUSER, SPOOL_OUTCOME_FAILED, false },
		      { EX_NOHOST, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_UNAVAILABLE, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_SOFTWARE, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_OSERR, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_OSFILE, SPOOL_OUTCOME_DEFERRED, true },
		      { EX_CANTCREAT, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_IOERR, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_TEMPFAIL, SPOOL_OUTCOME_DEFERRED, false },
		      { EX_PROTOCOL, SPOOL_OUTCOME_FAILED, false },
		      { EX_NOPERM, SPOOL_OUTCOME_DEFERRED, true },
		      { EX_CONFIG, SPOOL_OUTCOME_DEFERRED, true },
		      { 126, SPOOL_OUTCOME_DEFERRED, true },
		      { 127, SPOOL_OUTCOME_DEFERRED, true } };
	bool is_broken;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		assert_int_equal(sendmail_outcome(cases[i].code << 8, &is_broken), cases[i].outcome);
		assert_int_equal(is_broken, cases[i].is_broken);
	}
	assert_int_equal(sendmail_outcome(9, &is_broken), SPOOL_OUTCOME_DEFERRED); /* a signal */
}

/* Every line ends in CRLF and is short; no line but the last is a dot; the parts are all there. */
static void check_report(const struct buf *out)
{
	struct span rest = buf_span(out), line;
	size_t lone_dots = 0;
	assert_true(span_ends_nocase(rest, SPAN_LIT("\r\n.\r\n")));
	while (span_cut(&rest, '\n', &line) && rest.ptr) {
		assert_true(line.len > 0 && line.ptr[line.len - 1] == '\r');
		assert_true(line.len <= 999);
		assert_int_equal(span_find(line, '\0', 0), line.len);
		lone_dots += line.len == 2 && line.ptr[0] == '.';
	}
	assert_int_equal(lone_dots, 1);
}

static void reports(void **state)
{
	(void)state;
	static const char evil[] = "550 5.1.1 no\r\n--boundary\r\nContent-Type: text/html\r\n\xff";
	struct spool_recipient r = { .path = SPAN_LIT("b@example.org"), .orcpt = SPAN_LIT("rfc822;b+2Bx@example.org") };
	struct spool_envelope e = { .from = SPAN_LIT("a@example.net"),
				    .recipients = &r,
				    .recipient_count = 1,
				    .time = 1700000000,
				    .envid = SPAN_LIT("id+2B1") };
	struct dsn_recipient list = { &r, SPAN_LIT("5.1.1"), { evil, sizeof evil - 1 }, 550 };
	struct dsn_report report = {
		.hostname = SPAN_LIT("fw.example.net"),
		.remote = SPAN_LIT("mx[192.0.2.1]:25"),
		.id = id_of(1023),
		.original_id = id_of(0),
		.original = &e,
		.now = 1700000100,
		.expires = 1700432000,
		.recipients = &list,
		.count = 1,
		.original_body = SPAN_LIT("Subject: x\r\nX-Y: z\r\n\r\n..dot\r\n.\r\n"),
		.is_body_whole = true,
	};
	for (int kind = 0; kind < 3; kind++) {
		struct buf out = { 0 };
		report.kind = (enum dsn_kind)kind;
		assert_int_equal(dsn_write(&report, &out), 0);
		check_report(&out);
		assert_null(memmem(out.data, out.len, "\r\nContent-Type: text/html", 25));
		assert_non_null(memmem(out.data, out.len, "Original-Recipient: rfc822;b+x@example.org\r\n", 44));
		assert_non_null(memmem(out.data, out.len, "Original-Envelope-Id: id+1\r\n", 28));
		assert_non_null(memmem(out.data, out.len, "Subject: x\r\nX-Y: z\r\n", 20));
		assert_int_equal(memmem(out.data, out.len, "\r\n..dot\r\n", 9) != NULL, kind == DSN_FAILED);
		buf_free(&out);
	}
}

/* Whatever of the original could be read, the report stays well-formed. */
static void report_of_a_body_cut_anywhere(void **state)
{
	(void)state;
	static const char body[] = "Subject: x\r\n\ty\r\n\r\n..\r\nline \xe4\r\n.\r\n";
	struct spool_recipient r = { .path = SPAN_LIT("b@example.org") };
	struct spool_envelope e = { .from = SPAN_LIT("a@example.net"), .recipients = &r, .recipient_count = 1 };
	struct dsn_recipient list = { &r, SPAN_LIT("4.0.0"), SPAN_LIT("no"), 0 };
	for (size_t cut = 0; cut < sizeof body; cut++) {
		struct dsn_report report = { .hostname = SPAN_LIT("fw"),
					     .id = id_of(1023),
					     .original_id = id_of(0),
					     .original = &e,
					     .recipients = &list,
					     .count = 1,
					     .original_body = { body, cut },
					     .is_body_whole = cut == sizeof body - 1 };
		struct buf out = { 0 };
		assert_int_equal(dsn_write(&report, &out), 0);
		check_report(&out);
		buf_free(&out);
	}
}

static void who_wants_a_report(void **state)
{
	(void)state;
	struct spool_envelope known = { .from = SPAN_LIT("a@b") }, null = { 0 };
	struct spool_recipient silent = { .notify = SPOOL_NOTIFY_NEVER }, plain = { 0 },
			       curious = { .notify = SPOOL_NOTIFY_SUCCESS };
	assert_true(dsn_is_wanted(DSN_FAILED, &known, &plain));
	assert_true(dsn_is_wanted(DSN_DELAYED, &known, &plain));
	assert_false(dsn_is_wanted(DSN_RELAYED, &known, &plain));
	assert_false(dsn_is_wanted(DSN_FAILED, &known, &silent));
	assert_false(dsn_is_wanted(DSN_FAILED, &known, &curious));
	assert_true(dsn_is_wanted(DSN_RELAYED, &known, &curious));
	assert_false(dsn_is_wanted(DSN_FAILED, &null, &plain));
}

/* 1000 messages in some order, a third of them taken out from wherever they are: the rest comes in order. */
static void keep_order(enum message_order order)
{
	struct fwd_table table = { NULL, 0, 0 };
	struct message_heap heap = { .order = order };
	struct spool_id_source source;
	struct fwd_message *messages[1000], *m;
	spool_id_source_init(&source, 1);
	assert_null(message_heap_first(&heap));
	for (size_t i = 0; i < 1000; i++) {
		struct spool_id id = spool_id_next(&source);
		assert_int_equal(fwd_table_add(&table, &id, &messages[i]), 0);
		assert_int_equal(fwd_table_add(&table, &id, &m), ERR_BUSY);
		messages[i]->next_time = (int64_t)((i * 7919) % 409);
		messages[i]->accepted_time = (int64_t)((i * 104729) % 409);
		message_heap_add(&heap, messages[i]);
		if (i % 100 == 99) { /* so that it has been melded before */
			m = message_heap_first(&heap);
			message_heap_remove(&heap, m);
			message_heap_add(&heap, m);
		}
	}
	for (size_t i = 0; i < 1000; i += 3) {
		message_heap_remove(&heap, messages[i]);
		fwd_table_remove(&table, messages[i]);
	}
	assert_int_equal(heap.count, table.count);
	int64_t last = -1;
	char last_id[SPOOL_ID_LEN + 1] = "";
	size_t left = 0;
	while ((m = message_heap_first(&heap)) != NULL) {
		int64_t time = order == MESSAGE_BY_AGE ? m->accepted_time : m->next_time;
		assert_true(time > last || (time == last && strcmp(m->id.text, last_id) > 0));
		last = time;
		memcpy(last_id, m->id.text, sizeof last_id);
		assert_ptr_equal(fwd_table_find(&table, &m->id), m);
		message_heap_remove(&heap, m);
		left++;
	}
	assert_int_equal(left, table.count);
	assert_int_equal(heap.count, 0);
	fwd_table_free(&table);
}

static void heap_and_table_keep_order(void **state)
{
	(void)state;
	keep_order(MESSAGE_BY_DUE_TIME);
	keep_order(MESSAGE_BY_AGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(backoff_doubles_within_bounds),
		cmocka_unit_test(routes),
		cmocka_unit_test(lines_follow_the_offer),
		cmocka_unit_test(identity_lines_are_short),
		cmocka_unit_test(exit_codes),
		cmocka_unit_test(reports),
		cmocka_unit_test(report_of_a_body_cut_anywhere),
		cmocka_unit_test(who_wants_a_report),
		cmocka_unit_test(heap_and_table_keep_order),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
