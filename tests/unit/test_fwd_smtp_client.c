/* The SMTP client against a scripted peer on a socketpair: each transcript with replies whole, byte by byte, and the peer gone at
 * every byte of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "smtp_client.h"

#define MESSAGES_MAX 4
#define RECIPIENTS_MAX 4
#define BODY "Subject: x\r\n\r\n..dot\r\n.\r\n"
#define GREETING "220 mx ESMTP\r\n"
#define EHLO "EHLO fw.example.net\r\n"
#define PLAIN_EHLO "250 mx\r\n"
#define FULL_EHLO "250-mx\r\n250-PIPELINING\r\n250-SIZE 1000000\r\n250-8BITMIME\r\n250 DSN\r\n"

/* One step of the peer: wait for these bytes from the client (NULL: nothing), then say these (NULL: hang up). */
struct turn {
	const char *expect, *say;
};

struct message {
	size_t recipients;
	enum spool_outcome outcomes[RECIPIENTS_MAX]; /* wanted */
};

struct script {
	const char *name;
	const struct turn *steps;
	size_t step_count;
	bool is_lmtp;
	enum forward_identity identity;
	enum tls_level tls;
	size_t deaf_from;        /* the step behind whose words the peer does not care what it hears; 0: it always does */
	struct message messages[MESSAGES_MAX];
	size_t message_count;
	uint8_t clients[MESSAGES_MAX]; /* the last number of their addresses; 100 more: the same one by another HELO */
	bool is_probe;
	enum smtp_end end;       /* wanted */
};

struct play {
	const struct script *script;
	struct loop *loop;
	struct smtp_client *client;
	int fd;
	struct loop_io *io;
	struct loop_timer *alarm;
	struct loop_task talk;
	bool is_slow;
	size_t hang_up_after; /* bytes said; SIZE_MAX: as the script says */
	size_t step, heard, said, said_total;
	struct attempt *attempts[MESSAGES_MAX];
	size_t next, done;
	bool has_ended;
	enum smtp_end end;
	struct attempt *ended_with;
};

static struct spool_recipient paths[RECIPIENTS_MAX];

static struct tls_trust *trust;

static struct attempt *make_attempt(const struct script *s, size_t index)
{
	const struct message *m = &s->messages[index];
	struct attempt *a = calloc(1, sizeof *a);
	assert_non_null(a);
	a->file_fd = -1;
	a->is_probe = s->is_probe;
	a->body.fd = memfd_create("body", MFD_CLOEXEC);
	a->body.is_owned = true;
	a->body.len = sizeof BODY - 1;
	assert_int_equal(write(a->body.fd, BODY, sizeof BODY - 1), sizeof BODY - 1);
	struct spool_id_source source;
	spool_id_source_init(&source, 1);
	a->record.id = spool_id_next(&source);
	a->envelope.from = SPAN_LIT("a@example.net");
	uint8_t client = s->clients[index];
	a->envelope.client = (struct endpoint){ { .family = ADDR_V4, .bytes = { 192, 0, 2, client % 100 } }, 4000 };
	a->envelope.helo = client == 66 ? SPAN_LIT("no domain!") : client >= 100 ? SPAN_LIT("other.example.net") : SPAN_LIT("client.example.net");
	a->envelope.recipients = paths;
	a->envelope.recipient_count = m->recipients;
	a->todo = arena_alloc(&a->arena, m->recipients * sizeof *a->todo);
	a->todo_count = m->recipients;
	for (size_t i = 0; i < m->recipients; i++)
		a->todo[i].index = (uint32_t)i;
	return a;
}

static void hang_up(struct play *p)
{
	loop_io_destroy(&p->io);
	loop_task_cancel(&p->talk);
	if (p->fd >= 0)
		(void)close(p->fd);
	p->fd = -1;
}

