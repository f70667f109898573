/* A body that is read before it is committed, and written anew: what checks on content do with it. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fault.h"
#include "spool_fixture.h"

#define SMALL 900u
#define BIG (700u << 10)

static struct spool_fixture fixture;
static struct writer_host host;
static char bytes[BIG], again[BIG];

/* One message: written, read, perhaps written anew, committed. */
struct rewriter {
	struct spool_txn *txn;
	size_t first, second; /* how long; second 0: it stays as it was */
	size_t appended;
	enum { APPENDING, SETTLING, REWINDING, ANEW } stage;
	bool is_done;
	unsigned abort_at; /* its so-many-th wait; 0: never */
	int err, body_err;
};

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)('a' + (i * 7 + i / 251) % 26);
	spool_fixture_make(&fixture);
	writer_host_make(&host, &fixture.dirs, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)spool_fault_arm(NULL);
	spool_fixture_remove(&fixture);
	return 0;
}

static void committed(void *ctx, int err)
{
	struct rewriter *r = ctx;
	r->err = err;
	r->is_done = true;
	loop_stop(host.loop);
}

static void check_body(struct rewriter *r)
{
	struct spool_txn_body body;
	r->body_err = spool_txn_body(r->txn, &body);
	if (r->body_err)
		return;
	assert_int_equal(body.size_bytes, r->first);
	if (body.fd >= 0)
		assert_int_equal(pread(body.fd, again, sizeof again, 0), (ssize_t)r->first);
	else
		memcpy(again, body.memory.ptr, body.memory.len);
	assert_int_equal(body.fd < 0, r->first <= 256u << 10);
	assert_memory_equal(again, bytes, r->first);
}

/* Returns when it has to wait. */
static void go_on(void *ctx)
{
	struct rewriter *r = ctx;
	enum step step = STEP_DONE;
	while (step == STEP_DONE) {
		size_t wanted = r->stage == ANEW ? r->second : r->first;
		size_t piece = wanted - r->appended < 50000 ? wanted - r->appended : 50000;
		switch (r->stage) {
		case APPENDING:
		case ANEW:
			if (piece) {
				/* The second time from the other end, so that nothing of the first may stay. */
				const char *from = r->stage == ANEW ? bytes + BIG - wanted : bytes;
				step = spool_txn_append(r->txn, (struct span){ from + r->appended, piece });
				r->appended += piece;
			} else if (r->stage == ANEW) {
				spool_txn_commit(r->txn, sample_envelope(1), committed, r);
				return;
			} else {
				r->stage = SETTLING;
				step = spool_txn_settle(r->txn);
			}
			break;
		case SETTLING:
			check_body(r);
			if (!r->second) {
				spool_txn_commit(r->txn, sample_envelope(1), committed, r);
				return;
			}
			r->stage = REWINDING;
			step = spool_txn_rewind(r->txn);
			break;
		case REWINDING:
			r->stage = ANEW;
			r->appended = 0;
			break;
		}
	}
	if (step == STEP_WAIT && r->abort_at && --r->abort_at == 0) {
		spool_txn_abort(&r->txn);
		r->is_done = true;
		loop_stop(host.loop);
	}
	/* Nothing more is taken: commit says why. */
	if (step == STEP_FAIL)
		spool_txn_commit(r->txn, sample_envelope(1), committed, r);
}

static void run_this(struct rewriter *r, size_t first, size_t second)
{
	struct spool_id id = spool_id_next(&host.ids);
	r->first = first;
	r->second = second;
	assert_int_equal(spool_txn_open(host.writer, &id, go_on, r, &r->txn), 0);
	go_on(r);
	loop_run(host.loop);
	assert_true(r->is_done);
}

static struct rewriter run(size_t first, size_t second)
{
	struct rewriter r = { .txn = NULL };
	run_this(&r, first, second);
	return r;
}

/* What a reader finds in the file of the only large body. */
static size_t read_large(const struct spool_id *id)
{
	int fd;
	uint64_t size;
	assert_int_equal(spool_large_open(&fixture.dirs, id, &fd, &size), 0);
	assert_int_equal(read(fd, again, sizeof again), (ssize_t)size);
	close(fd);
	return (size_t)size;
}

static void rewritten(void **state)
{
	static const size_t sizes[][2] = { { SMALL, 0 }, { SMALL, SMALL / 2 }, { SMALL, BIG }, { BIG, 0 }, { BIG, BIG - 5 }, { BIG, SMALL }, { 300000, 650000 } };
	struct recovered found;
	(void)state;
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		struct rewriter r = run(sizes[i][0], sizes[i][1]);
		assert_int_equal(r.err, 0);
		assert_int_equal(r.body_err, 0);
	}
	writer_host_remove(&host);
	recover(&fixture.dirs, &found); /* compares the CRC of every body */
	assert_int_equal(found.messages, sizeof sizes / sizeof sizes[0]);
	assert_int_equal(found.broken + found.torn, 0);
	for (size_t i = 0; i < found.messages; i++) {
		size_t len = sizes[i][1] ? sizes[i][1] : sizes[i][0];
		const char *expected = sizes[i][1] ? bytes + BIG - len : bytes;
		assert_memory_equal(found.bodies[i], expected, sizeof found.bodies[i] - 1);
		if (len > 256u << 10 || sizes[i][0] > 256u << 10) {
			assert_int_equal(read_large(&found.ids[i]), len);
			assert_memory_equal(again, expected, len);
		}
	}
}

/* A disk that fails while the body is on its way, at each of its steps: the failure comes out at the commit, and no message. */
static void fails(void **state)
{
	(void)state;
	static const char *const faults[] = { "large-write:enospc", "large-write:eio@2", "large-write:eio@3", "large-sync:eio" };
	struct recovered found;
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
		assert_int_equal(spool_fault_arm(faults[i]), 0);
		assert_int_not_equal(run(BIG, BIG / 2 + 100000).err, 0);
		assert_int_equal(spool_fault_arm(NULL), 0);
	}
	host.has_no_large = true;
	assert_int_equal(run(BIG, SMALL).err, ERR_NOSPACE);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 0);
}

/* Whoever gives up while it is being read or rewound leaves nothing. */
static void abandoned(void **state)
{
	(void)state;
	struct recovered found;
	unsigned kept = 0; /* with fewer waits than that */
	for (unsigned when = 1; when <= 6; when++) {
		struct rewriter r = { .abort_at = when };
		run_this(&r, BIG, SMALL);
		kept += r.txn != NULL;
	}
	assert_true(kept <= 3); /* append, settle and rewind wait at least once each */
	(void)run(SMALL, 0);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, kept + 1);
}

#define rewrite_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { rewrite_test(rewritten), rewrite_test(fails), rewrite_test(abandoned) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
