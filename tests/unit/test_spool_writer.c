/* The writer with a real loop and real files: batches, large bodies, failing disks, rotation, abort. */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "dir_list.h"
#include "fault.h"
#include "spool_fixture.h"
#include "sweeper.h"

static struct spool_fixture fixture;
static struct writer_host host;

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

static void send_numbered(unsigned number)
{
	char body[40];
	(void)snprintf(body, sizeof body, "message %u\r\n.\r\n", number);
	writer_host_send(&host, span_of(body));
}

static void batches(void **state)
{
	(void)state;
	struct recovered found;
	struct spool_writer_stats stats;
	writer_host_make(&host, &fixture.dirs, NULL);
	for (unsigned i = 0; i < 40; i++)
		send_numbered(i);
	writer_host_run(&host, 40);
	assert_int_equal(host.failed, 0);
	spool_writer_stats(host.writer, &stats);
	assert_int_equal(stats.messages, 40);
	assert_true(stats.batches <= 2); /* one turn of the loop, one sync */
	assert_int_equal(host.last.offset, stats.bytes);

	recover(&fixture.dirs, &found); /* the writer lives: nothing is touched */
	assert_int_equal(found.live, 1);
	assert_int_equal(found.messages, 0);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.live, 0);
	assert_int_equal(found.messages, 40);
	assert_int_equal(found.broken + found.torn, 0);
	for (unsigned i = 0; i < 40; i++) {
		char expected[40];
		(void)snprintf(expected, sizeof expected, "message %u\r\n.\r\n", i);
		assert_string_equal(found.bodies[i], expected);
	}
}

static void note_void(const struct spool_committed *what);

static off_t size_of(const char *segment)
{
	struct stat st;
	assert_int_equal(fstatat(fixture.dirs.journal, segment, &st, 0), 0);
	return st.st_size;
}

/* Batches go over the zeros, so neither size nor blocks change; a writer that ends leaves the rest of them, and nobody takes them for damage. */
static void prepared(void **state)
{
	(void)state;
	struct recovered found;
	writer_host_make(&host, &fixture.dirs, NULL);
	host.prepare_bytes = 2u << 20;
	for (unsigned i = 0; i < 6; i++) {
		send_numbered(i);
		writer_host_run(&host, 1);
		assert_int_equal(size_of(host.last.segment.text), 2 << 20);
		assert_true(host.last.offset < 2000);
	}
	/* What fails is taken back with all that was prepared behind it; then the segment grows. */
	assert_int_equal(spool_fault_arm("journal-write:enospc"), 0);
	send_numbered(66);
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 1);
	assert_int_equal(spool_fault_arm(NULL), 0);
	send_numbered(6);
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 0);
	assert_int_equal(size_of(host.last.segment.text), host.last.offset);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.segments, 1);
	assert_int_equal(found.messages, 7);
	assert_int_equal(found.broken + found.torn, 0);
	assert_string_equal(found.bodies[6], "message 6\r\n.\r\n");
}

/* The first segment is there before anybody had time to prepare one.  Who gets much mail leaves it for one that is. */
static void leaves_the_unprepared(void **state)
{
	(void)state;
	static char body[200 << 10];
	struct recovered found;
	struct spool_writer_stats stats;
	writer_host_make(&host, &fixture.dirs, NULL);
	memset(body, 'x', sizeof body);
	for (unsigned i = 0; i < 12; i++) {
		writer_host_send(&host, (struct span){ body, sizeof body });
		writer_host_run(&host, 1);
		host.prepare_bytes = 1u << 20; /* but for the first */
	}
	assert_int_equal(host.sealed, 1);
	spool_writer_stats(host.writer, &stats);
	assert_int_equal(stats.segments, 2);
	assert_true(size_of(host.last.segment.text) >= 1 << 20);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 12);
	assert_int_equal(found.broken + found.torn, 0);
}

/* Messages that come one after the other, whatever becomes of those before. */
struct crowd {
	unsigned sent, done, failed, limit;
	struct loop_timer *timer;
};

static void one_is_done(void *ctx, int err)
{
	struct crowd *crowd = ctx;
	crowd->failed += err != 0;
	if (++crowd->done == crowd->limit)
		loop_stop(host.loop);
}

