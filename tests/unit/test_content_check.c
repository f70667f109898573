/* What a message must pass (proxy/content_check.c), with engines of the test's own in the place of the real ones: their order, what decides, what they change. */
#include "content_engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OWN "Received: here\r\n"
#define WIRE OWN "Subject: x\r\n\r\ntext\r\n.\r\n"

static struct session_host host; /* large */
static struct loop_timer *guard;

/* ---- engines: first, second */

struct play {
	struct content_verdict verdict;
	struct content_change change;
	bool has_change, is_silent;
	/* and what happened to it */
	unsigned opened, ran, closed;
	size_t pushed;
	struct content_image image;
	struct span from;
	size_t recipient_count;
	struct content_check *check;
};
static struct play plays[2];

static bool always(const struct session_host *unused)
{
	(void)unused;
	return true;
}

static int open_play(struct play *p, struct content_check *check, void **state_out)
{
	p->opened++;
	p->check = check;
	*state_out = p;
	return 0;
}

static int open_first(struct content_check *check, struct session_host *unused, uint64_t sid, void **state_out)
{
	(void)unused;
	(void)sid;
	return open_play(&plays[0], check, state_out);
}

static int open_second(struct content_check *check, struct session_host *unused, uint64_t sid, void **state_out)
{
	(void)unused;
	(void)sid;
	return open_play(&plays[1], check, state_out);
}

static void run(void *state, const struct content_image *image, const struct spool_envelope *envelope)
{
	struct play *p = state;
	p->ran++;
	p->image = *image;
	p->from = envelope->from;
	p->recipient_count = envelope->recipient_count;
	if (p->is_silent)
		loop_stop(host.loop);
	else
		content_engine_done(p->check, &p->verdict, p->has_change ? &p->change : NULL);
}

/* It takes one push at a time. */
static void push(void *state, struct span wire)
{
	struct play *p = state;
	p->pushed += wire.len;
	content_engine_pause(p->check);
}

static void close_play(void *state)
{
	((struct play *)state)->closed++;
}

static const struct content_engine first = { .need = NEED_FILTER, .is_configured = always, .open = open_first, .run = run, .close = close_play };
static const struct content_engine second = { .need = NEED_EXTCHK, .is_configured = always, .open = open_second, .push = push, .run = run, .close = close_play };
const struct content_engine *const content_engines[] = { &first, &second, NULL };

/* ---- a message */

static struct content_verdict verdict;
static bool is_done, is_changed;
static char wire_after[200];
static size_t recipients_after;
static char hold_after[1000];

static void overdue(void *ctx)
{
	(void)ctx;
	fail_msg("nothing happens any more");
}

static void done(void *ctx, const struct content_result *result)
{
	(void)ctx;
	verdict = *result->verdict;
	is_done = true;
	is_changed = result->changed != NULL;
	recipients_after = result->envelope->recipient_count;
	assert_int_equal(span_to_cstr(result->envelope->hold, hold_after, sizeof hold_after), 0);
	memset(wire_after, 0, sizeof wire_after);
	if (is_changed)
		assert_int_equal(pread(result->changed->fd, wire_after, sizeof wire_after - 1, 0), result->changed->len);
	loop_stop(host.loop);
}

static struct content_check *start(uint32_t needs)
{
	static struct spool_recipient recipients[] = { { .path = SPAN_LIT("a@x.example") }, { .path = SPAN_LIT("b@x.example") } };
	static const struct spool_envelope envelope = { .from = SPAN_LIT("s@x.example"), .recipients = recipients, .recipient_count = 2 };
	const struct content_image image = { .memory = SPAN_LIT(WIRE), .fd = -1, .len = sizeof WIRE - 1, .own_len = sizeof OWN - 1 };
	struct content_check *check = NULL;
	is_done = false;
	assert_int_equal(content_check_create(&host, 1, needs, &check), 0);
	content_check_run(check, &image, &envelope, done, NULL);
	assert_false(is_done);
	return check;
}

static void judge(uint32_t needs)
{
	struct content_check *check = start(needs);
	loop_run(host.loop);
	assert_true(is_done);
	content_check_destroy(&check);
	assert_null(check);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(plays[i].opened, plays[i].closed);
}

