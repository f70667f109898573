/* A worker's side of the spool: what it says to a posternfwd that hangs, what it makes of a master that is gone or answers late. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "committed_notice.h"
#include "ipc.h"
#include "log.h"
#include "spool_fixture.h"
#include "worker_spool.h"

static struct spool_fixture fixture;
static struct loop *loop;
static struct ipc_channel *master;
static int master_end, forwarder_end = -1;
static struct worker_spool *spool;
static struct spool_id_source ids;
static struct conf conf;
static int last_err;

static void ignore_message(void *ctx, struct ipc_message *msg)
{
	(void)ctx;
	(void)msg;
}

static void ignore_closed(void *ctx, int err)
{
	(void)ctx;
	(void)err;
}

static void stop(void *ctx)
{
	(void)ctx;
	loop_stop(loop);
}

static int setup(void **state)
{
	int pair[2];
	(void)state;
	log_setup("test", LOG_FORM_TERMINAL, LOG_LEVEL_ERR);
	spool_fixture_make(&fixture);
	conf_defaults(&conf);
	spool_id_source_init(&ids, 0);
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(ipc_pair(pair), 0);
	master_end = pair[1];
	assert_int_equal(ipc_channel_create(loop, pair[0], ignore_message, ignore_closed, NULL, &master), 0);
	assert_int_equal(worker_spool_create(loop, &conf, master, &spool), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	worker_spool_destroy(&spool, stop, NULL);
	loop_run(loop);
	ipc_channel_destroy(&master);
	loop_destroy(&loop);
	if (master_end >= 0)
		(void)close(master_end);
	if (forwarder_end >= 0)
		(void)close(forwarder_end);
	forwarder_end = -1;
	spool_fixture_remove(&fixture);
	return 0;
}

static void drained(void *ctx)
{
	(void)ctx;
}

static void done(void *ctx, int err)
{
	(void)ctx;
	last_err = err;
	loop_stop(loop);
}

static int send_one(void)
{
	struct spool_id id = spool_id_next(&ids);
	struct spool_txn *txn = NULL;
	assert_int_equal(spool_txn_open(worker_spool_writer(spool), &id, drained, NULL, &txn), 0);
	(void)spool_txn_append(txn, SPAN_LIT("text\r\n.\r\n"));
	spool_txn_commit(txn, sample_envelope(1), done, NULL);
	last_err = 1;
	loop_run(loop);
	return last_err;
}

static void give_segment(uint64_t number)
{
	struct role_segment what = { .err = 0 };
	int fd = -1;
	assert_int_equal(spool_segment_create(&fixture.dirs, number, 0, geteuid(), getegid(), &what.name, &fd), 0);
	worker_spool_segment(spool, &what, fd);
}

static void link_forwarder(void)
{
	int pair[2];
	assert_int_equal(ipc_pair(pair), 0);
	forwarder_end = pair[1];
	worker_spool_forwarder(spool, pair[0]);
}

/* The offset in the last notice that is there, 0: none. */
static uint64_t heard(void)
{
	struct ipc_message msg;
	struct spool_committed what = { .offset = 0 };
	while (ipc_receive_wait(forwarder_end, 0, &msg) == 0) {
		assert_int_equal(msg.type, NOTICE_COMMITTED);
		assert_int_equal(msg.len, sizeof what);
		struct spool_committed last = what;
		memcpy(&what, msg.payload, sizeof what);
		assert_true(what.offset >= last.offset);
	}
	return what.offset;
}

static void forwarder_hangs(void **state)
{
	struct loop_timer *timer;
	uint64_t offset = 0;
	(void)state;
	give_segment(1);
	link_forwarder();
	assert_int_equal(send_one(), 0);
	uint64_t length = heard();
	assert_true(length > 0);
	/* More than the socket and the queue of the channel take. */
	const unsigned count = 3000;
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(send_one(), 0);
	assert_int_equal(loop_timer_create(loop, stop, NULL, &timer), 0);
	for (unsigned tries = 0; tries < 20 && offset < (count + 1) * length; tries++) {
		uint64_t more = heard();
		offset = more > offset ? more : offset;
		loop_timer_start(timer, 100);
		loop_run(loop);
	}
	loop_timer_destroy(&timer);
	assert_int_equal(offset, (count + 1) * length); /* without any further mail */
}

static void forwarder_comes_back(void **state)
{
	(void)state;
	give_segment(1);
	assert_int_equal(send_one(), 0);
	link_forwarder();
	uint64_t offset = heard();
	assert_true(offset > 0);
	(void)close(forwarder_end);
	link_forwarder();
	assert_int_equal(heard(), offset);
}

static void surplus_segment(void **state)
{
	(void)state;
	give_segment(1);
	give_segment(2);
	assert_int_equal(send_one(), 0);
}

static void master_is_gone(void **state)
{
	(void)state;
	(void)close(master_end);
	master_end = -1;
	assert_int_equal(send_one(), ERR_IO); /* at once, not after ten seconds */
	static char line[1000];
	struct spool_id id = spool_id_next(&ids);
	struct spool_txn *txn = NULL;
	memset(line, 'x', sizeof line);
	assert_int_equal(spool_txn_open(worker_spool_writer(spool), &id, stop, NULL, &txn), 0);
	while (spool_txn_append(txn, (struct span){ line, sizeof line }) == STEP_DONE)
		;
	loop_run(loop); /* drained: it goes on, and learns it at the end */
	spool_txn_commit(txn, sample_envelope(1), done, NULL);
	loop_run(loop);
	assert_int_equal(last_err, ERR_IO);
}

#define spool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { spool_test(forwarder_hangs), spool_test(forwarder_comes_back), spool_test(surplus_segment),
					    spool_test(master_is_gone) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