/* Says the present step's words, all at once or a byte a turn, until it has to wait for the client again. */
static void talk(void *ctx)
{
	struct play *p = ctx;
	const struct script *s = p->script;
	while (p->fd >= 0 && p->step < s->step_count) {
		const struct turn *step = &s->steps[p->step];
		if (step->expect && p->heard < strlen(step->expect))
			return;
		if (!step->say) {
			hang_up(p);
			return;
		}
		size_t left = strlen(step->say) - p->said, len = p->is_slow && left ? 1 : left;
		if (p->said_total + len > p->hang_up_after)
			len = p->hang_up_after - p->said_total;
		if (len)
			(void)send(p->fd, step->say + p->said, len, MSG_NOSIGNAL);
		p->said += len;
		p->said_total += len;
		if (p->said_total >= p->hang_up_after) {
			hang_up(p);
			return;
		}
		if (p->said == strlen(step->say)) {
			p->step++;
			p->heard = p->said = 0;
		}
		if (p->is_slow) {
			loop_task_post(p->loop, &p->talk);
			return;
		}
	}
}

static void peer_ready(void *ctx, unsigned events)
{
	struct play *p = ctx;
	char bytes[4096];
	(void)events;
	ssize_t n = read(p->fd, bytes, sizeof bytes);
	if (n <= 0) {
		hang_up(p);
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		const struct script *s = p->script;
		const char *expect = p->step < s->step_count ? s->steps[p->step].expect : NULL;
		if (s->deaf_from && (p->step > s->deaf_from || (p->step == s->deaf_from && p->heard == strlen(expect))))
			break;
		if (!expect || p->heard >= strlen(expect) || expect[p->heard] != bytes[i])
			fail_msg("%s: step %zu, byte %zu: unexpected \"%.*s\"", s->name, p->step, p->heard, (int)(n - i),
				 bytes + i);
		p->heard++;
	}
	talk(p);
}

static void client_ready(void *ctx)
{
	struct play *p = ctx;
	if (p->next < p->script->message_count)
		smtp_client_send(p->client, p->attempts[p->next++]);
	else
		smtp_client_quit(p->client);
}

static void client_done(void *ctx, struct attempt *a)
{
	struct play *p = ctx;
	assert_ptr_equal(a, p->attempts[p->done]);
	p->done++;
	for (size_t i = 0; i < a->todo_count; i++)
		assert_int_not_equal(a->todo[i].outcome, SPOOL_OUTCOME_NONE);
}

static void client_ended(void *ctx, enum smtp_end end, struct attempt *a, const struct reason *why)
{
	struct play *p = ctx;
	assert_true(why->text[0]);
	p->has_ended = true;
	p->end = end;
	p->ended_with = a;
	smtp_client_destroy(&p->client);
	loop_stop(p->loop);
}

static void too_long(void *ctx)
{
	struct play *p = ctx;
	fail_msg("%s: hangs at step %zu in state %s", p->script->name, p->step, smtp_client_state_name(p->client));
}