static void change_message(struct play *p, const char *wire)
{
	p->has_change = true;
	p->change.fd = memfd_create("test", MFD_CLOEXEC);
	p->change.len = strlen(wire);
	assert_int_equal(write(p->change.fd, wire, strlen(wire)), strlen(wire));
}

static void assert_closed(int fd)
{
	assert_int_equal(lseek(fd, 0, SEEK_CUR), -1);
}

static int setup(void **unused)
{
	(void)unused;
	memset(&host, 0, sizeof host);
	for (size_t i = 0; i < 2; i++)
		plays[i] = (struct play){ .change = { .fd = -1 } };
	assert_int_equal(loop_create(&host.loop), 0);
	assert_int_equal(loop_timer_create(host.loop, overdue, NULL, &guard), 0);
	loop_timer_start(guard, 20000);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	assert_int_equal(host.changed_bytes, 0);
	loop_timer_destroy(&guard);
	loop_destroy(&host.loop);
	return 0;
}

/* ---- */

static void test_only_what_is_needed(void **unused)
{
	(void)unused;
	judge(NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_PASS);
	assert_false(is_changed);
	assert_int_equal(plays[0].opened, 0);
	assert_int_equal(plays[1].ran, 1);
	assert_int_equal(plays[1].recipient_count, 2);
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(plays[0].ran, 1);
	assert_int_equal(plays[1].ran, 2);
}

static void test_the_first_refusal_decides(void **unused)
{
	(void)unused;
	plays[0].verdict = (struct content_verdict){ CONTENT_REFUSE, 550, "5.7.1", "no", "first" };
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.code, 550);
	assert_int_equal(plays[1].ran, 0);
	plays[0].verdict = (struct content_verdict){ .outcome = CONTENT_DISCARD };
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_DISCARD);
	assert_int_equal(plays[1].ran, 0);
}

static void test_the_next_sees_what_was_changed(void **unused)
{
	static const struct content_recipient added[] = { { .path = SPAN_LIT("c@x.example"), .by = "one" } };
	static const struct span removed[] = { SPAN_LIT("A@x.example"), SPAN_LIT("b@X.example") };
	(void)unused;
	change_message(&plays[0], OWN "Subject: y\r\n\r\n.\r\n");
	plays[0].change.has_sender = true;
	plays[0].change.sender = SPAN_LIT("");
	plays[0].change.added = added;
	plays[0].change.added_count = 1;
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(plays[1].image.fd, plays[0].change.fd);
	assert_int_equal(plays[1].image.len, plays[0].change.len);
	assert_int_equal(plays[1].image.own_len, sizeof OWN - 1);
	assert_int_equal(plays[1].from.len, 0);
	assert_int_equal(plays[1].recipient_count, 3);
	assert_string_equal(wire_after, OWN "Subject: y\r\n\r\n.\r\n");
	assert_string_equal(hold_after, "");
	assert_closed(plays[0].change.fd);
	/* Both change it: the second has the last word.  Our own field is gone. */
	change_message(&plays[0], "Subject: z\r\n\r\n.\r\n");
	change_message(&plays[1], "Subject: zz\r\n\r\n.\r\n");
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(plays[1].image.own_len, 0);
	assert_string_equal(wire_after, "Subject: zz\r\n\r\n.\r\n");
	assert_closed(plays[0].change.fd);
	assert_closed(plays[1].change.fd);
	/* Nobody is left. */
	plays[0].change = (struct content_change){ .fd = -1, .removed = removed, .removed_count = 2 };
	plays[1].has_change = false;
	judge(NEED_FILTER);
	assert_int_equal(verdict.outcome, CONTENT_DISCARD);
	assert_int_equal(recipients_after, 0);
}

static void test_holding(void **unused)
{
	char reason[900];
	(void)unused;
	memset(reason, 'r', sizeof reason);
	plays[0].has_change = true;
	plays[0].change.hold_reason = SPAN_LIT("");
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_string_equal(hold_after, "no reason was given");
	plays[0].change.hold_reason = (struct span){ reason, sizeof reason };
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_PASS);
	assert_int_equal(strlen(hold_after), 500);
	assert_memory_equal(hold_after, reason, 500);
	/* No envelope takes these. */
	plays[0].change.hold_reason = SPAN_LIT(" two\r\nlines\0\x7f\n");
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_string_equal(hold_after, "two  lines");
	plays[0].change.hold_reason = SPAN_LIT("\n");
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_string_equal(hold_after, "no reason was given");
}