static void ignore_drained(void *ctx)
{
	(void)ctx;
}

static void one_comes(void *ctx)
{
	struct crowd *crowd = ctx;
	struct spool_id id = spool_id_next(&host.ids);
	struct spool_txn *txn = NULL;
	char body[40];
	(void)snprintf(body, sizeof body, "message %u\r\n.\r\n", crowd->sent++);
	assert_int_equal(spool_txn_open(host.writer, &id, ignore_drained, crowd, &txn), 0);
	(void)spool_txn_append(txn, span_of(body));
	spool_txn_commit(txn, sample_envelope(1), one_is_done, crowd);
	if (crowd->sent < crowd->limit)
		loop_timer_start(crowd->timer, 1);
}

static void run_crowd(struct crowd *crowd, unsigned limit)
{
	*crowd = (struct crowd){ .limit = limit };
	assert_int_equal(loop_timer_create(host.loop, one_comes, crowd, &crowd->timer), 0);
	loop_timer_start(crowd->timer, 1);
	loop_run(host.loop);
	loop_timer_destroy(&crowd->timer);
}

static void stop_loop(void *ctx)
{
	loop_stop(ctx);
}

/* Where syncs are slow several batches are under way, each in a segment of its own, and one that fails takes only its own with it. */
static void slow_syncs(void **state)
{
	(void)state;
	struct recovered found;
	struct crowd crowd;
	struct spool_writer_stats stats;
	const struct spool_writer_options options = { .lanes = SPOOL_LANES_MAX };
	writer_host_make(&host, &fixture.dirs, &options);
	assert_int_equal(spool_fault_arm("journal-sync:delay=8"), 0);
	run_crowd(&crowd, 400);
	assert_int_equal(crowd.failed, 0);
	spool_writer_stats(host.writer, &stats);
	assert_in_range(stats.segments, 3, SPOOL_LANES_MAX);
	uint64_t before = stats.messages;
	assert_int_equal(spool_fault_arm("journal-sync:eio"), 0);
	send_numbered(1);
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 1);
	assert_int_equal(host.voided, 1);
	note_void(&host.last);
	assert_int_equal(spool_fault_arm(NULL), 0);
	send_numbered(2);
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 0);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, before + 1);
	assert_int_equal(found.broken + found.torn, 0);
}

/* Segments of lanes that mail came too slowly for are given back; the first stays, and more come again when they are wanted. */
static void unused_lanes_are_sealed(void **state)
{
	(void)state;
	struct recovered found;
	struct crowd crowd;
	struct spool_writer_stats stats;
	struct loop_timer *timer;
	const struct spool_writer_options options = { .lanes = SPOOL_LANES_MAX, .lane_idle_ms = 60 };
	writer_host_make(&host, &fixture.dirs, &options);
	assert_int_equal(loop_timer_create(host.loop, stop_loop, host.loop, &timer), 0);
	assert_int_equal(spool_fault_arm("journal-sync:delay=8"), 0);
	uint64_t before = 0;
	for (unsigned round = 0; round < 2; round++) {
		run_crowd(&crowd, 200);
		assert_int_equal(crowd.failed, 0);
		spool_writer_stats(host.writer, &stats);
		assert_true(stats.segments >= before + 2);
		before = stats.segments;
		for (unsigned tries = 0; tries < 50 && host.sealed < stats.segments - 1; tries++) {
			loop_timer_start(timer, 100);
			loop_run(host.loop);
		}
		assert_int_equal(host.sealed, stats.segments - 1);
	}
	assert_int_equal(spool_fault_arm(NULL), 0);
	loop_timer_destroy(&timer);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, stats.messages);
	assert_int_equal(found.broken + found.torn, 0);
}