static void play_script(struct play *p)
{
	const struct script *s = p->script;
	int fds[2];
	assert_int_equal(loop_create(&p->loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	p->fd = fds[0];
	p->talk = (struct loop_task){ .fn = talk, .ctx = p };
	for (size_t i = 0; i < s->message_count; i++)
		p->attempts[i] = make_attempt(s, i);
	struct smtp_client_options options = { .loop = p->loop,
					       .hostname = "fw.example.net",
					       .remote = "mx[192.0.2.1]:25",
					       .is_lmtp = s->is_lmtp,
					       .identity = s->identity,
					       .tls = s->tls,
					       .tls_name = "mx.example.org",
					       .trust = trust,
					       .reply_timeout_ms = 1000,
					       .idle_ms = 1000 };
	struct smtp_client_events events = { client_ready, client_done, client_ended, p };
	assert_int_equal(smtp_client_create(fds[1], &options, &events, &p->client), 0);
	assert_int_equal(loop_io_create(p->loop, p->fd, peer_ready, p, &p->io), 0);
	assert_int_equal(loop_io_want(p->io, LOOP_READ), 0);
	assert_int_equal(loop_timer_create(p->loop, too_long, p, &p->alarm), 0);
	loop_timer_start(p->alarm, 5000);
	loop_task_post(p->loop, &p->talk);
	loop_run(p->loop);
	hang_up(p);
	loop_timer_destroy(&p->alarm);
	loop_destroy(&p->loop);
}

static void free_attempts(struct play *p)
{
	for (size_t i = 0; i < p->script->message_count; i++)
		attempt_destroy(&p->attempts[i]);
}

static void expect_outcomes(const struct play *p)
{
	const struct script *s = p->script;
	assert_int_equal(p->end, s->end);
	for (size_t i = 0; i < s->message_count; i++) {
		for (size_t r = 0; r < s->messages[i].recipients; r++) {
			if (p->attempts[i]->todo[r].outcome != s->messages[i].outcomes[r])
				fail_msg("%s: message %zu recipient %zu: %s, not %s (%.*s)", s->name, i, r,
					 spool_outcome_name(p->attempts[i]->todo[r].outcome),
					 spool_outcome_name(s->messages[i].outcomes[r]), SPAN_FMT(p->attempts[i]->todo[r].text));
		}
	}
}

static size_t length_said(const struct script *s)
{
	size_t total = 0;
	for (size_t i = 0; i < s->step_count; i++)
		total += s->steps[i].say ? strlen(s->steps[i].say) : 0;
	return total;
}

/* The promise: what the server did not answer with a 2xx to the whole message is never DELIVERED. */
static void expect_no_false_delivery(const struct play *cut, const struct script *s)
{
	for (size_t i = 0; i < s->message_count; i++) {
		for (size_t r = 0; r < s->messages[i].recipients; r++) {
			enum spool_outcome outcome = cut->attempts[i]->todo[r].outcome;
			if (outcome == SPOOL_OUTCOME_DELIVERED)
				assert_int_equal(s->messages[i].outcomes[r], SPOOL_OUTCOME_DELIVERED);
			if (outcome == SPOOL_OUTCOME_FAILED)
				assert_int_equal(s->messages[i].outcomes[r], SPOOL_OUTCOME_FAILED);
			if (i < cut->done)
				assert_int_not_equal(outcome, SPOOL_OUTCOME_NONE);
		}
	}
}

static void run_script(const struct script *s)
{
	for (int slow = 0; slow < 2; slow++) {
		struct play p = { .script = s, .is_slow = slow, .hang_up_after = SIZE_MAX };
		play_script(&p);
		expect_outcomes(&p);
		assert_int_equal(p.ended_with != NULL, s->end == SMTP_END_STALE || s->end == SMTP_END_BROKEN);
		free_attempts(&p);
	}
	for (size_t cut = 0; cut < length_said(s); cut++) {
		struct play p = { .script = s, .hang_up_after = cut };
		play_script(&p);
		expect_no_false_delivery(&p, s);
		free_attempts(&p);
	}
}

#define STEPS(array) .steps = array, .step_count = sizeof array / sizeof array[0]
#define QUIT { "QUIT\r\n", "221 bye\r\n" }
#define D SPOOL_OUTCOME_DELIVERED
#define F SPOOL_OUTCOME_FAILED
#define L SPOOL_OUTCOME_DEFERRED

static void one_command_at_a_time(void **state)
{
	(void)state;
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ EHLO, PLAIN_EHLO },
		{ "MAIL FROM:<a@example.net>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r0@example.org>\r\n", "550 5.1.1 no\r\n" },
		{ "RCPT TO:<r1@example.org>\r\n", "250-yes\r\n250 ok\r\n" },
		{ "RCPT TO:<r2@example.org>\r\n", "450 later\r\n" },
		{ "DATA\r\n", "354 go\r\n" },
		{ BODY, "250 2.0.0 queued\r\n" },
		QUIT,
	};
	run_script(&(struct script){ "plain", STEPS(steps), .messages = { { 3, { F, D, L } } }, .message_count = 1,
				     .end = SMTP_END_IDLE });
}

#define MAIL_FULL "MAIL FROM:<a@example.net> SIZE=24\r\n"

