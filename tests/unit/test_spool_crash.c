/* A writer is killed at every named point of its way; the restart must find all that it had promised, unchanged, and nothing that it had refused.
 * What was under way may be found or not (nobody knows whether the reply left), but whole or not at all. */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "fault.h"
#include "spool_fixture.h"

#define ROUNDS 12
#define EACH 3

/* What the child had been promised when it died. */
struct promises {
	unsigned sent, promised, refused;
	bool is_promised[ROUNDS * EACH];
	bool is_refused[ROUNDS * EACH];
};

struct ticket {
	struct promises *promises;
	unsigned number;
	unsigned *left;
	struct loop *loop;
};

static void told(void *ctx, int err)
{
	struct ticket *t = ctx;
	(err ? t->promises->is_refused : t->promises->is_promised)[t->number] = true;
	t->promises->promised += err == 0;
	t->promises->refused += err != 0;
	if (--*t->left == 0)
		loop_stop(t->loop);
}

static void drained(void *ctx)
{
	(void)ctx;
}

/* A real disk that is full in the middle of a segment: only then is there something to take back. */
static void make_disk_small(void)
{
	const struct rlimit limit = { 1500, 1500 };
	if (signal(SIGXFSZ, SIG_IGN) == SIG_ERR || setrlimit(RLIMIT_FSIZE, &limit) != 0)
		_exit(9);
}

/* Small messages, each third one large. */
static void child(struct spool_fixture *fixture, struct promises *promises, const char *fault, uint64_t zero_bytes)
{
	static struct ticket tickets[ROUNDS * EACH];
	static char filler[900];
	struct writer_host host;
	struct spool_writer_options options = { .segment_limit_bytes = 2000, .inline_limit_bytes = 512 };
	writer_host_make(&host, &fixture->dirs, &options);
	host.zero_bytes = zero_bytes;
	memset(filler, 'x', sizeof filler);
	if (spool_fault_arm(fault) != 0)
		_exit(3);
	if (spool_fault_armed == SPOOL_FAULT_JOURNAL_TRUNCATE)
		make_disk_small();
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned left = EACH;
		for (unsigned i = 0; i < EACH; i++) {
			unsigned number = promises->sent++;
			struct spool_id id = spool_id_next(&host.ids);
			struct spool_txn *txn = NULL;
			char body[32];
			(void)snprintf(body, sizeof body, "%u\r\n", number);
			tickets[number] = (struct ticket){ promises, number, &left, host.loop };
			if (spool_txn_open(host.writer, &id, drained, NULL, &txn) != 0)
				_exit(4);
			(void)spool_txn_append(txn, span_of(body));
			if (i == EACH - 1)
				(void)spool_txn_append(txn, (struct span){ filler, sizeof filler });
			spool_txn_commit(txn, sample_envelope(1), told, &tickets[number]);
		}
		loop_run(host.loop);
	}
	_exit(0);
}

