/* Segments: good records, damage, garbage and unused zeros in any order.  The reader goes through all of it without a gap and gives every record
 * that is whole, whatever stands in front of it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "crc32c.h"
#include "envelope.h"
#include "recovery.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define RECORDS_MAX 64u
#define SEGMENT_CAP (256u << 10)
#define ENVELOPE "FROM <a@example.net>\nRCPT <b@example.org>\n"

struct built {
	unsigned char bytes[SEGMENT_CAP];
	size_t len;
	uint64_t whole[RECORDS_MAX]; /* offsets of undamaged records */
	size_t whole_count;
};

static struct built built;

static void put(const void *bytes, size_t len)
{
	if (len > SEGMENT_CAP - built.len)
		len = SEGMENT_CAP - built.len;
	memcpy(built.bytes + built.len, bytes, len);
	built.len += len;
}

/* flip: 0 leaves it whole; else one bit of it is turned round. */
static void put_record(struct span envelope, struct span body, uint8_t flip, uint8_t at)
{
	if (built.len + SPOOL_RECORD_HEADER_LEN + envelope.len + body.len > SEGMENT_CAP || built.whole_count == RECORDS_MAX)
		return;
	struct spool_record record = { .offset = built.len, .envelope_len = (uint32_t)envelope.len, .body_len = body.len };
	size_t start = built.len;
	(void)spool_id_parse(SPAN_LIT("0123456789abcd"), &record.id);
	record.envelope_crc = crc32c(0, envelope.ptr, envelope.len);
	record.body_crc = crc32c(0, body.ptr, body.len);
	spool_record_encode(&record, built.bytes + built.len);
	built.len += SPOOL_RECORD_HEADER_LEN;
	put(envelope.ptr, envelope.len);
	put(body.ptr, body.len);
	if (flip)
		built.bytes[start + at % (built.len - start)] ^= (unsigned char)(1u << (flip % 8));
	else
		built.whole[built.whole_count++] = start;
}

/* Three bytes say what comes next: kind, length, and where it is damaged; its bytes come from the input. */
static void build(const uint8_t *data, size_t size)
{
	static const unsigned char zeros[256];
	built.len = built.whole_count = 0;
	while (size >= 3) {
		size_t len = data[1] < size - 3 ? data[1] : size - 3;
		struct span text = { (const char *)data + 3, len };
		switch (data[0] % 6) {
		case 0:
		case 1: put_record(SPAN_LIT(ENVELOPE), text, 0, 0); break;
		case 2: put_record(SPAN_LIT(ENVELOPE), text, data[0], data[2]); break;
		case 3: put_record(text, SPAN_LIT(".\r\n"), 0, 0); break; /* an envelope of its choice */
		case 4: put(text.ptr, text.len); break;
		default: put(zeros, data[1]);
		}
		data += 3 + len;
		size -= 3 + len;
	}
}

static void check_reader(int fd, unsigned flags)
{
	struct spool_reader reader;
	struct spool_entry entry;
	enum spool_read what;
	uint64_t covered = 0;
	size_t next = 0;
	spool_reader_init(&reader, fd, 0, built.len, flags);
	while ((what = spool_reader_next(&reader, &entry)) != SPOOL_READ_END) {
		assert(what != SPOOL_READ_ERROR && entry.offset == covered && entry.length > 0);
		covered += entry.length;
		if (what == SPOOL_READ_TORN)
			break;
		if (what == SPOOL_READ_RECORD && next < built.whole_count && entry.offset == built.whole[next])
			next++;
	}
	assert(covered <= built.len && (covered == built.len || (flags & SPOOL_READ_OPEN_END)));
	assert(next == built.whole_count);
	spool_reader_free(&reader);
}

struct seen {
	size_t messages;
};

static int saw_message(void *ctx, const struct spool_found *found)
{
	((struct seen *)ctx)->messages++;
	assert(found->envelope->recipient_count > 0);
	return 0;
}

static void saw_broken(void *ctx, const struct spool_broken *broken)
{
	(void)ctx;
	assert(broken->offset + broken->length <= built.len);
}

/* With acknowledgements of an earlier run: what is noted is not reported again. */
static void check_scan(int fd, uint8_t noted)
{
	struct spool_ack_entry entries[RECORDS_MAX];
	struct spool_ack_set acks = { .entries = entries, .void_offset = noted % 16 == 15 ? built.len / 2 : UINT64_MAX };
	struct seen seen = { 0 };
	struct spool_segment_info info;
	struct spool_recovery_events events = { .message = saw_message, .broken = saw_broken, .ctx = &seen };
	for (size_t i = 0; i < built.whole_count; i++) {
		if (noted >> (i % 8) & 1)
			entries[acks.count++] = (struct spool_ack_entry){ built.whole[i], SPOOL_ACK_ALL, SPOOL_OUTCOME_DELIVERED };
	}
	assert(spool_segment_scan(fd, "0000000000000001.w0.seg", 0, built.len, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END, &acks, &events, &info,
				  NULL) == 0);
	assert(seen.messages == info.unsettled && info.unsettled <= info.records);
	assert(info.unsettled + acks.count <= built.whole_count || acks.void_offset != UINT64_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	if (fd < 0)
		fd = memfd_create("segment", MFD_CLOEXEC);
	if (size < 1)
		return 0;
	build(data + 1, size - 1);
	if (ftruncate(fd, 0) != 0 || pwrite(fd, built.bytes, built.len, 0) != (ssize_t)built.len)
		return 0;
	check_reader(fd, SPOOL_READ_CHECK_BODY);
	check_reader(fd, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END);
	check_scan(fd, data[0]);
	/* A file as somebody else made it. */
	if (ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size) {
		built.len = size;
		built.whole_count = 0;
		check_reader(fd, SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END);
	}
	return 0;
}