static void pipelined_messages_in_a_row(void **state)
{
	(void)state;
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nRCPT TO:<r1@example.org>\r\nDATA\r\n",
		  "250 ok\r\n250 ok\r\n552 too many\r\n354 go\r\n" },
		{ BODY, "250 ok\r\n" },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n550 no\r\n554 no valid recipients\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n" },
		{ BODY, "554 spam\r\n" },
		QUIT,
	};
	run_script(&(struct script){ "pipelined", STEPS(steps), .messages = { { 2, { D, L } }, { 1, { F } }, { 1, { F } } },
				     .message_count = 3, .end = SMTP_END_IDLE });
}

static void data_taken_without_recipients(void **state)
{
	(void)state;
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n550 no\r\n354 go\r\n" },
		{ ".\r\n", "554 nobody\r\n" },
		QUIT,
	};
	run_script(
		&(struct script){ "empty", STEPS(steps), .messages = { { 1, { F } } }, .message_count = 1, .end = SMTP_END_IDLE });
}

static void sender_refused(void **state)
{
	(void)state;
	static const struct turn one_by_one[] = {
		{ NULL, GREETING },
		{ EHLO, PLAIN_EHLO },
		{ "MAIL FROM:<a@example.net>\r\n", "553 no\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		QUIT,
	};
	static const struct turn pipelined[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "451 no\r\n503 no\r\n503 no\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		QUIT,
	};
	run_script(&(struct script){ "mail-553", STEPS(one_by_one), .messages = { { 1, { F } } }, .message_count = 1,
				     .end = SMTP_END_IDLE });
	run_script(&(struct script){ "mail-451", STEPS(pipelined), .messages = { { 1, { L } } }, .message_count = 1,
				     .end = SMTP_END_IDLE });
}

static void helo_where_ehlo_is_unknown(void **state)
{
	(void)state;
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ EHLO, "502 what?\r\n" },
		{ "HELO fw.example.net\r\n", "250 mx\r\n" },
		{ "MAIL FROM:<a@example.net>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r0@example.org>\r\n", "250 ok\r\n" },
		{ "DATA\r\n", "354 go\r\n" },
		{ BODY, "250 ok\r\n" },
		QUIT,
	};
	run_script(
		&(struct script){ "helo", STEPS(steps), .messages = { { 1, { D } } }, .message_count = 1, .end = SMTP_END_IDLE });
}

static void lmtp_answers_each_recipient(void **state)
{
	(void)state;
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ "LHLO fw.example.net\r\n", "250-mx\r\n250 PIPELINING\r\n" },
		{ "MAIL FROM:<a@example.net>\r\nRCPT TO:<r0@example.org>\r\nRCPT TO:<r1@example.org>\r\nRCPT "
		  "TO:<r2@example.org>\r\nDATA\r\n",
		  "250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n" },
		{ BODY, "250 ok\r\n452 full\r\n" },
		QUIT,
	};
	/* A 354 that should have been a 503: no dot, since nobody would answer it. */
	static const struct turn nobody[] = {
		{ NULL, GREETING },
		{ "LHLO fw.example.net\r\n", "250-mx\r\n250 PIPELINING\r\n" },
		{ "MAIL FROM:<a@example.net>\r\nRCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n550 no\r\n354 go\r\n" },
	};
	/* The server dies after two of three replies. */
	static const struct turn dying[] = {
		{ NULL, GREETING },
		{ "LHLO fw.example.net\r\n", "250 mx\r\n" },
		{ "MAIL FROM:<a@example.net>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r0@example.org>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r1@example.org>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r2@example.org>\r\n", "250 ok\r\n" },
		{ "DATA\r\n", "354 go\r\n" },
		{ BODY, "250 ok\r\n550 no\r\n" },
	};
	run_script(&(struct script){ "lmtp-nobody", STEPS(nobody), .is_lmtp = true, .messages = { { 1, { F } } }, .message_count = 1,
				     .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "lmtp-dying", STEPS(dying), .is_lmtp = true, .messages = { { 3, { D, F, L } } }, .message_count = 1,
				     .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "lmtp", STEPS(steps), .is_lmtp = true, .messages = { { 3, { D, F, L } } }, .message_count = 1,
				     .end = SMTP_END_IDLE });
}