static void write_fails(void **state)
{
	(void)state;
	struct recovered found;
	writer_host_make(&host, &fixture.dirs, NULL);
	send_numbered(1);
	writer_host_run(&host, 1);
	assert_int_equal(spool_fault_arm("journal-write:enospc"), 0);
	send_numbered(2);
	send_numbered(3);
	writer_host_run(&host, 2);
	assert_int_equal(host.failed, 2);
	assert_int_equal(host.last_err, ERR_NOSPACE);
	assert_int_equal(spool_fault_arm(NULL), 0);
	send_numbered(4); /* the same segment goes on where it was */
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 0);
	assert_int_equal(host.sealed, 0);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.segments, 1);
	assert_int_equal(found.messages, 2);
	assert_int_equal(found.broken + found.torn, 0);
	assert_string_equal(found.bodies[1], "message 4\r\n.\r\n");
}

static void sync_fails(void **state)
{
	(void)state;
	struct recovered found;
	writer_host_make(&host, &fixture.dirs, NULL);
	send_numbered(1);
	writer_host_run(&host, 1);
	assert_int_equal(spool_fault_arm("journal-sync:eio"), 0);
	send_numbered(2);
	writer_host_run(&host, 1);
	assert_int_equal(host.last_err, ERR_IO);
	assert_int_equal(host.voided, 1);
	assert_true(host.last.is_sealed && host.last.is_void);
	assert_int_equal(spool_fault_arm(NULL), 0);
	send_numbered(3);
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 0);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.segments, 2);
	assert_int_equal(found.messages, 2);
	assert_string_equal(found.bodies[1], "message 3\r\n.\r\n");
}

/* As the forwarder does when it hears of it. */
static void note_void(const struct spool_committed *what)
{
	struct spool_ack_log acks;
	assert_int_equal(spool_ack_open(&fixture.dirs, what->segment.text, &acks), 0);
	assert_int_equal(spool_ack_add(&acks, what->offset, SPOOL_ACK_ALL, SPOOL_OUTCOME_VOID), 0);
	assert_true(spool_ack_begin(&acks));
	int err = spool_ack_write(&acks);
	assert_int_equal(err, 0);
	spool_ack_end(&acks, err);
	spool_ack_close(&acks);
}

/* The file ends in the middle of the third record, and the whole second one, which was refused with it, can't be taken back. */
static void write_and_cut_fail(void **state)
{
	(void)state;
	struct recovered found;
	struct rlimit before, small;
	writer_host_make(&host, &fixture.dirs, NULL);
	send_numbered(1);
	writer_host_run(&host, 1);
	uint64_t one = host.last.offset;
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = one * 2 + one / 2;
	assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_equal(spool_fault_arm("journal-truncate:eio"), 0);
	send_numbered(2);
	send_numbered(3);
	writer_host_run(&host, 2);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_int_equal(spool_fault_arm(NULL), 0);
	assert_int_equal(host.failed, 2);
	assert_int_equal(host.last_err, ERR_NOSPACE);
	assert_true(host.last.is_sealed && host.last.is_void);
	assert_int_equal(host.last.offset, one);
	note_void(&host.last);
	send_numbered(4); /* in another segment */
	writer_host_run(&host, 1);
	assert_int_equal(host.failed, 0);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.segments, 2);
	assert_int_equal(found.messages, 2);
	assert_string_equal(found.bodies[1], "message 4\r\n.\r\n");
	assert_int_equal(found.voided, 1);
}

/* The cut fails too: the forwarder notes where the void begins, and no recovery delivers what was refused. */
static void sync_and_cut_fail(void **state)
{
	(void)state;
	struct recovered found;
	writer_host_make(&host, &fixture.dirs, NULL);
	send_numbered(1);
	writer_host_run(&host, 1);
	assert_int_equal(spool_fault_arm("journal-sync:eio"), 0);
	send_numbered(2);
	writer_host_run(&host, 1);
	struct spool_committed what = host.last;
	/* As if the truncation had never reached the disk. */
	int fd = openat(fixture.dirs.journal, what.segment.text, O_RDWR | O_APPEND);
	assert_true(fd >= 0);
	char record[4096];
	ssize_t len = pread(fd, record, sizeof record, 0);
	assert_int_equal(len, what.offset);
	unsigned char header[SPOOL_RECORD_HEADER_LEN];
	struct spool_record copy;
	assert_int_equal(spool_record_decode((unsigned char *)record, &copy), 0);
	copy.offset = what.offset;
	spool_record_encode(&copy, header);
	memcpy(record, header, sizeof header);
	assert_int_equal(write(fd, record, (size_t)len), len);
	close(fd);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 2); /* nobody has noted it yet */

	note_void(&what);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 1);
	assert_int_equal(found.voided, 1);
}

