#include "reader.h"

#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "envelope.h"
#include "err.h"
#include "spool_bytes.h"

#define CHUNK 65536u
#define AHEAD 1024u /* a header and most envelopes */

/* CRC of a stretch of the file.  ERR_EOF when it is shorter. */
static int crc_of(int fd, uint64_t offset, uint64_t len, uint32_t *crc_out)
{
	unsigned char chunk[CHUNK];
	uint32_t crc = 0;
	while (len > 0) {
		int64_t got = spool_bytes_read_at(fd, chunk, len < CHUNK ? (size_t)len : CHUNK, offset);
		if (got < 0)
			return (int)got;
		if (got == 0)
			return ERR_EOF;
		crc = crc32c(crc, chunk, (size_t)got);
		offset += (uint64_t)got;
		len -= (uint64_t)got;
	}
	*crc_out = crc;
	return 0;
}

/* What there is of size bytes, up to the limit. */
static int read_within(const struct spool_reader *reader, uint64_t offset, unsigned char *bytes, size_t size, size_t *len_out)
{
	uint64_t left = reader->limit - offset;
	int64_t got = spool_bytes_read_at(reader->fd, bytes, left < size ? (size_t)left : size, offset);
	if (got < 0)
		return ERR_IO;
	*len_out = (size_t)got;
	return 0;
}

static int parse_header(const unsigned char *bytes, size_t len, uint64_t offset, struct spool_record *out)
{
	struct spool_record record;
	if (len < SPOOL_RECORD_HEADER_LEN)
		return ERR_EOF;
	if (spool_record_decode(bytes, &record) != 0 || record.offset != offset)
		return ERR_CORRUPT;
	*out = record;
	return 0;
}

/* A header that says of itself that it belongs at this place.  A later version counts as one that we can't read: corrupt, kept in bad/. */
static int header_at(const struct spool_reader *reader, uint64_t offset, struct spool_record *out)
{
	unsigned char header[SPOOL_RECORD_HEADER_LEN];
	size_t len;
	int err = read_within(reader, offset, header, sizeof header, &len);
	return err ? err : parse_header(header, len, offset, out);
}

