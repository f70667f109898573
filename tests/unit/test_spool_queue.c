/* Waiting mail: created whole or not at all, its history read back, a torn line never believed. */
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bad.h"
#include "fault.h"
#include "spool_fixture.h"

static struct spool_fixture fixture;
static struct spool_id id;

static int setup(void **state)
{
	(void)state;
	spool_fixture_make(&fixture);
	return spool_id_parse(SPAN_LIT("0123456789abcd"), &id);
}

static int teardown(void **state)
{
	(void)state;
	(void)spool_fault_arm(NULL);
	spool_fixture_remove(&fixture);
	return 0;
}

static int create(enum spool_place place)
{
	struct buf lines = { .cap = 0 };
	assert_int_equal(spool_envelope_encode(sample_envelope(3), &lines), 0);
	struct spool_status first[] = { { .time = 100, .attempt = 1, .next_time = 400, .text = SPAN_LIT("450 4.2.1\r\nnot now \\ \xff") },
					{ .time = 100, .has_recipient = true, .recipient = 1, .outcome = SPOOL_OUTCOME_DELIVERED, .text = SPAN_LIT("250 ok") } };
	struct spool_queue_source source = { .record = { .id = id }, .envelope = buf_span(&lines), .body_bytes = SPAN_LIT("hello\r\n.\r\n"),
					     .status = first, .status_count = 2 };
	int err = spool_queue_create(&fixture.dirs, place, &source);
	buf_free(&lines);
	return err;
}

static void life(void **state)
{
	(void)state;
	struct arena arena = { NULL, 0 };
	struct spool_queue_item item;
	int fd = -1;
	char body[16] = "";
	assert_int_equal(create(SPOOL_IN_QUEUE), 0);
	assert_int_equal(create(SPOOL_IN_QUEUE), ERR_BUSY);
	assert_int_equal(spool_queue_load(&fixture.dirs, SPOOL_IN_QUEUE, &id, SPOOL_LOAD_CHECK_BODY, &arena, &item, &fd), 0);
	assert_int_equal(item.attempts, 1);
	assert_int_equal(item.next_time, 400);
	assert_int_equal(item.last_time, 100);
	assert_int_equal(item.pending, 2);
	assert_int_equal(item.recipients[1].outcome, SPOOL_OUTCOME_DELIVERED);
	assert_true(span_eq(item.last_text, SPAN_LIT("450 4.2.1  not now \\ \xff")));
	assert_int_equal(pread(fd, body, (size_t)item.record.body_len, (off_t)spool_record_body_offset(&item.record)), 10);
	assert_string_equal(body, "hello\r\n.\r\n");
	close(fd);

	struct spool_status warned = { .time = 200, .note = SPAN_LIT("warned") };
	struct spool_status all = { .time = 300, .attempt = 2, .has_recipient = true, .recipient = SPOOL_ACK_ALL, .outcome = SPOOL_OUTCOME_FAILED };
	assert_int_equal(spool_queue_append(&fixture.dirs, SPOOL_IN_QUEUE, &id, &warned, 1), 0);
	assert_int_equal(spool_queue_move(&fixture.dirs, SPOOL_IN_QUEUE, SPOOL_IN_HOLD, &id), 0);
	assert_int_equal(spool_queue_append(&fixture.dirs, SPOOL_IN_HOLD, &id, &all, 1), 0);
	assert_int_equal(spool_queue_load(&fixture.dirs, SPOOL_IN_QUEUE, &id, 0, &arena, &item, NULL), ERR_NOTFOUND);
	assert_int_equal(spool_queue_load(&fixture.dirs, SPOOL_IN_HOLD, &id, 0, &arena, &item, NULL), 0);
	assert_true(item.is_warned);
	assert_int_equal(item.pending, 0);
	assert_int_equal(item.attempts, 2);
	assert_int_equal(spool_queue_remove(&fixture.dirs, SPOOL_IN_HOLD, &id, false), 0);
	assert_int_equal(spool_queue_load(&fixture.dirs, SPOOL_IN_HOLD, &id, 0, &arena, &item, NULL), ERR_NOTFOUND);
	arena_free(&arena);
}

