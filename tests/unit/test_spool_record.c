/* Records and the reader: every cut is a torn tail, every changed byte is noticed, and behind damage the next record is found. */
#include <fcntl.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "batch.h"
#include "err.h"
#include "reader.h"

#define ENVELOPE SPAN_LIT("FROM <a>\nRCPT <b>\n")
#define COUNT 3

static const char *const bodies[COUNT] = { "one\r\n.\r\n", ".\r\n", "three three three\r\n.\r\n" };

/* COUNT records in a temporary file; ends[i] is where each ends. */
static int make_file(uint64_t ends[COUNT])
{
	char path[] = "/tmp/postern-record-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	unlink(path);
	struct spool_batch_item items[COUNT];
	memset(items, 0, sizeof items);
	uint64_t end = 0;
	for (unsigned i = 0; i < COUNT; i++) {
		assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &items[i].record.id), 0);
		items[i].envelope = ENVELOPE;
		items[i].body = span_of(bodies[i]);
		items[i].next = i + 1 < COUNT ? &items[i + 1] : NULL;
		end += SPOOL_RECORD_HEADER_LEN + ENVELOPE.len + strlen(bodies[i]);
		ends[i] = end;
	}
	struct spool_batch batch = { .fd = fd, .items = items };
	spool_batch_run(&batch);
	assert_int_equal(batch.err, 0);
	assert_int_equal(batch.end, end);
	return fd;
}

static void header(void **state)
{
	(void)state;
	struct spool_record in = { .flags = SPOOL_RECORD_LARGE, .offset = 1234567, .envelope_len = 99, .envelope_crc = 0xdeadbeef,
				   .body_len = UINT64_C(5) << 32, .body_crc = 0xfeedface }, out;
	unsigned char bytes[SPOOL_RECORD_HEADER_LEN];
	assert_int_equal(spool_id_parse(SPAN_LIT("zyxwvtsrqpnmkj"), &in.id), 0);
	spool_record_encode(&in, bytes);
	assert_int_equal(bytes[0], 0); /* no byte of a body is 0 */
	assert_int_equal(spool_record_decode(bytes, &out), 0);
	assert_memory_equal(in.id.text, out.id.text, SPOOL_ID_LEN);
	assert_true(in.flags == out.flags && in.offset == out.offset && in.envelope_len == out.envelope_len && in.body_len == out.body_len &&
	            in.envelope_crc == out.envelope_crc && in.body_crc == out.body_crc);
	for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
		assert_int_equal(spool_record_decode(bytes, &out), ERR_CORRUPT);
		bytes[bit / 8] ^= (unsigned char)(1u << bit % 8);
	}
	in.flags = 0; /* a length that is fine for a file of its own only */
	spool_record_encode(&in, bytes);
	assert_int_equal(spool_record_decode(bytes, &out), ERR_CORRUPT);
}

static void whole(void **state)
{
	(void)state;
	uint64_t ends[COUNT];
	int fd = make_file(ends);
	struct spool_reader reader;
	struct spool_entry entry;
	spool_reader_init(&reader, fd, 0, ends[COUNT - 1], SPOOL_READ_CHECK_BODY);
	for (unsigned i = 0; i < COUNT; i++) {
		char body[64] = "";
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_RECORD);
		assert_int_equal(entry.offset + entry.length, ends[i]);
		assert_true(span_eq(entry.envelope, ENVELOPE));
		assert_int_equal(pread(fd, body, (size_t)entry.record.body_len, (off_t)spool_record_body_offset(&entry.record)), (ssize_t)strlen(bodies[i]));
		assert_string_equal(body, bodies[i]);
	}
	assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
	spool_reader_free(&reader);
	close(fd);
}

static void cut_everywhere(void **state)
{
	(void)state;
	uint64_t ends[COUNT];
	int fd = make_file(ends);
	for (uint64_t limit = 0; limit <= ends[COUNT - 1]; limit++) {
		unsigned good = 0;
		while (good < COUNT && ends[good] <= limit)
			good++;
		uint64_t start = good ? ends[good - 1] : 0;
		/* Cut by the limit of the reader, then by the end of the file. */
		for (int is_file = 0; is_file < 2; is_file++) {
			struct spool_reader reader;
			struct spool_entry entry;
			int cut_fd = fd;
			if (is_file) {
				cut_fd = make_file(ends);
				assert_int_equal(ftruncate(cut_fd, (off_t)limit), 0);
			}
			spool_reader_init(&reader, cut_fd, 0, is_file ? ends[COUNT - 1] : limit, SPOOL_READ_CHECK_BODY);
			for (unsigned i = 0; i < good; i++)
				assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_RECORD);
			if (limit > start || (is_file && limit < ends[COUNT - 1])) {
				assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_TORN);
				assert_int_equal(entry.offset, start);
				assert_int_equal(entry.length, reader.limit - start);
			}
			assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
			spool_reader_free(&reader);
			if (is_file)
				close(cut_fd);
		}
	}
	close(fd);
}

static void change_every_byte(void **state)
{
	(void)state;
	uint64_t ends[COUNT];
	int fd = make_file(ends);
	for (uint64_t at = 0; at < ends[COUNT - 1]; at++) {
		unsigned char byte, other;
		assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
		other = (unsigned char)(byte ^ 0x20);
		assert_int_equal(pwrite(fd, &other, 1, (off_t)at), 1);
		struct spool_reader reader;
		struct spool_entry entry;
		unsigned good = 0, bad = 0;
		uint64_t covered = 0;
		spool_reader_init(&reader, fd, 0, ends[COUNT - 1], SPOOL_READ_CHECK_BODY);
		for (enum spool_read what; (what = spool_reader_next(&reader, &entry)) != SPOOL_READ_END;) {
			assert_int_not_equal(what, SPOOL_READ_ERROR);
			good += what == SPOOL_READ_RECORD;
			bad += what != SPOOL_READ_RECORD;
			covered += entry.length;
		}
		assert_int_equal(good, COUNT - 1);
		assert_int_equal(bad, 1);
		assert_int_equal(covered, ends[COUNT - 1]);
		spool_reader_free(&reader);
		assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	}
	close(fd);
}