static void no_segment(void **state)
{
	(void)state;
	writer_host_make(&host, &fixture.dirs, NULL);
	host.has_no_segment = true;
	send_numbered(1);
	writer_host_run(&host, 1);
	assert_int_equal(host.last_err, ERR_NOSPACE);
	host.has_no_segment = false;
	send_numbered(2);
	writer_host_run(&host, 1);
	assert_int_equal(host.last_err, 0);
	writer_host_remove(&host);
}

static void rotation(void **state)
{
	(void)state;
	struct recovered found;
	struct spool_writer_options options = { .segment_limit_bytes = 1000 };
	writer_host_make(&host, &fixture.dirs, &options);
	for (unsigned i = 0; i < 30; i++)
		send_numbered(i);
	writer_host_run(&host, 30);
	assert_int_equal(host.failed, 0);
	assert_true(host.sealed >= 4);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 30);
	assert_true(found.segments >= 5);
	assert_int_equal(found.broken + found.torn, 0);
}

/* ---- large bodies */

struct stream {
	struct spool_txn *txn;
	unsigned left; /* chunks */
	bool is_done;
	int err;
};

static char chunk[50000];

static void stream_done(void *ctx, int err)
{
	struct stream *s = ctx;
	s->is_done = true;
	s->err = err;
	loop_stop(host.loop);
}

static void stream_more(void *ctx)
{
	struct stream *s = ctx;
	while (s->left > 0) {
		s->left--;
		enum step step = spool_txn_append(s->txn, (struct span){ chunk, sizeof chunk });
		if (step == STEP_FAIL)
			s->left = 0;
		if (step == STEP_WAIT)
			return;
	}
	struct spool_txn *txn = s->txn;
	s->txn = NULL;
	spool_txn_commit(txn, sample_envelope(1), stream_done, s);
}

static void stream_start(struct stream *s, unsigned chunks)
{
	struct spool_id id = spool_id_next(&host.ids);
	*s = (struct stream){ .left = chunks };
	memset(chunk, 'x', sizeof chunk);
	assert_int_equal(spool_txn_open(host.writer, &id, stream_more, s, &s->txn), 0);
	stream_more(s);
}

static void large_body(void **state)
{
	(void)state;
	struct recovered found;
	struct stream streams[5];
	writer_host_make(&host, &fixture.dirs, NULL);
	for (unsigned i = 0; i < 5; i++)
		stream_start(&streams[i], 40 + i); /* 2 MB each, more of them than job slots */
	for (bool is_more = true; is_more;) {
		loop_run(host.loop);
		is_more = false;
		for (unsigned i = 0; i < 5; i++)
			is_more = is_more || !streams[i].is_done;
	}
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(streams[i].err, 0);
	struct spool_writer_stats stats;
	spool_writer_stats(host.writer, &stats);
	assert_int_equal(stats.large_bytes, (5 * 40 + 10) * sizeof chunk);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found); /* checks the CRC of each */
	assert_int_equal(found.messages, 5);
	uint64_t removed = 99;
	assert_int_equal(spool_large_sweep(&fixture.dirs, &removed), 0);
	assert_int_equal(removed, 0);
}

static void large_fails(void **state)
{
	(void)state;
	static const char *const faults[] = { "large-write:enospc@2", "large-sync:eio", "journal-write:enospc", NULL };
	struct recovered found;
	writer_host_make(&host, &fixture.dirs, NULL);
	for (size_t i = 0; i < 4; i++) {
		struct stream s;
		assert_int_equal(spool_fault_arm(faults[i]), 0);
		host.has_no_large = faults[i] == NULL;
		stream_start(&s, 40);
		while (!s.is_done)
			loop_run(host.loop);
		assert_int_equal(s.err, i == 1 ? ERR_IO : ERR_NOSPACE);
	}
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 0);
	uint64_t removed = 99;
	assert_int_equal(spool_large_sweep(&fixture.dirs, &removed), 0);
	assert_int_equal(removed, 0); /* the recovery has swept already */
}

