/* Acknowledgements: a cut or changed file forgets entries, it never invents one. */
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fault.h"
#include "spool_fixture.h"

#define SEGMENT "0000000000000007.w1.seg"

static struct spool_fixture fixture;

static int setup(void **state)
{
	(void)state;
	spool_fixture_make(&fixture);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)spool_fault_arm(NULL);
	spool_fixture_remove(&fixture);
	return 0;
}

static int flush(struct spool_ack_log *log)
{
	assert_true(spool_ack_begin(log));
	assert_false(spool_ack_begin(log));
	int err = spool_ack_write(log);
	spool_ack_end(log, err);
	return err;
}

static void write_and_load(void **state)
{
	(void)state;
	struct spool_ack_log log;
	struct spool_ack_set set;
	assert_int_equal(spool_ack_load(&fixture.dirs, SEGMENT, &set), 0);
	assert_int_equal(set.count, 0);
	assert_int_equal(spool_ack_get(&set, 0, 0), SPOOL_OUTCOME_NONE);
	spool_ack_set_free(&set);

	assert_int_equal(spool_ack_open(&fixture.dirs, SEGMENT, &log), 0);
	assert_int_equal(spool_ack_add(&log, 500, 1, SPOOL_OUTCOME_FAILED), 0);
	assert_int_equal(spool_ack_add(&log, 0, SPOOL_ACK_ALL, SPOOL_OUTCOME_DELIVERED), 0);
	assert_int_equal(flush(&log), 0);
	assert_int_equal(write(log.fd, "torn", 4), 4); /* a crash in the middle of an entry */
	spool_ack_close(&log);
	assert_int_equal(spool_ack_open(&fixture.dirs, SEGMENT, &log), 0);
	assert_int_equal(spool_ack_add(&log, 900, 0, SPOOL_OUTCOME_QUEUED), 0);
	assert_int_equal(flush(&log), 0);
	spool_ack_close(&log);

	assert_int_equal(spool_ack_load(&fixture.dirs, SEGMENT, &set), 0);
	assert_int_equal(set.count, 3);
	assert_int_equal(set.damaged, 1);
	assert_int_equal(spool_ack_get(&set, 0, 77), SPOOL_OUTCOME_DELIVERED);
	assert_int_equal(spool_ack_get(&set, 500, 1), SPOOL_OUTCOME_FAILED);
	assert_int_equal(spool_ack_get(&set, 500, 0), SPOOL_OUTCOME_NONE);
	assert_int_equal(spool_ack_get(&set, 900, 0), SPOOL_OUTCOME_QUEUED);
	assert_true(set.void_offset == UINT64_MAX);
	spool_ack_set_free(&set);
}

static void failed_sync_appends_again(void **state)
{
	(void)state;
	struct spool_ack_log log;
	struct spool_ack_set set;
	assert_int_equal(spool_ack_open(&fixture.dirs, SEGMENT, &log), 0);
	assert_int_equal(spool_ack_add(&log, 1, 0, SPOOL_OUTCOME_DELIVERED), 0);
	assert_int_equal(spool_fault_arm("ack-sync:eio"), 0);
	assert_int_equal(flush(&log), ERR_IO);
	assert_int_equal(spool_fault_arm(NULL), 0);
	assert_int_equal(spool_ack_add(&log, 2, 0, SPOOL_OUTCOME_DELIVERED), 0);
	assert_int_equal(flush(&log), 0);
	assert_false(spool_ack_has_pending(&log));
	assert_int_equal(lseek(log.fd, 0, SEEK_END), 3 * SPOOL_ACK_LEN);
	spool_ack_close(&log);
	assert_int_equal(spool_ack_load(&fixture.dirs, SEGMENT, &set), 0);
	assert_int_equal(spool_ack_get(&set, 1, 0), SPOOL_OUTCOME_DELIVERED);
	assert_int_equal(spool_ack_get(&set, 2, 0), SPOOL_OUTCOME_DELIVERED);
	spool_ack_set_free(&set);
}

static void damage(void **state)
{
	(void)state;
	struct spool_ack_log log = { .fd = -1 };
	assert_int_equal(spool_ack_add(&log, 10, 0, SPOOL_OUTCOME_DELIVERED), 0);
	assert_int_equal(spool_ack_add(&log, 20, 0, SPOOL_OUTCOME_VOID), 0);
	char *bytes = log.pending.data;
	for (size_t bit = 0; bit < 8 * log.pending.len; bit++) {
		struct spool_ack_set set;
		bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
		assert_int_equal(spool_ack_decode(buf_span(&log.pending), &set), 0);
		assert_int_equal(set.damaged, 1);
		assert_int_equal(set.count, bit < 8 * SPOOL_ACK_LEN ? 0 : 1);
		spool_ack_set_free(&set);
		bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
	}
	for (size_t len = 0; len <= log.pending.len; len++) {
		struct spool_ack_set set;
		assert_int_equal(spool_ack_decode((struct span){ bytes, len }, &set), 0);
		assert_int_equal(set.count, len >= SPOOL_ACK_LEN);
		assert_true(set.void_offset == (len >= 2 * SPOOL_ACK_LEN ? 20 : UINT64_MAX));
		spool_ack_set_free(&set);
	}
	spool_ack_close(&log);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(write_and_load, setup, teardown),
					    cmocka_unit_test_setup_teardown(failed_sync_appends_again, setup, teardown), cmocka_unit_test(damage) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
