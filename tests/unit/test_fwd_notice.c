/* Notices of session workers, which may have been taken over: who may say what, and what the journal believes. */
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "journal.h"
#include "log.h"
#include "notice.h"
#include "spool_fixture.h"

static struct spool_committed committed_of(const char *name, uint64_t offset)
{
	struct spool_committed what;
	memset(&what, 0, sizeof what);
	(void)snprintf(what.segment.text, sizeof what.segment.text, "%s", name);
	what.offset = offset;
	return what;
}

static struct span bytes_of(const void *what, size_t len)
{
	return (struct span){ what, len };
}

static void only_its_own_segments(void **state)
{
	(void)state;
	static const char *const others[] = { "0000000000000001.w2.seg", "0000000000000001.w13.seg", "0000000000000001.w31.seg", "../w3.seg",
					      "0000000000000001.w3.sex", "", "0000000000000001.w3.seg/x" };
	struct notice_peer peer = { .is_known = false };
	struct spool_committed what = committed_of("0000000000000001.w3.seg", 5), out;
	uint32_t three = 3, two = 2;
	struct span own = bytes_of(&what, sizeof what);
	assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, own, 0, &out), STEP_FAIL); /* not introduced */
	assert_int_equal(notice_check(&peer, NOTICE_WORKER, bytes_of(&three, 3), 0, &out), STEP_FAIL);
	assert_int_equal(notice_check(&peer, NOTICE_WORKER, bytes_of(&three, 4), 0, &out), STEP_WAIT);
	assert_int_equal(notice_check(&peer, NOTICE_WORKER, bytes_of(&two, 4), 0, &out), STEP_FAIL); /* a second time */
	assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, own, 0, &out), STEP_DONE);
	assert_string_equal(out.segment.text, "0000000000000001.w3.seg");
	assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, own, 1, &out), STEP_FAIL); /* with a descriptor */
	assert_int_equal(notice_check(&peer, 99, own, 0, &out), STEP_FAIL);
	for (size_t cut = 0; cut < sizeof what; cut++)
		assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, bytes_of(&what, cut), 0, &out), STEP_FAIL);
	for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
		what = committed_of(others[i], 5);
		assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, own, 0, &out), STEP_FAIL);
	}
	what = committed_of("0000000000000001.w3.seg", 5);
	((unsigned char *)&what)[offsetof(struct spool_committed, is_void)] = 7;
	assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, own, 0, &out), STEP_FAIL);
	memset(&what, 'x', sizeof what); /* a name without end */
	assert_int_equal(notice_check(&peer, NOTICE_COMMITTED, own, 0, &out), STEP_FAIL);
}

/* ---- what the journal believes */

static struct spool_fixture fixture;
static struct writer_host host;
static struct loop *loop;
static struct journal *journal;
static unsigned messages;

static bool message(void *ctx, struct segment *segment, uint64_t offset, const struct spool_record *record,
		    const struct spool_envelope *envelope, const enum spool_outcome *outcomes)
{
	(void)ctx;
	(void)segment;
	(void)offset;
	(void)record;
	(void)envelope;
	(void)outcomes;
	messages++;
	return true;
}

static void stop(void *ctx)
{
	(void)ctx;
	loop_stop(loop);
}

/* What is due happens. */
static void run(void)
{
	struct loop_timer *timer;
	assert_int_equal(loop_timer_create(loop, stop, NULL, &timer), 0);
	do {
		loop_timer_start(timer, 60);
		loop_run(loop);
	} while (!journal_is_quiet(journal));
	loop_timer_destroy(&timer);
}

static void send_one(void)
{
	writer_host_send(&host, SPAN_LIT("text\r\n.\r\n"));
	writer_host_run(&host, 1);
}

static int setup(void **state)
{
	const struct journal_events events = { message, NULL };
	(void)state;
	log_setup("test", LOG_FORM_TERMINAL, LOG_LEVEL_ERR);
	messages = 0;
	spool_fixture_make(&fixture);
	writer_host_make(&host, &fixture.dirs, NULL);
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(journal_create(loop, &fixture.dirs, &events, &journal), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	run();
	journal_destroy(&journal);
	loop_destroy(&loop);
	writer_host_remove(&host);
	spool_fixture_remove(&fixture);
	return 0;
}

static int notice_at(uint64_t offset, bool is_sealed, bool is_void)
{
	struct spool_committed what = host.last;
	what.offset = offset;
	what.is_sealed = is_sealed;
	what.is_void = is_void;
	int err = journal_notice(journal, &what);
	run();
	return err;
}

static void offsets_only_grow(void **state)
{
	(void)state;
	send_one();
	uint64_t one = host.last.offset;
	assert_int_equal(notice_at(one, false, false), 0);
	assert_int_equal(messages, 1);
	assert_int_equal(notice_at(one, false, false), 0); /* said again: fine */
	send_one();
	assert_int_equal(notice_at(2 * one, false, false), 0);
	assert_int_equal(messages, 2);
	assert_int_equal(notice_at(one, false, false), ERR_PROTO);
	assert_int_equal(notice_at(2 * one + 1, false, false), ERR_PROTO); /* beyond the end */
	assert_int_equal(notice_at(UINT64_MAX, true, false), ERR_PROTO);
	send_one();
	assert_int_equal(notice_at(3 * one, false, false), 0);
	assert_int_equal(messages, 3);
}

static void void_takes_nothing_back(void **state)
{
	(void)state;
	send_one();
	uint64_t one = host.last.offset;
	send_one();
	assert_int_equal(notice_at(2 * one, false, false), 0);
	assert_int_equal(notice_at(one, true, true), ERR_PROTO);
	assert_int_equal(notice_at(0, true, true), ERR_PROTO);
	assert_int_equal(notice_at(2 * one, true, true), 0);
	assert_int_equal(messages, 2);
	assert_int_equal(notice_at(0, true, true), 0); /* sealed: nothing more is listened to */
	assert_int_equal(messages, 2);
}

/* The first notice is a lie: the file is not open yet, so it is found out a moment later. */
static void beyond_the_end_at_first(void **state)
{
	(void)state;
	send_one();
	assert_int_equal(notice_at(host.last.offset + 1000000, false, false), 0);
	assert_int_equal(messages, 1);
	assert_int_equal(notice_at(host.last.offset, false, false), 0);
	send_one();
	assert_int_equal(notice_at(host.last.offset, false, false), 0);
	assert_int_equal(messages, 2);
}

static void a_flood_of_names(void **state)
{
	(void)state;
	send_one();
	for (unsigned i = 0; i < 5000; i++) {
		struct spool_committed what;
		char name[SPOOL_SEGMENT_NAME_CAP];
		(void)snprintf(name, sizeof name, "%016u.w0.seg", 1000 + i);
		what = committed_of(name, 5);
		int err = journal_notice(journal, &what);
		assert_true(err == 0 || err == ERR_BUSY);
		assert_true(journal_segment_count(journal) <= 300);
	}
	run();
	assert_int_equal(journal_segment_count(journal), 0);
	assert_int_equal(notice_at(host.last.offset, false, false), 0);
	assert_int_equal(messages, 1);
}

#define journal_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(only_its_own_segments), journal_test(offsets_only_grow),
					    journal_test(void_takes_nothing_back), journal_test(beyond_the_end_at_first),
					    journal_test(a_flood_of_names) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