static bool is_all_zero(const char *bytes, size_t len)
{
	return len == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

/* Behind the last byte of [from, limit) that is not zero; from when there is none. */
static int used_end(const struct spool_reader *reader, uint64_t from, uint64_t *out)
{
	char chunk[CHUNK];
	uint64_t end = reader->limit;
	while (end > from) {
		size_t len = end - from < CHUNK ? (size_t)(end - from) : CHUNK;
		int64_t got = spool_bytes_read_at(reader->fd, chunk, len, end - len);
		if (got < 0)
			return ERR_IO;
		size_t used = is_all_zero(chunk, (size_t)got) ? 0 : (size_t)got;
		while (used > 0 && chunk[used - 1] == 0)
			used--;
		end -= len;
		if (used > 0) {
			*out = end + used;
			return 0;
		}
	}
	*out = from;
	return 0;
}

/* The first place at or behind from where a good header stands; end when there is none before it. */
static int next_header(const struct spool_reader *reader, uint64_t from, uint64_t end, uint64_t *out)
{
	char chunk[CHUNK];
	struct spool_record ignored;
	while (from < end) {
		uint64_t left = end - from;
		int64_t got = spool_bytes_read_at(reader->fd, chunk, left < CHUNK ? (size_t)left : CHUNK, from);
		if (got < 0)
			return ERR_IO;
		size_t len = (size_t)got;
		if (len < SPOOL_RECORD_HEADER_LEN)
			break;
		const char *at = chunk;
		while ((at = memmem(at, len - (size_t)(at - chunk), SPOOL_RECORD_MAGIC, SPOOL_RECORD_MAGIC_LEN)) != NULL) {
			uint64_t place = from + (uint64_t)(at - chunk);
			int err = header_at(reader, place, &ignored);
			if (err == 0) {
				*out = place;
				return 0;
			}
			if (err == ERR_IO)
				return err;
			at++;
		}
		from += len - (SPOOL_RECORD_MAGIC_LEN - 1); /* the magic may lie across the border */
	}
	*out = end;
	return 0;
}

static enum spool_read fail(struct spool_entry *entry, int err, struct spool_entry *out)
{
	entry->err = err;
	*out = *entry;
	return SPOOL_READ_ERROR;
}

/* What stands at offset is no record: report it up to the next one that is, or all of it as the torn tail. */
static enum spool_read broken_span(struct spool_reader *reader, struct spool_entry *entry, struct spool_entry *out)
{
	uint64_t end = reader->limit, next = 0;
	int err = reader->flags & SPOOL_READ_OPEN_END ? used_end(reader, entry->offset, &end) : 0;
	if (!err && end == entry->offset) {
		reader->offset = reader->limit;
		return SPOOL_READ_END;
	}
	/* The last bytes of a header may be zeros, too. */
	uint64_t search_end = reader->limit - end < SPOOL_RECORD_HEADER_LEN ? reader->limit : end + SPOOL_RECORD_HEADER_LEN;
	if (!err)
		err = next_header(reader, entry->offset + 1, search_end, &next);
	if (err)
		return fail(entry, err, out);
	bool is_tail = next == search_end;
	reader->offset = is_tail ? reader->limit : next;
	entry->length = (is_tail ? end : next) - entry->offset;
	entry->err = ERR_CORRUPT;
	*out = *entry;
	return is_tail ? SPOOL_READ_TORN : SPOOL_READ_CORRUPT;
}

/* ahead: what was read with the header. */
static int read_envelope(struct spool_reader *reader, struct spool_entry *entry, const unsigned char *ahead, size_t ahead_len)
{
	const struct spool_record *record = &entry->record;
	buf_clear(&reader->envelope);
	int err = buf_reserve(&reader->envelope, (size_t)record->envelope_len + 1);
	if (err)
		return err;
	if (record->envelope_len <= ahead_len) {
		memcpy(reader->envelope.data, ahead, record->envelope_len);
	} else {
		int64_t got = spool_bytes_read_at(reader->fd, reader->envelope.data, record->envelope_len, entry->offset + SPOOL_RECORD_HEADER_LEN);
		if (got < 0)
			return ERR_IO;
		if ((uint64_t)got < record->envelope_len)
			return ERR_EOF;
	}
	reader->envelope.len = record->envelope_len;
	entry->envelope = buf_span(&reader->envelope);
	return crc32c(0, entry->envelope.ptr, entry->envelope.len) == record->envelope_crc ? 0 : ERR_CORRUPT;
}

static int check_inline_body(const struct spool_reader *reader, const struct spool_record *record)
{
	if (!(reader->flags & SPOOL_READ_CHECK_BODY) || spool_record_is_large(record))
		return 0;
	uint32_t crc;
	int err = crc_of(reader->fd, spool_record_body_offset(record), record->body_len, &crc);
	if (err)
		return err;
	return crc == record->body_crc ? 0 : ERR_CORRUPT;
}

void spool_reader_init(struct spool_reader *reader, int fd, uint64_t offset, uint64_t limit, unsigned flags)
{
	*reader = (struct spool_reader){ .fd = fd, .flags = flags, .offset = offset, .limit = limit };
}

void spool_reader_expect(struct spool_reader *reader, const char *segment_name)
{
	reader->has_worker = spool_segment_name_parse(span_of(segment_name), NULL, NULL, &reader->worker) == 0;
}

static int check_worker(const struct spool_reader *reader, const struct spool_record *record)
{
	return !reader->has_worker || spool_id_worker(&record->id) == reader->worker ? 0 : ERR_CORRUPT;
}

void spool_reader_free(struct spool_reader *reader)
{
	buf_free(&reader->envelope);
}

enum spool_read spool_reader_next(struct spool_reader *reader, struct spool_entry *out)
{
	struct spool_entry entry = { .offset = reader->offset };
	if (reader->offset >= reader->limit)
		return SPOOL_READ_END;
	unsigned char ahead[AHEAD];
	size_t ahead_len = 0;
	int err = read_within(reader, reader->offset, ahead, sizeof ahead, &ahead_len);
	if (!err)
		err = parse_header(ahead, ahead_len, reader->offset, &entry.record);
	if (err == ERR_IO)
		return fail(&entry, err, out);
	if (err)
		return broken_span(reader, &entry, out);

	entry.has_record = true;
	entry.length = spool_record_length(&entry.record);
	if (entry.length > reader->limit - entry.offset)
		return broken_span(reader, &entry, out);
	err = read_envelope(reader, &entry, ahead + SPOOL_RECORD_HEADER_LEN, ahead_len - SPOOL_RECORD_HEADER_LEN);
	if (!err)
		err = check_worker(reader, &entry.record);
	if (!err)
		err = check_inline_body(reader, &entry.record);
	if (err == ERR_EOF)
		return broken_span(reader, &entry, out); /* the file is shorter than the limit */
	if (err && err != ERR_CORRUPT)
		return fail(&entry, err, out);
	reader->offset += entry.length;
	entry.err = err;
	*out = entry;
	return err ? SPOOL_READ_CORRUPT : SPOOL_READ_RECORD;
}

int spool_body_open(const struct spool_dirs *dirs, int file_fd, const struct spool_record *record, struct spool_body_source *out)
{
	if (!spool_record_is_large(record)) {
		*out = (struct spool_body_source){ file_fd, false, spool_record_body_offset(record), record->body_len };
		return 0;
	}
	int fd = -1;
	uint64_t size = 0;
	int err = spool_large_open(dirs, &record->id, &fd, &size);
	if (err)
		return err;
	if (size < record->body_len) {
		close(fd);
		return ERR_CORRUPT;
	}
	*out = (struct spool_body_source){ fd, true, 0, record->body_len };
	return 0;
}

void spool_body_close(struct spool_body_source *body)
{
	if (body->is_owned && body->fd >= 0)
		close(body->fd);
	*body = (struct spool_body_source){ .fd = -1 };
}

int spool_body_check(const struct spool_body_source *body, const struct spool_record *record)
{
	uint32_t crc;
	int err = crc_of(body->fd, body->offset, body->len, &crc);
	if (err)
		return err == ERR_EOF ? ERR_CORRUPT : err;
	return crc == record->body_crc ? 0 : ERR_CORRUPT;
}
