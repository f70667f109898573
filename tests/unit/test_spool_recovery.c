/* What a restart finds: settled and unsettled, orphans, the copy in queue/, damage; and the directories and names themselves. */
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "bad.h"
#include "fault.h"
#include "space.h"
#include "spool_fixture.h"

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
	spool_fixture_remove(&fixture);
	return 0;
}

static void send_three(void)
{
	writer_host_make(&host, &fixture.dirs, NULL);
	writer_host_send(&host, SPAN_LIT("a\r\n.\r\n"));
	writer_host_send(&host, SPAN_LIT("b\r\n.\r\n"));
	writer_host_send(&host, SPAN_LIT("c\r\n.\r\n"));
	writer_host_run(&host, 3);
	writer_host_remove(&host);
}

static void note(uint64_t offset, uint32_t recipient, enum spool_outcome outcome)
{
	struct spool_ack_log acks;
	assert_int_equal(spool_ack_open(&fixture.dirs, host.last.segment.text, &acks), 0);
	assert_int_equal(spool_ack_add(&acks, offset, recipient, outcome), 0);
	assert_true(spool_ack_begin(&acks));
	assert_int_equal(spool_ack_write(&acks), 0);
	spool_ack_end(&acks, 0);
	spool_ack_close(&acks);
}

static void settled_one_by_one(void **state)
{
	(void)state;
	struct recovered found, again;
	send_three();
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 3);
	note(found.offsets[0], SPOOL_ACK_ALL, SPOOL_OUTCOME_DELIVERED);
	note(found.offsets[1], 0, SPOOL_OUTCOME_DELIVERED);
	recover(&fixture.dirs, &again);
	assert_int_equal(again.messages, 2);
	assert_int_equal(again.offsets[0], found.offsets[1]);
	note(found.offsets[1], 1, SPOOL_OUTCOME_FAILED);
	note(found.offsets[2], SPOOL_ACK_ALL, SPOOL_OUTCOME_QUEUED);
	recover(&fixture.dirs, &again);
	assert_int_equal(again.messages, 0);
	assert_int_equal(again.unsettled, 0);
	assert_int_equal(spool_segment_recycle(&fixture.dirs, host.last.segment.text), 0);
	recover(&fixture.dirs, &again);
	assert_int_equal(again.segments, 0);
}

static void orphans(void **state)
{
	(void)state;
	struct recovered found;
	struct spool_id id;
	int fd = -1;
	send_three();
	note(0, SPOOL_ACK_ALL, SPOOL_OUTCOME_DELIVERED);
	assert_int_equal(unlinkat(fixture.dirs.journal, host.last.segment.text, 0), 0);
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &id), 0);
	assert_int_equal(spool_large_create(&fixture.dirs, &id, geteuid(), getegid(), &fd), 0);
	recover(&fixture.dirs, &found); /* the body is somebody's: locked */
	assert_int_equal(faccessat(fixture.dirs.large, id.text, F_OK, 0), 0);
	close(fd);
	recover(&fixture.dirs, &found);
	assert_int_not_equal(faccessat(fixture.dirs.large, id.text, F_OK, 0), 0);
	char ack[64];
	(void)snprintf(ack, sizeof ack, "%s.ack", host.last.segment.text);
	assert_int_not_equal(faccessat(fixture.dirs.ack, ack, F_OK, 0), 0);
}

static void already_in_queue(void **state)
{
	(void)state;
	struct recovered found;
	send_three();
	recover(&fixture.dirs, &found);
	struct buf lines = { .cap = 0 };
	assert_int_equal(spool_envelope_encode(sample_envelope(1), &lines), 0);
	struct spool_queue_source source = { .record = { .id = found.ids[1] }, .envelope = buf_span(&lines), .body_bytes = SPAN_LIT(".\r\n") };
	assert_int_equal(spool_queue_create(&fixture.dirs, SPOOL_IN_HOLD, &source), 0);
	buf_free(&lines);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 4); /* three records and the file */
	assert_int_equal(found.in_queue, 1);
}