static void aborts(void **state)
{
	(void)state;
	struct recovered found;
	struct stream s;
	writer_host_make(&host, &fixture.dirs, NULL);
	stream_start(&s, 40);
	spool_txn_abort(&s.txn); /* while the file is asked for */
	struct stream t;
	stream_start(&t, 400);
	send_numbered(1);
	writer_host_run(&host, 1);
	spool_txn_abort(&t.txn); /* in the middle */
	struct spool_id id = spool_id_next(&host.ids);
	struct spool_txn *txn = NULL;
	assert_int_equal(spool_txn_open(host.writer, &id, stream_more, &s, &txn), 0);
	assert_int_equal(spool_txn_append(txn, SPAN_LIT("never\r\n.\r\n")), STEP_DONE);
	spool_txn_commit(txn, sample_envelope(1), stream_done, &s);
	spool_txn_abort(&txn); /* committed, not yet in a batch */
	assert_null(txn);
	spool_txn_abort(&txn);
	writer_host_remove(&host);
	assert_false(s.is_done || t.is_done);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 1);
	assert_string_equal(found.bodies[0], "message 1\r\n.\r\n");
}

static void refuses_nul(void **state)
{
	(void)state;
	writer_host_make(&host, &fixture.dirs, NULL);
	writer_host_send(&host, SPAN_LIT("a\0POSTERN\r\n.\r\n"));
	writer_host_run(&host, 1);
	assert_int_equal(host.last_err, ERR_INVAL);
	writer_host_remove(&host);
}

/* ---- bodies that no message names, beside writers that work */

static unsigned files_in_large(void)
{
	struct dir_list list;
	unsigned count = 0;
	assert_int_equal(dir_list_read(fixture.dirs.large, &list), 0);
	for (size_t i = 0; i < list.count; i++)
		count += list.names[i][0] != '.';
	dir_list_free(&list);
	return count;
}

static void sweep_spares_what_is_wanted(void **state)
{
	(void)state;
	struct stream open_one, done_one;
	struct recovered found;
	uint64_t removed = 99;
	writer_host_make(&host, &fixture.dirs, NULL);
	stream_start(&done_one, 40);
	while (!done_one.is_done)
		loop_run(host.loop);
	stream_start(&open_one, 400);
	send_numbered(1); /* by then it has its file */
	writer_host_run(&host, 1);
	assert_int_equal(files_in_large(), 2);
	assert_int_equal(spool_large_sweep(&fixture.dirs, &removed), 0);
	assert_int_equal(removed, 0);
	spool_txn_abort(&open_one.txn);
	while (!spool_writer_is_idle(host.writer)) {
		send_numbered(2);
		writer_host_run(&host, 1);
	}
	assert_int_equal(files_in_large(), 2); /* the aborted one is empty and nobody's */
	assert_int_equal(spool_large_sweep(&fixture.dirs, &removed), 0);
	assert_int_equal(removed, 1);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found);
	assert_int_equal(files_in_large(), 1);
	assert_int_equal(found.broken + found.torn, 0);
}

/* The streams stop the loop too. */
static void send_beside(unsigned number)
{
	host.done = 0;
	host.expected = 1;
	send_numbered(number);
	while (host.done == 0)
		loop_run(host.loop);
}

/* The forwarder's sweeper at its busiest, while bodies are created, written, committed and aborted. */
static void sweep_all_the_time(void **state)
{
	(void)state;
	static struct stream streams[60];
	struct sweeper *sweeper = NULL;
	struct recovered found;
	writer_host_make(&host, &fixture.dirs, NULL);
	assert_int_equal(sweeper_create(host.loop, &fixture.dirs, 1, &sweeper), 0);
	unsigned committed = 0;
	for (unsigned i = 0; i < 60; i++) {
		stream_start(&streams[i], 8 + i % 5);
		if (i % 3 == 0) {
			spool_txn_abort(&streams[i].txn);
			streams[i].is_done = true;
		} else {
			committed++;
		}
		if (i % 7 == 0) {
			send_beside(i);
		}
	}
	for (unsigned i = 0; i < 60; i++) {
		while (!streams[i].is_done)
			loop_run(host.loop);
		assert_int_equal(streams[i].err, 0);
	}
	while (!sweeper_is_quiet(sweeper)) {
		send_beside(99);
	}
	sweeper_destroy(&sweeper);
	writer_host_remove(&host);
	recover(&fixture.dirs, &found); /* opens and checks each body */
	assert_int_equal(files_in_large(), committed);
	assert_int_equal(found.broken + found.torn, 0);
}