#define X_EHLO "250-mx\r\n250-XCLIENT ADDR HELO\r\n250 PIPELINING\r\n"
#define XCLIENT(n) "XCLIENT HELO=client.example.net ADDR=192.0.2." #n "\r\n"
#define CLIENT_EHLO "EHLO client.example.net\r\n"
#define MAIL_ONE "MAIL FROM:<a@example.net>\r\nRCPT TO:<r0@example.org>\r\nDATA\r\n"
#define TAKEN "250 ok\r\n250 ok\r\n354 go\r\n"

/* Every message goes under its own client's name, and none between a MAIL and its end. */
static void each_message_under_its_client(void **state)
{
	(void)state;
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ EHLO, X_EHLO },
		{ XCLIENT(1), GREETING },
		{ CLIENT_EHLO, X_EHLO },
		{ MAIL_ONE, TAKEN },
		{ BODY, "250 ok\r\n" },
		{ MAIL_ONE, "250 ok\r\n550 no\r\n554 nobody\r\n" }, /* the same client */
		{ "RSET\r\n", "250 ok\r\n" },
		{ "XCLIENT HELO=no+20domain! ADDR=192.0.2.66\r\n", GREETING },
		{ EHLO, X_EHLO }, /* its own word would not do */
		{ MAIL_ONE, TAKEN },
		{ BODY, "250 ok\r\n" },
		{ XCLIENT(1), GREETING },
		{ CLIENT_EHLO, "250 mx\r\n" }, /* no XCLIENT any more */
		{ "MAIL FROM:<a@example.net>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r0@example.org>\r\n", "250 ok\r\n" },
		{ "DATA\r\n", "354 go\r\n" },
		{ BODY, "250 ok\r\n" },
		QUIT,
	};
	run_script(&(struct script){ "xclient", STEPS(steps), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { D } }, { 1, { F } }, { 1, { D } }, { 1, { D } } }, .clients = { 1, 1, 66, 1 },
				     .message_count = 4, .end = SMTP_END_IDLE });
}

/* Where HELO is not among the attributes, the server has it from EHLO, and it is a client's own all the same. */
static void each_message_under_its_helo(void **state)
{
	(void)state;
#define ADDR_EHLO "250-mx\r\n250-XCLIENT ADDR\r\n250 PIPELINING\r\n"
#define ADDR_ONLY "XCLIENT ADDR=192.0.2.1\r\n"
	static const struct turn steps[] = {
		{ NULL, GREETING },
		{ EHLO, ADDR_EHLO },
		{ ADDR_ONLY, GREETING },
		{ CLIENT_EHLO, ADDR_EHLO },
		{ MAIL_ONE, TAKEN },
		{ BODY, "250 ok\r\n" },
		{ ADDR_ONLY, GREETING },
		{ "EHLO other.example.net\r\n", "250-mx\r\n250 PIPELINING\r\n" },
		{ MAIL_ONE, TAKEN },
		{ BODY, "250 ok\r\n" },
		{ "QUIT\r\n", "" },
	};
	run_script(&(struct script){ "xclient-helos", STEPS(steps), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { D } }, { 1, { D } }, { 1, { SPOOL_OUTCOME_NONE } } }, .clients = { 1, 101, 1 },
				     .message_count = 3, .end = SMTP_END_STALE });
}