static void damage_is_kept_and_reported_once(void **state)
{
	(void)state;
	struct recovered found, again;
	send_three();
	recover(&fixture.dirs, &found);
	int fd = openat(fixture.dirs.journal, host.last.segment.text, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "X", 1, (off_t)found.offsets[1] + 70), 1);
	recover(&fixture.dirs, &again);
	assert_int_equal(again.messages, 2);
	assert_int_equal(again.broken, 1);
	assert_int_equal(spool_bad_save(&fixture.dirs, "span", fd, found.offsets[1], found.offsets[2] - found.offsets[1], NULL), 0);
	struct stat st;
	assert_int_equal(fstatat(fixture.dirs.bad, "span", &st, 0), 0);
	assert_int_equal(st.st_size, found.offsets[2] - found.offsets[1]);
	note(found.offsets[1], SPOOL_ACK_ALL, SPOOL_OUTCOME_BAD);
	recover(&fixture.dirs, &again);
	assert_int_equal(again.broken, 0);
	close(fd);
}

static void put_file(int dirfd, const char *name, const char *text)
{
	int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void assert_file(int dirfd, const char *name, const char *text)
{
	char got[64] = "";
	int fd = openat(dirfd, name, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof got - 1), strlen(text));
	assert_string_equal(got, text);
	close(fd);
}

/* Numbers of segments come again once journal/ is empty. */
static void bad_is_never_written_over(void **state)
{
	(void)state;
	struct spool_bad_name where;
	put_file(fixture.dirs.journal, "source", "..first..second");
	int fd = openat(fixture.dirs.journal, "source", O_RDONLY);
	assert_int_equal(spool_bad_save(&fixture.dirs, "x", fd, 2, 5, &where), 0);
	assert_string_equal(where.text, "x");
	assert_int_equal(spool_bad_save(&fixture.dirs, "x", fd, 9, 6, &where), 0);
	assert_string_equal(where.text, "x.1");
	/* The same again, also with more said of it than there is: no third file. */
	assert_int_equal(spool_bad_save(&fixture.dirs, "x", fd, 2, 5, &where), 0);
	assert_string_equal(where.text, "x");
	assert_int_equal(spool_bad_save(&fixture.dirs, "x", fd, 9, 600, &where), 0);
	assert_string_equal(where.text, "x.1");
	assert_int_not_equal(faccessat(fixture.dirs.bad, "x.2", F_OK, 0), 0);
	/* The beginning of one is another one. */
	assert_int_equal(spool_bad_save(&fixture.dirs, "x", fd, 2, 4, &where), 0);
	assert_string_equal(where.text, "x.2");
	/* What is there already counts only once it is durable. */
	assert_int_equal(spool_fault_arm("bad-sync:eio"), 0);
	assert_int_equal(spool_bad_save(&fixture.dirs, "x", fd, 2, 5, &where), ERR_IO);
	assert_int_equal(spool_fault_arm("bad-write:enospc"), 0);
	assert_int_equal(spool_bad_save(&fixture.dirs, "y", fd, 2, 5, &where), ERR_NOSPACE);
	assert_int_equal(spool_fault_arm(NULL), 0);
	assert_int_not_equal(faccessat(fixture.dirs.bad, "y", F_OK, 0), 0);
	assert_file(fixture.dirs.bad, "x", "first");
	assert_file(fixture.dirs.bad, "x.1", "second");
	close(fd);
	/* A moved file, too. */
	static const char *const body_of = "0123456789abcd";
	put_file(fixture.dirs.queue, body_of, "one");
	put_file(fixture.dirs.large, body_of, "one's body");
	assert_int_equal(spool_queue_to_bad(&fixture.dirs, SPOOL_IN_QUEUE, body_of, &where), 0);
	put_file(fixture.dirs.queue, body_of, "two");
	put_file(fixture.dirs.large, body_of, "two's body");
	assert_int_equal(spool_queue_to_bad(&fixture.dirs, SPOOL_IN_QUEUE, body_of, &where), 0);
	assert_file(fixture.dirs.bad, "0123456789abcd", "one");
	assert_file(fixture.dirs.bad, "0123456789abcd.1", "two");
	assert_file(fixture.dirs.bad, "0123456789abcd.body", "one's body");
	assert_file(fixture.dirs.bad, "0123456789abcd.body.1", "two's body");
}