static void try_with(const char *fault, bool must_die, uint64_t zero_bytes)
{
	struct spool_fixture fixture;
	struct recovered found;
	spool_fixture_make(&fixture);
	struct promises *promises = mmap(NULL, sizeof *promises, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(promises != MAP_FAILED);
	pid_t pid = fork();
	if (pid == 0)
		child(&fixture, promises, fault, zero_bytes);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (must_die ? !WIFSIGNALED(status) : !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("%s: status %x", fault, (unsigned)status);

	recover(&fixture.dirs, &found);
	bool is_found[ROUNDS * EACH] = { false };
	for (unsigned i = 0; i < found.messages; i++) {
		unsigned long number = strtoul(found.bodies[i], NULL, 10);
		assert_true(number < promises->sent);
		assert_false(is_found[number]); /* nothing twice */
		is_found[number] = true;
	}
	for (unsigned i = 0; i < promises->sent; i++) {
		if ((promises->is_promised[i] && !is_found[i]) || (promises->is_refused[i] && is_found[i]))
			fail_msg("%s, %u zeros: message %u promised %d refused %d found %d", fault, (unsigned)zero_bytes, i, promises->is_promised[i],
				 promises->is_refused[i], is_found[i]);
	}
	assert_int_equal(found.broken, 0);
	assert_true(found.torn <= 1);
	munmap(promises, sizeof *promises);
	spool_fixture_remove(&fixture);
}

#define PREPARED 700 /* of segments of 2000: they begin prepared and then grow */

static void try_fault(const char *fault, bool must_die)
{
	try_with(fault, must_die, 0);
	try_with(fault, must_die, PREPARED);
}

static const enum spool_fault_point writer_points[] = {
	SPOOL_FAULT_JOURNAL_BEFORE_WRITE, SPOOL_FAULT_JOURNAL_WRITE, SPOOL_FAULT_JOURNAL_AFTER_WRITE, SPOOL_FAULT_JOURNAL_SYNC,
	SPOOL_FAULT_JOURNAL_AFTER_SYNC,   SPOOL_FAULT_LARGE_WRITE,   SPOOL_FAULT_LARGE_SYNC,          SPOOL_FAULT_LARGE_AFTER_SYNC,
	SPOOL_FAULT_SEGMENT_CREATE,
};

static void each_point(const char *action, bool must_die)
{
	for (size_t i = 0; i < sizeof writer_points / sizeof writer_points[0]; i++) {
		for (unsigned hit = 1; hit <= 9; hit += 4) {
			char fault[64];
			(void)snprintf(fault, sizeof fault, "%s:%s@%u", spool_fault_name(writer_points[i]), action, hit);
			if (must_die)
				try_fault(fault, must_die);
			else
				try_with(fault, must_die, hit == 5 ? 0 : PREPARED);
		}
	}
}

static void killed(void **state)
{
	(void)state;
	each_point("kill", true);
	try_fault("journal-truncate:kill", true);
	try_fault("journal-truncate:kill@2", true);
	try_fault("journal-truncate:delay=1", false); /* the full disk alone: what was refused is cut off again */
}

static void broken_disk(void **state)
{
	(void)state;
	each_point("eio", false);
}

static void full_disk(void **state)
{
	(void)state;
	each_point("enospc", false);
}

/* ---- the forwarder's way: every message of the journal goes to queue/, is acknowledged, the segments are recycled */

struct moving {
	struct spool_dirs *dirs;
	struct spool_ack_log acks;
	const char *segment;
};

static int move_message(void *ctx, const struct spool_found *found)
{
	struct moving *m = ctx;
	if (!found->segment)
		return 0;
	if (!m->segment && spool_ack_open(m->dirs, found->segment, &m->acks) != 0)
		_exit(5);
	m->segment = found->segment;
	struct spool_body_source body;
	if (spool_body_open(m->dirs, found->segment_fd, found->record, &body) != 0)
		_exit(6);
	struct spool_queue_source source = { .record = *found->record, .envelope = found->envelope_lines, .body = &body };
	int err = found->is_in_queue ? 0 : spool_queue_create(m->dirs, SPOOL_IN_QUEUE, &source);
	spool_body_close(&body);
	if (err || spool_ack_add(&m->acks, found->offset, SPOOL_ACK_ALL, SPOOL_OUTCOME_QUEUED) != 0)
		_exit(7);
	return 0;
}

static void ignore_broken(void *ctx, const struct spool_broken *broken)
{
	(void)ctx;
	(void)broken;
}

static int move_segment(void *ctx, const struct spool_segment_info *info)
{
	struct moving *m = ctx;
	if (m->segment) {
		if (!spool_ack_begin(&m->acks) || spool_ack_write(&m->acks) != 0)
			_exit(8);
		spool_ack_end(&m->acks, 0);
		spool_ack_close(&m->acks);
		m->segment = NULL;
	}
	return spool_segment_recycle(m->dirs, info->name);
}

static void mover(struct spool_fixture *fixture, const char *fault)
{
	struct moving m = { .dirs = &fixture->dirs };
	struct spool_recovery_events events = { move_message, ignore_broken, move_segment, &m };
	if (spool_fault_arm(fault) != 0)
		_exit(3);
	_exit(recover_with(&fixture->dirs, &events) == 0 ? 0 : 4);
}

static void fill(struct spool_fixture *fixture)
{
	struct writer_host host;
	struct spool_writer_options options = { .segment_limit_bytes = 400 };
	writer_host_make(&host, &fixture->dirs, &options);
	for (unsigned i = 0; i < 12; i++) {
		char body[32];
		(void)snprintf(body, sizeof body, "%u\r\n.\r\n", i);
		writer_host_send(&host, span_of(body));
	}
	writer_host_run(&host, 12);
	writer_host_remove(&host);
}

static void killed_while_moving(void **state)
{
	(void)state;
	static const enum spool_fault_point points[] = { SPOOL_FAULT_ACK_WRITE,         SPOOL_FAULT_ACK_SYNC,         SPOOL_FAULT_ACK_AFTER_SYNC,
							 SPOOL_FAULT_QUEUE_WRITE,       SPOOL_FAULT_QUEUE_SYNC,       SPOOL_FAULT_QUEUE_BEFORE_LINK,
							 SPOOL_FAULT_QUEUE_AFTER_LINK,  SPOOL_FAULT_RECYCLE_BEFORE,   SPOOL_FAULT_RECYCLE_BETWEEN };
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		struct spool_fixture fixture;
		struct recovered found;
		char fault[64];
		spool_fixture_make(&fixture);
		fill(&fixture);
		for (unsigned hit = 1; hit <= 2; hit++) { /* dies, goes on, dies again, ends */
			(void)snprintf(fault, sizeof fault, "%s:kill@%u", spool_fault_name(points[i]), hit);
			pid_t pid = fork();
			if (pid == 0)
				mover(&fixture, fault);
			int status = 0;
			assert_int_equal(waitpid(pid, &status, 0), pid);
			if (!WIFSIGNALED(status))
				fail_msg("%s: status %x", fault, (unsigned)status);
			recover(&fixture.dirs, &found);
			/* Each is in the journal or in queue/, and who is in both is known to be. */
			assert_int_equal(found.messages - found.in_queue, 12);
			assert_int_equal(found.broken + found.torn, 0);
		}
		pid_t pid = fork();
		if (pid == 0)
			mover(&fixture, NULL);
		int status = 0;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		recover(&fixture.dirs, &found);
		assert_int_equal(found.segments, 0);
		assert_int_equal(found.messages, 12);
		spool_fixture_remove(&fixture);
	}
}

/* ---- the life of waiting mail: a try that failed, held, released, delivered, gone */

struct life {
	unsigned settled; /* their last line is durable */
	unsigned errors;
};

struct id_list {
	struct spool_id ids[16];
	size_t count;
};

static int list_id(void *ctx, const struct spool_id *id)
{
	struct id_list *list = ctx;
	if (list->count < sizeof list->ids / sizeof list->ids[0])
		list->ids[list->count++] = *id;
	return 0;
}

static void live_one(struct spool_dirs *dirs, const struct spool_id *id, struct life *life)
{
	const struct spool_status deferred = { .time = 100, .attempt = 1, .next_time = 400, .text = SPAN_LIT("450 not now") };
	const struct spool_status delivered = { .time = 500, .attempt = 2, .has_recipient = true, .recipient = SPOOL_ACK_ALL,
						.outcome = SPOOL_OUTCOME_DELIVERED };
	life->errors += spool_queue_append(dirs, SPOOL_IN_QUEUE, id, &deferred, 1) != 0;
	if (spool_queue_move(dirs, SPOOL_IN_QUEUE, SPOOL_IN_HOLD, id) == 0)
		life->errors += spool_queue_move(dirs, SPOOL_IN_HOLD, SPOOL_IN_QUEUE, id) != 0;
	else
		life->errors++;
	if (spool_queue_append(dirs, SPOOL_IN_QUEUE, id, &delivered, 1) != 0) {
		life->errors++;
		return;
	}
	life->settled++;
	life->errors += spool_queue_remove(dirs, SPOOL_IN_QUEUE, id, false) != 0;
}

static int in_child(struct spool_fixture *fixture, struct life *life, const char *fault)
{
	pid_t pid = fork();
	if (pid == 0) {
		struct id_list list = { .count = 0 };
		if (spool_fault_arm(fault) != 0 || spool_queue_each(&fixture->dirs, SPOOL_IN_QUEUE, list_id, &list) != 0)
			_exit(3);
		for (size_t i = 0; i < list.count; i++)
			live_one(&fixture->dirs, &list.ids[i], life);
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void waiting_mail(enum spool_fault_point point, const char *action, unsigned hit)
{
	struct spool_fixture fixture;
	struct recovered found;
	char fault[64];
	struct life *life = mmap(NULL, sizeof *life, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_true(life != MAP_FAILED);
	spool_fixture_make(&fixture);
	fill(&fixture);
	pid_t pid = fork();
	if (pid == 0)
		mover(&fixture, NULL);
	int status = 0;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);

	(void)snprintf(fault, sizeof fault, "%s:%s@%u", spool_fault_name(point), action, hit);
	status = in_child(&fixture, life, fault);
	bool is_kill = strcmp(action, "kill") == 0;
	if (is_kill ? !WIFSIGNALED(status) : status != 0 || life->errors == 0)
		fail_msg("%s: status %x, %u errors", fault, (unsigned)status, life->errors);
	recover(&fixture.dirs, &found);
	if (found.messages != 12 - life->settled || found.broken + found.torn != 0)
		fail_msg("%s: %u messages, %u were settled", fault, found.messages, life->settled);
	/* What was in hold/ at that moment stays there; all else goes on to its end. */
	unsigned before = life->settled;
	assert_int_equal(in_child(&fixture, life, NULL), 0);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 12 - life->settled);
	assert_true(life->settled >= 11 || before == 12);
	munmap(life, sizeof *life);
	spool_fixture_remove(&fixture);
}

static void waiting_mail_at_each_point(void **state)
{
	(void)state;
	static const enum spool_fault_point points[] = { SPOOL_FAULT_QUEUE_APPEND, SPOOL_FAULT_QUEUE_MOVE, SPOOL_FAULT_QUEUE_REMOVE };
	for (size_t i = 0; i < sizeof points / sizeof points[0]; i++) {
		for (unsigned hit = 1; hit <= 6; hit++)
			waiting_mail(points[i], "kill", hit);
		waiting_mail(points[i], "eio", 1);
		waiting_mail(points[i], "enospc", 3);
	}
}

static void fault_names(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "x", "journal-sync", "journal-sync:", "journal-sync:x", "journal-sync:kill@", "journal-sync:kill@0", "no:kill", "journal-sync:kill=",
					   "journal-sync:kill=x", "journal-write:skip", "journal-after-sync:skip" };
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(spool_fault_arm(bad[i]), ERR_SYNTAX);
	assert_int_equal(spool_fault_arm("journal-sync:delay=1@2"), 0);
	assert_int_equal(spool_fault(SPOOL_FAULT_JOURNAL_SYNC), 0);
	/* Left out: no descriptor is needed for what is not done. */
	assert_int_equal(spool_fault_arm("journal-sync:skip"), 0);
	assert_int_equal(spool_fault_sync(SPOOL_FAULT_JOURNAL_SYNC, -1), 0);
	assert_int_equal(spool_fault_sync(SPOOL_FAULT_ACK_SYNC, -1), EBADF);
	assert_int_equal(spool_fault_arm("dir-sync:eio"), 0);
	assert_int_equal(spool_fault_sync_dir(-1), EIO);
	assert_int_equal(spool_fault_arm(NULL), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(fault_names), cmocka_unit_test(killed), cmocka_unit_test(broken_disk),
					    cmocka_unit_test(full_disk), cmocka_unit_test(killed_while_moving),
					    cmocka_unit_test(waiting_mail_at_each_point) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