static void never_under_another_clients_name(void **state)
{
	(void)state;
	static const struct turn gone[] = {
		{ NULL, GREETING }, { EHLO, X_EHLO },         { XCLIENT(1), GREETING },
		{ CLIENT_EHLO, "250-mx\r\n250 PIPELINING\r\n" }, { MAIL_ONE, TAKEN },    { BODY, "250 ok\r\n" },
		{ MAIL_ONE, TAKEN },    { BODY, "250 ok\r\n" }, /* the same client needs no word */
		{ "QUIT\r\n", "" },
	};
	static const struct turn refused_later[] = {
		{ NULL, GREETING },    { EHLO, X_EHLO },      { XCLIENT(1), GREETING },      { CLIENT_EHLO, X_EHLO },
		{ MAIL_ONE, TAKEN }, { BODY, "250 ok\r\n" }, { XCLIENT(2), "550 no\r\n" },
	};
	static const struct turn refused_at_once[] = { { NULL, GREETING }, { EHLO, X_EHLO }, { XCLIENT(1), "550 5.7.1 no\r\n" } };
	static const struct turn unknown_command[] = { { NULL, GREETING }, { EHLO, X_EHLO }, { XCLIENT(1), "502 5.5.1 what?\r\n" } };
	static const struct turn shrunk[] = {
		{ NULL, GREETING },  { EHLO, X_EHLO },        { XCLIENT(1), GREETING }, { CLIENT_EHLO, "250-mx\r\n250-XCLIENT ADDR\r\n250 PIPELINING\r\n" },
		{ MAIL_ONE, TAKEN }, { BODY, "250 ok\r\n" }, { MAIL_ONE, TAKEN },      { BODY, "250 ok\r\n" }, /* the same client needs no word */
		{ "QUIT\r\n", "" },
	};
	static const struct turn unwanted[] = { { NULL, GREETING }, { EHLO, X_EHLO }, { XCLIENT(1), "554 5.7.1 not you\r\n" } };
	static const struct turn bad_helo[] = {
		{ NULL, GREETING }, { EHLO, X_EHLO }, { XCLIENT(1), GREETING }, { CLIENT_EHLO, "550 bad name\r\n" },
	};
	run_script(&(struct script){ "xclient-gone", STEPS(gone), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { D } }, { 1, { D } }, { 1, { SPOOL_OUTCOME_NONE } } }, .clients = { 1, 1, 2 },
				     .message_count = 3, .end = SMTP_END_STALE });
	run_script(&(struct script){ "xclient-refused-later", STEPS(refused_later), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { D } }, { 1, { L } } }, .clients = { 1, 2 }, .message_count = 2, .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "xclient-refused", STEPS(refused_at_once), .identity = IDENTITY_XCLIENT, .messages = { { 1, { L } } },
				     .clients = { 1 }, .message_count = 1, .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "xclient-unknown", STEPS(unknown_command), .identity = IDENTITY_XCLIENT, .messages = { { 1, { L } } },
				     .clients = { 1 }, .message_count = 1, .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "xclient-shrunk", STEPS(shrunk), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { D } }, { 1, { D } }, { 1, { SPOOL_OUTCOME_NONE } } }, .clients = { 1, 1, 2 },
				     .message_count = 3, .end = SMTP_END_STALE });
	run_script(&(struct script){ "xclient-554", STEPS(unwanted), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { F } } }, .clients = { 1 }, .message_count = 1, .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "xclient-helo", STEPS(bad_helo), .identity = IDENTITY_XCLIENT,
				     .messages = { { 1, { F } } }, .clients = { 1 }, .message_count = 1, .end = SMTP_END_BROKEN });
}