/* The segment of a damaged record is removed once the damage is saved.  Its large body is intact. */
static void body_of_a_damaged_record_stays(void **state)
{
	(void)state;
	struct recovered found;
	struct spool_id id, other;
	static char text[70000];
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &id), 0);
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abce"), &other), 0);
	put_file(fixture.dirs.large, id.text, "body");
	put_file(fixture.dirs.large, other.text, "nobody's");
	memset(text, 'x', sizeof text - 1);
	memcpy(text + 65536 - 5, id.text, SPOOL_ID_LEN); /* on the border of two reads */
	put_file(fixture.dirs.bad, "0000000000000001.w0.seg.0", text);
	recover(&fixture.dirs, &found);
	assert_file(fixture.dirs.large, id.text, "body");
	assert_int_not_equal(faccessat(fixture.dirs.large, other.text, F_OK, 0), 0);
	assert_int_equal(unlinkat(fixture.dirs.bad, "0000000000000001.w0.seg.0", 0), 0);
	recover(&fixture.dirs, &found);
	assert_int_not_equal(faccessat(fixture.dirs.large, id.text, F_OK, 0), 0);
}

/* With its record goes its body, where the record says which that is; but not from under a message that waits. */
static void body_goes_with_its_span(void **state)
{
	(void)state;
	struct spool_record record = { .flags = SPOOL_RECORD_LARGE };
	struct spool_bad_name where;
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &record.id), 0);
	put_file(fixture.dirs.large, record.id.text, "body");
	put_file(fixture.dirs.journal, "source", "span");
	put_file(fixture.dirs.hold, record.id.text, "waits");
	int fd = openat(fixture.dirs.journal, "source", O_RDONLY);
	assert_int_equal(spool_bad_save_span(&fixture.dirs, "segment", fd, 1, 2, &record, &where), 0);
	assert_file(fixture.dirs.bad, "segment.1", "pa");
	assert_file(fixture.dirs.large, record.id.text, "body");
	assert_int_equal(unlinkat(fixture.dirs.hold, record.id.text, 0), 0);
	assert_int_equal(spool_bad_save_span(&fixture.dirs, "segment", fd, 1, 2, &record, &where), 0);
	assert_file(fixture.dirs.bad, "0123456789abcd.body", "body");
	close(fd);
}

static void directories(void **state)
{
	(void)state;
	struct reason why = { "" };
	uid_t uid = geteuid();
	assert_int_equal(spool_dir_prepare(fixture.path, uid, getegid(), &why), 0); /* twice is fine */
	assert_int_equal(fchmod(fixture.dirs.queue, 0777), 0);
	assert_int_equal(spool_dir_prepare(fixture.path, uid, getegid(), &why), ERR_PERM);
	assert_non_null(strstr(why.text, "/queue: mode 0777"));
	assert_int_equal(fchmod(fixture.dirs.queue, 0700), 0);
	assert_int_equal(spool_dir_prepare(fixture.path, uid + 1, getegid(), &why), ERR_PERM);
	assert_non_null(strstr(why.text, "owned by uid"));
	assert_int_equal(unlinkat(fixture.dirs.root, "bad", AT_REMOVEDIR), 0);
	assert_int_equal(symlinkat("/tmp", fixture.dirs.root, "bad"), 0);
	assert_int_not_equal(spool_dir_prepare(fixture.path, uid, getegid(), &why), 0);
	assert_int_equal(unlinkat(fixture.dirs.root, "bad", 0), 0);
	struct spool_dirs dirs = SPOOL_DIRS_CLOSED;
	assert_int_equal(spool_dirs_open(fixture.path, &dirs, &why), ERR_NOTFOUND);
	assert_int_equal(spool_dir_prepare(fixture.path, uid, getegid(), &why), 0);
}