static void test_changed_messages_have_a_budget(void **unused)
{
	(void)unused;
	plays[1].is_silent = true;
	change_message(&plays[0], OWN "\r\n.\r\n");
	const size_t len = plays[0].change.len;
	struct content_check *check = start(NEED_FILTER | NEED_EXTCHK);
	loop_run(host.loop);
	assert_int_equal(plays[1].ran, 1);
	assert_int_equal(host.changed_bytes, len);
	content_check_destroy(&check);
	assert_int_equal(host.changed_bytes, 0);
	assert_closed(plays[0].change.fd);

	/* Others have used it up: what is not changed passes all the same. */
	host.changed_bytes = CONTENT_CHANGED_BYTES_MAX + 1;
	plays[1].is_silent = false;
	change_message(&plays[0], OWN "\r\n.\r\n");
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_REFUSE);
	assert_int_equal(verdict.code, 452);
	assert_int_equal(plays[1].ran, 1);
	assert_closed(plays[0].change.fd);
	plays[0].has_change = false;
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_PASS);
	assert_int_equal(host.changed_bytes, CONTENT_CHANGED_BYTES_MAX + 1);
	host.changed_bytes = 0;
}

/* Added, and more than an envelope takes: who did it is told, and the client need not guess at trouble of the spool. */
static void test_more_recipients_than_an_envelope_takes(void **unused)
{
	static char paths[5000][800];
	static struct content_recipient added[5000];
	(void)unused;
	for (size_t i = 0; i < 5000; i++) {
		(void)snprintf(paths[i], sizeof paths[i], "%0700zu@x.example", i);
		added[i] = (struct content_recipient){ .path = span_of(paths[i]), .by = "adder" };
	}
	plays[0].has_change = true;
	plays[0].change.added = added;
	plays[0].change.added_count = 5000;
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_PASS);
	assert_int_equal(recipients_after, 5002);
	for (size_t i = 0; i < 5000; i++)
		added[i].orcpt = span_of(paths[0]);
	judge(NEED_FILTER | NEED_EXTCHK);
	assert_int_equal(verdict.outcome, CONTENT_REFUSE);
	assert_int_equal(verdict.code, 452);
	assert_string_equal(verdict.enhanced, "4.5.3");
	assert_non_null(strstr(verdict.why, "milter adder "));
	assert_int_equal(plays[1].ran, 1);
}

static void count(void *ctx)
{
	++*(unsigned *)ctx;
}

static void test_pauses(void **unused)
{
	(void)unused;
	static const struct spool_envelope envelope = { .from = SPAN_LIT("s@x.example") };
	const struct content_image image = { .memory = SPAN_LIT(WIRE), .fd = -1, .len = sizeof WIRE - 1, .own_len = sizeof OWN - 1 };
	struct content_check *check = NULL;
	unsigned drained = 0;
	/* Only who is asked for is heard. */
	assert_int_equal(content_check_create(&host, 1, NEED_FILTER, &check), 0);
	assert_int_equal(content_check_push(check, SPAN_LIT("a")), STEP_DONE);
	content_check_destroy(&check);
	assert_int_equal(content_check_create(&host, 1, NEED_FILTER | NEED_EXTCHK, &check), 0);
	content_check_on_drained(check, count, &drained);
	assert_int_equal(content_check_push(check, SPAN_LIT("a")), STEP_WAIT);
	assert_int_equal(content_check_push(check, SPAN_LIT("bc")), STEP_WAIT);
	assert_int_equal(plays[1].pushed, 3);
	content_engine_drained(check);
	content_engine_drained(check);
	assert_int_equal(drained, 1);
	/* Behind the end of the message nobody waits for that any more. */
	assert_int_equal(content_check_push(check, SPAN_LIT("d")), STEP_WAIT);
	is_done = false;
	content_check_run(check, &image, &envelope, done, NULL);
	content_engine_drained(check);
	assert_int_equal(drained, 1);
	loop_run(host.loop);
	assert_true(is_done);
	content_check_destroy(&check);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = { TEST(test_only_what_is_needed), TEST(test_the_first_refusal_decides), TEST(test_the_next_sees_what_was_changed), TEST(test_holding), TEST(test_pauses),
					    TEST(test_changed_messages_have_a_budget), TEST(test_more_recipients_than_an_envelope_takes) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