/* Damage in front must not make the reader believe a record that says it belongs elsewhere. */
static void copied_record(void **state)
{
	(void)state;
	uint64_t ends[COUNT];
	int fd = make_file(ends);
	char copy[256];
	size_t len = (size_t)(ends[1] - ends[0]);
	assert_int_equal(pread(fd, copy, len, (off_t)ends[0]), (ssize_t)len);
	assert_int_equal(pwrite(fd, copy, len, (off_t)ends[2]), (ssize_t)len);
	struct spool_reader reader;
	struct spool_entry entry;
	spool_reader_init(&reader, fd, ends[2], ends[2] + len, 0);
	assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_TORN);
	spool_reader_free(&reader);
	close(fd);
}

/* A worker that is taken over writes what it likes into its segment, but no record under another worker's id. */
static void foreign_id(void **state)
{
	(void)state;
	uint64_t ends[COUNT];
	char name[64];
	int fd = make_file(ends);
	struct spool_id id;
	assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &id), 0);
	for (unsigned other = 0; other < 2; other++) {
		struct spool_reader reader;
		struct spool_entry entry;
		(void)snprintf(name, sizeof name, "0000000000000001.w%u.seg", spool_id_worker(&id) + other);
		spool_reader_init(&reader, fd, 0, ends[COUNT - 1], 0);
		spool_reader_expect(&reader, name);
		for (unsigned i = 0; i < COUNT; i++) {
			assert_int_equal(spool_reader_next(&reader, &entry), other ? SPOOL_READ_CORRUPT : SPOOL_READ_RECORD);
			assert_int_equal(entry.offset + entry.length, ends[i]);
		}
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
		spool_reader_free(&reader);
	}
	close(fd);
}

/* A file of COUNT records and then zeros; more may be written behind. */
static int make_prepared(uint64_t ends[COUNT], uint64_t size)
{
	int fd = make_file(ends);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

static void prepared_tail(void **state)
{
	(void)state;
	static const uint64_t sizes[] = { 1, 7, 8, 63, 64, 65, 65535, 65536, 65537, 3 * 65536 + 5 };
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint64_t ends[COUNT];
		struct spool_reader reader;
		struct spool_entry entry;
		int fd = make_prepared(ends, 300 + sizes[i]);
		uint64_t size = 300 + sizes[i];
		assert_true(ends[COUNT - 1] < 300);
		spool_reader_init(&reader, fd, 0, size, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END);
		for (unsigned n = 0; n < COUNT; n++)
			assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_RECORD);
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
		assert_int_equal(reader.offset, size); /* nothing is left to look at */
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
		spool_reader_free(&reader);
		/* The writer had said that there is more: then it is lost, and must not pass as unused. */
		spool_reader_init(&reader, fd, ends[COUNT - 1], size, 0);
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_TORN);
		assert_int_equal(entry.length, size - ends[COUNT - 1]);
		spool_reader_free(&reader);
		/* Something was begun there: torn, but not all the zeros behind it. */
		for (uint64_t at = 0; at < sizes[i] && at < 200; at += 67) {
			assert_int_equal(pwrite(fd, "x", 1, (off_t)(300 + at)), 1);
			spool_reader_init(&reader, fd, ends[COUNT - 1], size, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END);
			assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_TORN);
			assert_int_equal(entry.offset, ends[COUNT - 1]);
			assert_int_equal(entry.length, 300 + at + 1 - ends[COUNT - 1]);
			assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
			assert_int_equal(reader.offset, size);
			spool_reader_free(&reader);
		}
		close(fd);
	}
}

/* A power cut may have kept a later page and lost an earlier one: what is whole is found behind any number of zeros. */
static void record_behind_zeros(void **state)
{
	(void)state;
	static const uint64_t gaps[] = { 1, 64, 65536 - 64, 65536, 200000 };
	for (size_t i = 0; i < sizeof gaps / sizeof gaps[0]; i++) {
		uint64_t ends[COUNT];
		struct spool_reader reader;
		struct spool_entry entry;
		struct spool_batch_item item = { .envelope = ENVELOPE, .body = span_of(bodies[0]) };
		int fd = make_prepared(ends, 300000);
		uint64_t place = ends[COUNT - 1] + gaps[i];
		assert_int_equal(spool_id_parse(SPAN_LIT("0123456789abcd"), &item.record.id), 0);
		struct spool_batch batch = { .fd = fd, .start = place, .items = &item };
		spool_batch_run(&batch);
		assert_int_equal(batch.err, 0);
		spool_reader_init(&reader, fd, ends[COUNT - 1], 300000, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END);
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_CORRUPT);
		assert_int_equal(entry.length, gaps[i]);
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_RECORD);
		assert_int_equal(entry.offset, place);
		assert_int_equal(spool_reader_next(&reader, &entry), SPOOL_READ_END);
		spool_reader_free(&reader);
		close(fd);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(header), cmocka_unit_test(whole), cmocka_unit_test(cut_everywhere),
					    cmocka_unit_test(change_every_byte), cmocka_unit_test(copied_record), cmocka_unit_test(foreign_id), cmocka_unit_test(prepared_tail),
					    cmocka_unit_test(record_behind_zeros) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