/* Nothing names the body any more, and yet no sweep takes it. */
static void broken_with_its_body(void **state)
{
	(void)state;
	uint64_t removed = 0;
	struct spool_bad_name where;
	assert_int_equal(create(SPOOL_IN_HOLD), 0);
	int fd = openat(fixture.dirs.large, id.text, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "body", 4), 4);
	close(fd);
	assert_int_equal(spool_fault_arm("bad-move:eio"), 0);
	assert_int_equal(spool_queue_to_bad(&fixture.dirs, SPOOL_IN_HOLD, id.text, &where), ERR_IO);
	assert_int_equal(spool_fault_arm(NULL), 0);
	assert_int_equal(spool_queue_to_bad(&fixture.dirs, SPOOL_IN_HOLD, id.text, &where), 0);
	assert_int_equal(spool_large_sweep(&fixture.dirs, &removed), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(faccessat(fixture.dirs.bad, id.text, F_OK, 0), 0);
	char name[SPOOL_ID_LEN + sizeof SPOOL_BAD_BODY];
	(void)snprintf(name, sizeof name, "%s" SPOOL_BAD_BODY, id.text);
	assert_int_equal(faccessat(fixture.dirs.bad, name, F_OK, 0), 0);
}

/* Cut the file everywhere: a broken record, or the history up to the last whole line; an append behind it is read. */
static void cut_everywhere(void **state)
{
	(void)state;
	assert_int_equal(create(SPOOL_IN_QUEUE), 0);
	int fd = openat(fixture.dirs.queue, id.text, O_RDWR);
	assert_true(fd >= 0);
	char file[2048];
	ssize_t size = pread(fd, file, sizeof file, 0);
	struct arena arena = { NULL, 0 };
	struct spool_queue_item item;
	assert_int_equal(spool_queue_load(&fixture.dirs, SPOOL_IN_QUEUE, &id, 0, &arena, &item, NULL), 0);
	size_t record_len = (size_t)spool_record_length(&item.record);
	for (ssize_t len = size - 1; len > 0; len--) {
		assert_int_equal(ftruncate(fd, len), 0);
		int err = spool_queue_load(&fixture.dirs, SPOOL_IN_QUEUE, &id, SPOOL_LOAD_CHECK_BODY, &arena, &item, NULL);
		assert_int_equal(err, (size_t)len < record_len ? ERR_CORRUPT : 0);
		if (err)
			continue;
		assert_int_equal(item.pending, 3); /* the second line is never whole here */
		struct spool_status later = { .time = 900, .attempt = 7 };
		assert_int_equal(spool_queue_append(&fixture.dirs, SPOOL_IN_QUEUE, &id, &later, 1), 0);
		assert_int_equal(spool_queue_load(&fixture.dirs, SPOOL_IN_QUEUE, &id, 0, &arena, &item, NULL), 0);
		assert_int_equal(item.attempts, 7);
		assert_int_equal(item.pending, len == size - 1 ? 2 : 3); /* only its LF was missing: the append has put it there */
		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, file, (size_t)size, 0), size);
	}
	arena_free(&arena);
	close(fd);
}

static void line_damage(void **state)
{
	(void)state;
	struct buf line = { .cap = 0 };
	struct arena arena = { NULL, 0 };
	struct spool_status in = { .time = 5, .attempt = 12, .next_time = 99, .has_recipient = true, .recipient = 3, .outcome = SPOOL_OUTCOME_DEFERRED,
				   .text = SPAN_LIT("451 later = x"), .note = SPAN_LIT("held") }, out;
	assert_int_equal(spool_status_encode(&in, &line), 0);
	assert_int_equal(spool_status_decode((struct span){ line.data, line.len - 1 }, &arena, &out), 0);
	assert_true(out.time == 5 && out.attempt == 12 && out.next_time == 99 && out.recipient == 3 && out.outcome == SPOOL_OUTCOME_DEFERRED);
	assert_true(span_eq(out.text, in.text) && span_eq(out.note, in.note));
	for (size_t len = 0; len < line.len - 1; len++)
		assert_int_equal(spool_status_decode((struct span){ line.data, len }, &arena, &out), ERR_CORRUPT);
	for (size_t i = 0; i < line.len - 1; i++) {
		line.data[i] ^= 1;
		assert_int_equal(spool_status_decode((struct span){ line.data, line.len - 1 }, &arena, &out), ERR_CORRUPT);
		line.data[i] ^= 1;
	}
	arena_free(&arena);
	buf_free(&line);
}

static void failing_disk(void **state)
{
	(void)state;
	static const char *const faults[] = { "queue-write:enospc", "queue-sync:eio" };
	struct recovered found;
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(spool_fault_arm(faults[i]), 0);
		assert_int_equal(create(SPOOL_IN_QUEUE), i ? ERR_IO : ERR_NOSPACE);
		assert_int_equal(spool_fault_arm(NULL), 0);
		recover(&fixture.dirs, &found);
		assert_int_equal(found.messages + found.broken, 0);
	}
	assert_int_equal(create(SPOOL_IN_QUEUE), 0);
	recover(&fixture.dirs, &found);
	assert_int_equal(found.messages, 1);
}

#define spool_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { spool_test(life), spool_test(cut_everywhere), spool_test(line_damage), spool_test(failing_disk),
					    spool_test(broken_with_its_body) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