/* A server that is out of step says 2xx where nothing has been given to it yet: that delivers nothing. */
static void only_the_last_reply_delivers(void **state)
{
	(void)state;
	static const struct turn late_greeting[] = {
		{ NULL, GREETING }, { EHLO, X_EHLO }, { XCLIENT(1), "250 ok\r\n220 mx greeting\r\n" },
	};
	static const struct turn odd_ehlo[] = {
		{ NULL, GREETING }, { EHLO, X_EHLO }, { XCLIENT(1), GREETING }, { CLIENT_EHLO, "252 perhaps\r\n" },
	};
	static const struct turn odd_lhlo[] = {
		{ NULL, GREETING }, { "LHLO fw.example.net\r\n", X_EHLO }, { XCLIENT(1), GREETING }, { "LHLO client.example.net\r\n", "220 mx\r\n" },
	};
	static const struct turn no_data[] = {
		{ NULL, GREETING }, { EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n250 ok\r\n250 queued\r\n" },
	};
	static const struct {
		const char *name;
		const struct turn *steps;
		size_t count, deaf_from;
		bool is_lmtp;
		enum forward_identity identity;
	} cases[] = {
		{ "late-greeting", late_greeting, 3, 2, false, IDENTITY_XCLIENT },
		{ "odd-ehlo", odd_ehlo, 4, 0, false, IDENTITY_XCLIENT },
		{ "odd-lhlo", odd_lhlo, 4, 0, true, IDENTITY_XCLIENT },
		{ "no-data", no_data, 3, 0, false, IDENTITY_NONE },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		run_script(&(struct script){ cases[i].name, cases[i].steps, cases[i].count, .is_lmtp = cases[i].is_lmtp,
					     .identity = cases[i].identity, .deaf_from = cases[i].deaf_from, .messages = { { 1, { L } } }, .clients = { 1 },
					     .message_count = 1, .end = SMTP_END_BROKEN });
}

/* Questions about recipients: never DATA, and only the reply to its own RCPT says something about a recipient. */
static void questions_about_recipients(void **state)
{
	(void)state;
	static const struct turn one_by_one[] = {
		{ NULL, GREETING },
		{ EHLO, PLAIN_EHLO },
		{ "MAIL FROM:<a@example.net>\r\n", "250 ok\r\n" },
		{ "RCPT TO:<r0@example.org>\r\n", "250 ok\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		{ "MAIL FROM:<a@example.net>\r\n", "554 5.7.1 I don't like you\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		QUIT,
	};
	static const struct turn pipelined[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nRCPT TO:<r1@example.org>\r\nRCPT TO:<r2@example.org>\r\n",
		  "250 ok\r\n550 5.1.1 no\r\n450 later\r\n251 elsewhere\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\n", "550 no null sender\r\n503 need MAIL\r\n" },
		{ "RSET\r\n", "250 ok\r\n" },
		QUIT,
	};
	run_script(&(struct script){ "probe", STEPS(one_by_one), .messages = { { 1, { D } }, { 1, { L } } }, .is_probe = true,
				     .message_count = 2, .end = SMTP_END_IDLE });
	run_script(&(struct script){ "probe-pipelined", STEPS(pipelined),
				     .messages = { { 3, { F, L, D } }, { 1, { L } } }, .is_probe = true,
				     .message_count = 2, .end = SMTP_END_IDLE });
}

#define TLS_EHLO "250-mx\r\n250-STARTTLS\r\n250 PIPELINING\r\n"

/* What can go wrong before the handshake (test_tls.py has the handshake): each level's own end, and never a message in clear text that
 * was to be encrypted. */
static void starttls(void **state)
{
	(void)state;
	static const struct turn not_offered[] = { { NULL, GREETING }, { EHLO, PLAIN_EHLO } };
	static const struct turn helo_only[] = { { NULL, GREETING }, { EHLO, "500 what?\r\n" }, { "HELO fw.example.net\r\n", "250 mx\r\n" } };
	static const struct turn refused[] = { { NULL, GREETING }, { EHLO, TLS_EHLO }, { "STARTTLS\r\n", "454 no\r\n" } };
	static const struct turn taken_in_clear[] = {
		{ NULL, GREETING }, { EHLO, TLS_EHLO }, { "STARTTLS\r\n", "454 no\r\n" }, { MAIL_ONE, TAKEN }, { BODY, "250 ok\r\n" }, QUIT,
	};
	static const struct turn hangs_up[] = {
		{ NULL, GREETING }, { EHLO, TLS_EHLO }, { "STARTTLS\r\n", "220 go\r\n" }, { NULL, NULL },
	};
	static const struct turn injected[] = {
		{ NULL, GREETING }, { EHLO, TLS_EHLO }, { "STARTTLS\r\n", "220 go\r\n250 mx\r\n" }, { NULL, NULL },
	};
	static const struct {
		const char *name;
		const struct turn *steps;
		size_t count;
		enum tls_level level;
		enum smtp_end end;
	} cases[] = {
		{ "not-offered", not_offered, 2, TLS_ENCRYPT, SMTP_END_REFUSED },
		{ "not-offered", not_offered, 2, TLS_VERIFY, SMTP_END_REFUSED },
		{ "helo-only", helo_only, 3, TLS_ENCRYPT, SMTP_END_REFUSED },
		{ "refused", refused, 3, TLS_ENCRYPT, SMTP_END_REFUSED },
		{ "hangs-up", hangs_up, 4, TLS_MAY, SMTP_END_NO_TLS },
		{ "hangs-up", hangs_up, 4, TLS_VERIFY, SMTP_END_REFUSED },
		{ "injected", injected, 4, TLS_MAY, SMTP_END_NO_TLS },
		{ "injected", injected, 4, TLS_ENCRYPT, SMTP_END_REFUSED },
	};
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		run_script(&(struct script){ cases[i].name, cases[i].steps, cases[i].count, .tls = cases[i].level, .deaf_from = 2,
					     .messages = { { 1, { SPOOL_OUTCOME_NONE } } }, .message_count = 1, .end = cases[i].end });
	run_script(&(struct script){ "clear", STEPS(taken_in_clear), .tls = TLS_MAY, .messages = { { 1, { D } } }, .message_count = 1,
				     .end = SMTP_END_IDLE });
}

static void ends(void **state)
{
	(void)state;
	static const struct turn refused[] = { { NULL, "554 go away\r\n" } };
	static const struct turn nonsense[] = { { NULL, GREETING }, { EHLO, "hello yourself\r\n" } };
	static const struct turn going[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "421 shutting down\r\n" },
	};
	static const struct turn stale[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n" },
		{ BODY, "250 ok\r\n" },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "421 idle too long\r\n" },
	};
	static const struct turn silent[] = {
		{ NULL, GREETING },
		{ EHLO, FULL_EHLO },
		{ MAIL_FULL "RCPT TO:<r0@example.org>\r\nDATA\r\n", "250 ok\r\n250 ok\r\n354 go\r\n" },
		{ BODY, "" },
	};
	run_script(&(struct script){ "refused", STEPS(refused), .messages = { { 1, { SPOOL_OUTCOME_NONE } } }, .message_count = 1,
				     .end = SMTP_END_REFUSED });
	run_script(&(struct script){ "nonsense", STEPS(nonsense), .messages = { { 1, { SPOOL_OUTCOME_NONE } } }, .message_count = 1,
				     .end = SMTP_END_REFUSED });
	run_script(&(struct script){ "going", STEPS(going), .messages = { { 1, { L } } }, .message_count = 1,
				     .end = SMTP_END_BROKEN });
	run_script(&(struct script){ "stale", STEPS(stale), .messages = { { 1, { D } }, { 1, { SPOOL_OUTCOME_NONE } } },
				     .message_count = 2, .end = SMTP_END_STALE });
	run_script(&(struct script){ "silent", STEPS(silent), .messages = { { 1, { L } } }, .message_count = 1,
				     .end = SMTP_END_BROKEN });
}

int main(void)
{
	static const char *const names[RECIPIENTS_MAX] = { "r0@example.org", "r1@example.org", "r2@example.org", "r3@example.org" };
	(void)signal(SIGPIPE, SIG_IGN); /* as in every process of ours: sendfile() knows no MSG_NOSIGNAL */
	if (tls_trust_create(NULL, &trust, NULL) != 0)
		return 1;
	for (size_t i = 0; i < RECIPIENTS_MAX; i++)
		paths[i].path = span_of(names[i]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_command_at_a_time),
		cmocka_unit_test(pipelined_messages_in_a_row),
		cmocka_unit_test(data_taken_without_recipients),
		cmocka_unit_test(sender_refused),
		cmocka_unit_test(helo_where_ehlo_is_unknown),
		cmocka_unit_test(lmtp_answers_each_recipient),
		cmocka_unit_test(each_message_under_its_client),
		cmocka_unit_test(each_message_under_its_helo),
		cmocka_unit_test(never_under_another_clients_name),
		cmocka_unit_test(only_the_last_reply_delivers),
		cmocka_unit_test(questions_about_recipients),
		cmocka_unit_test(starttls),
		cmocka_unit_test(ends),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	tls_trust_release(&trust);
	return failed;
}