/* ---- a master that does not answer */

static unsigned large_asked, asked_first;

static void ignore_segment(void *ctx)
{
	(void)ctx;
}

static void ignore_large(void *ctx, const struct spool_id *id)
{
	(void)ctx;
	(void)id;
	large_asked++;
}

static void ignore_committed(void *ctx, const struct spool_committed *what)
{
	(void)ctx;
	(void)what;
}

static struct loop_timer *traffic_timer;

/* Something goes on all the time: every turn of the writer sees the request that nobody has answered. */
static void traffic(void *ctx)
{
	struct spool_txn *txn = NULL;
	struct spool_id id = spool_id_next(&host.ids);
	(void)ctx;
	asked_first = asked_first ? asked_first : large_asked;
	assert_int_equal(spool_txn_open(host.writer, &id, stream_more, NULL, &txn), 0);
	spool_txn_abort(&txn);
	loop_timer_start(traffic_timer, 20);
}

static void unanswered(void **state)
{
	(void)state;
	static struct stream streams[40];
	struct spool_writer_options options = { .wait_ms = 300 };
	struct spool_writer_events events = { ignore_segment, ignore_large, ignore_committed, NULL };
	spool_id_source_init(&host.ids, 3);
	large_asked = asked_first = 0;
	assert_int_equal(loop_create(&host.loop), 0);
	assert_int_equal(spool_writer_create(host.loop, &options, &events, &host.writer), 0);
	assert_int_equal(loop_timer_create(host.loop, traffic, NULL, &traffic_timer), 0);
	loop_timer_start(traffic_timer, 20);
	uint64_t start_ms = loop_now_ms(host.loop);
	for (unsigned i = 0; i < 40; i++)
		stream_start(&streams[i], 40);
	for (unsigned i = 0; i < 40; i++) {
		while (!streams[i].is_done)
			loop_run(host.loop);
		assert_int_equal(streams[i].err, ERR_NOSPACE);
		if (i == 0)
			assert_true(loop_now_ms(host.loop) - start_ms < 2000);
	}
	assert_int_equal(asked_first, 32); /* the others waited until these were over */
	assert_int_equal(large_asked, 40);
	loop_timer_destroy(&traffic_timer);
	writer_host_remove(&host);
}

/* The watch has given up; then both the late segment and its successor come. */
static void late_segment(void **state)
{
	(void)state;
	writer_host_make(&host, &fixture.dirs, NULL);
	host.has_no_segment = true;
	send_numbered(1);
	writer_host_run(&host, 1);
	assert_int_equal(host.last_err, ERR_NOSPACE);
	for (unsigned i = 0; i < 2; i++) {
		struct spool_segment_name name;
		int fd = -1;
		assert_int_equal(spool_segment_create(&fixture.dirs, 10 + i, 0, geteuid(), getegid(), &name, &fd), 0);
		assert_int_equal(spool_writer_segment(host.writer, fd, &name), i ? ERR_BUSY : 0);
	}
	send_numbered(2);
	writer_host_run(&host, 1);
	assert_int_equal(host.last_err, 0);
	writer_host_remove(&host);
}

#define spool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { spool_test(batches), spool_test(prepared), spool_test(leaves_the_unprepared), spool_test(slow_syncs),
					    spool_test(unused_lanes_are_sealed), spool_test(write_fails), spool_test(sync_fails), spool_test(sync_and_cut_fail), spool_test(write_and_cut_fail),
					    spool_test(no_segment), spool_test(rotation), spool_test(large_body), spool_test(large_fails),
					    spool_test(aborts), spool_test(refuses_nul), spool_test(sweep_spares_what_is_wanted),
					    spool_test(sweep_all_the_time), spool_test(unanswered), spool_test(late_segment) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