static void names(void **state)
{
	(void)state;
	static const char *const bad[] = { "", "1.w1.seg", "0000000000000001.w.seg", "0000000000000001.w1000.seg", "../00000000000001.w1.seg",
					   "0000000000000001.w1.seg.ack", "0000000000000001xw1.seg", "0000000000000001.w1/.seg" };
	struct spool_segment_name name;
	uint64_t number = 0;
	unsigned worker = 0;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(spool_segment_name_parse(span_of(bad[i]), &name, NULL, NULL), ERR_SYNTAX);
	assert_int_equal(spool_segment_name_parse(SPAN_LIT("0000000000000123.w12.seg"), &name, &number, &worker), 0);
	assert_int_equal(number, 123);
	assert_int_equal(worker, 12);

	struct spool_id_source source;
	struct spool_id last, id;
	spool_id_source_init(&source, 7);
	last = spool_id_next(&source);
	assert_int_equal(spool_id_worker(&last), 7);
	for (unsigned i = 0; i < 200000; i++, last = id) {
		id = spool_id_next(&source);
		assert_false(spool_id_eq(&id, &last));
		assert_true(spool_id_time_ms(&id) >= spool_id_time_ms(&last));
	}
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abc"), &id), ERR_SYNTAX);
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789ab/d"), &id), ERR_SYNTAX);
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcu"), &id), ERR_SYNTAX);
}

/* Acknowledgements are removed without a sync: before their number comes again there is one, or there is no number. */
static void number_comes_again_only_durably(void **state)
{
	(void)state;
	uint64_t number = 0;
	put_file(fixture.dirs.ack, "0000000000000041.w0.seg.ack", "");
	assert_int_equal(spool_segment_next_number(&fixture.dirs, &number), 0);
	assert_int_equal(number, 42);
	assert_int_equal(spool_fault_arm("dir-sync:eio"), 0);
	assert_int_equal(spool_segment_next_number(&fixture.dirs, &number), ERR_IO);
	assert_int_equal(spool_fault_arm(NULL), 0);
}

static void space(void **state)
{
	(void)state;
	struct reason why = { "" };
	struct spool_space_limits limits = { 1, 1 };
	assert_int_equal(spool_space_check(fixture.dirs.journal, &limits, &why), 0);
	limits.min_free_bytes = UINT64_MAX;
	assert_int_equal(spool_space_check(fixture.dirs.journal, &limits, &why), ERR_NOSPACE);
	assert_int_equal(spool_space_check(-1, &limits, &why), ERR_IO);

	const struct spool_space small = { 1000, 10 };
	assert_int_equal(spool_space_compare(&small, &(struct spool_space_limits){ 1000, 10 }, &why), 0);
	assert_int_equal(spool_space_compare(&small, &(struct spool_space_limits){ 1001, 10 }, &why), ERR_NOSPACE);
	assert_int_equal(spool_space_compare(&small, &(struct spool_space_limits){ 1000, 11 }, &why), ERR_NOSPACE);
}

#define spool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { spool_test(settled_one_by_one), spool_test(orphans), spool_test(already_in_queue),
					    spool_test(damage_is_kept_and_reported_once), spool_test(bad_is_never_written_over),
					    spool_test(body_of_a_damaged_record_stays), spool_test(body_goes_with_its_span), spool_test(directories), spool_test(names), spool_test(number_comes_again_only_durably), spool_test(space) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
