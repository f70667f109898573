/* Everything in spool/ that reads stored bytes: a segment, its envelopes, acknowledgements, status lines.  What decodes must encode again to
 * something that decodes to the same. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ack.h"
#include "envelope.h"
#include "reader.h"
#include "status_line.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_envelope(struct span lines)
{
	struct arena arena = { NULL, 0 };
	struct spool_envelope envelope, again;
	struct buf out = { .cap = 0 };
	if (spool_envelope_decode(lines, &arena, &envelope) == 0 && spool_envelope_encode(&envelope, &out) == 0) {
		assert(spool_envelope_decode(buf_span(&out), &arena, &again) == 0);
		assert(span_eq(envelope.from, again.from) && envelope.recipient_count == again.recipient_count);
	}
	buf_free(&out);
	arena_free(&arena);
}

static void try_status(struct span line)
{
	struct arena arena = { NULL, 0 };
	struct spool_status status;
	struct buf out = { .cap = 0 };
	if (spool_status_decode(line, &arena, &status) == 0)
		assert(spool_status_encode(&status, &out) == 0);
	buf_free(&out);
	arena_free(&arena);
}

static void try_acks(struct span bytes)
{
	struct spool_ack_set set;
	if (spool_ack_decode(bytes, &set) != 0)
		return;
	(void)spool_ack_get(&set, 0, 0);
	spool_ack_set_free(&set);
}

/* The first half of the checks a random file never passes are done for the fuzzer: a good header in front, with lengths of its choice. */
static void try_segment(const uint8_t *data, size_t size)
{
	static int fd = -1;
	if (fd < 0)
		fd = memfd_create("segment", 0);
	if (ftruncate(fd, 0) != 0)
		return;
	if (size > 8 && data[0] & 1) {
		struct spool_record record = { .envelope_len = data[1], .envelope_crc = 0, .body_len = data[2] };
		unsigned char header[SPOOL_RECORD_HEADER_LEN];
		(void)spool_id_parse(SPAN_LIT("0123456789abcd"), &record.id);
		spool_record_encode(&record, header);
		if (pwrite(fd, header, sizeof header, 0) != (ssize_t)sizeof header)
			return;
	}
	off_t end = lseek(fd, 0, SEEK_END);
	if (size > 0 && pwrite(fd, data, size, end) != (ssize_t)size)
		return;
	uint64_t limit = (uint64_t)end + size, covered = 0;
	struct spool_reader reader;
	struct spool_entry entry;
	enum spool_read what;
	unsigned flags = SPOOL_READ_CHECK_BODY | (size > 0 && data[0] & 2 ? SPOOL_READ_OPEN_END : 0);
	spool_reader_init(&reader, fd, 0, limit, flags);
	while ((what = spool_reader_next(&reader, &entry)) != SPOOL_READ_END && what != SPOOL_READ_ERROR) {
		assert(entry.offset == covered && entry.length > 0);
		covered += entry.length;
	}
	assert(what == SPOOL_READ_ERROR || (flags & SPOOL_READ_OPEN_END ? reader.offset == limit && covered <= limit : covered == limit));
	spool_reader_free(&reader);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = { (const char *)data, size };
	try_segment(data, size);
	try_envelope(bytes);
	try_acks(bytes);
	try_status(bytes);
	return 0;
}
