/* The forwarder's view of journal/: what a failed sync left behind is handed out on no way on which a segment is read. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "journal.h"
#include "log.h"
#include "spool_fixture.h"

static struct spool_fixture fixture;
static struct writer_host host;
static struct recovered found;
static struct loop *loop;
static struct journal *journal;
static unsigned handed_out;

static bool message(void *ctx, struct segment *segment, uint64_t offset, const struct spool_record *record,
		    const struct spool_envelope *envelope, const enum spool_outcome *outcomes)
{
	(void)ctx;
	(void)segment;
	(void)record;
	(void)envelope;
	(void)outcomes;
	(void)offset;
	handed_out++;
	return true;
}

static void stop(void *ctx)
{
	loop_stop(ctx);
}

static void run(unsigned ms)
{
	struct loop_timer *timer;
	assert_int_equal(loop_timer_create(loop, stop, loop, &timer), 0);
	loop_timer_start(timer, ms);
	loop_run(loop);
	loop_timer_destroy(&timer);
}

/* Three records of a writer that is gone; a run before ours noted that the second and the third were refused. */
static int setup(void **state)
{
	static const struct journal_events events = { message, NULL };
	struct spool_ack_log acks;
	(void)state;
	log_setup("test", LOG_FORM_TERMINAL, LOG_LEVEL_ERR);
	spool_fixture_make(&fixture);
	writer_host_make(&host, &fixture.dirs, NULL);
	for (unsigned i = 0; i < 3; i++)
		writer_host_send(&host, SPAN_LIT("text\r\n.\r\n"));
	writer_host_run(&host, 3);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 3);
	assert_int_equal(spool_ack_open(&fixture.dirs, host.last.segment.text, &acks), 0);
	assert_int_equal(spool_ack_add(&acks, found.offsets[1], SPOOL_ACK_ALL, SPOOL_OUTCOME_VOID), 0);
	assert_true(spool_ack_begin(&acks));
	assert_int_equal(spool_ack_write(&acks), 0);
	spool_ack_end(&acks, 0);
	spool_ack_close(&acks);
	handed_out = 0;
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(journal_create(loop, &fixture.dirs, &events, &journal), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100 && !journal_is_quiet(journal); i++)
		run(20);
	journal_destroy(&journal);
	loop_destroy(&loop);
	spool_fixture_remove(&fixture);
	return 0;
}

static void void_behind_what_the_start_could_not_read(void **state)
{
	(void)state;
	assert_non_null(journal_adopt(journal, host.last.segment.text));
	journal_unread(journal, host.last.segment.text, 0);
	journal_poll(journal);
	run(100);
	assert_int_equal(handed_out, 1);
}

static void void_where_a_writer_is_gone(void **state)
{
	(void)state;
	struct spool_committed what = { .segment = host.last.segment, .offset = found.offsets[1] };
	assert_int_equal(journal_notice(journal, &what), 0);
	run(100);
	assert_int_equal(handed_out, 1);
	for (unsigned look = 0; look < 3; look++) {
		journal_poll(journal);
		run(100);
	}
	assert_int_equal(handed_out, 1);
}

#define journal_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { journal_test(void_behind_what_the_start_could_not_read), journal_test(void_where_a_writer_is_gone) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
