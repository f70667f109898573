/* reader.h - goes through the records of a segment, believing nothing.
 * Owns: its copy of the envelope lines (one at a time).  Borrows: the descriptor.
 * Which checks: header and envelope CRC always.  The body's CRC only where asked: recovery asks, since a power cut may have torn it; the fast
 * path (a record that the writer announced a moment ago) doesn't, since the bytes come from the page cache and go out by sendfile.
 * Blocks (reads): from the page cache in the fast path; recovery runs before the loop or in a job.
 */
#ifndef POSTERN_READER_H
#define POSTERN_READER_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "record.h"
#include "span.h"
#include "spool_segment.h"

/* Flags.  OPEN_END: limit is the size of a segment and not an end that its writer announced, so zeros in front of it are what the writer
 * never used (spool_segment_prepare).  Up to an announced end they are damage. */
enum { SPOOL_READ_CHECK_BODY = 1, SPOOL_READ_OPEN_END = 2 };

struct spool_reader {
	int fd;
	unsigned flags;
	uint64_t offset; /* of the next record */
	uint64_t limit;  /* never read at or behind it */
	bool has_worker; /* of a segment: */
	unsigned worker; /* the only one whose ids its records may have */
	struct buf envelope;
};

enum spool_read {
	SPOOL_READ_RECORD,  /* a good record: entry is filled in */
	SPOOL_READ_END,     /* offset has reached limit, perhaps over zeros that were prepared and never used */
	SPOOL_READ_TORN,    /* what is left up to limit is the beginning of a record, or nothing known: entry.offset and .length say what,
	                       with OPEN_END without the zeros behind it */
	SPOOL_READ_CORRUPT, /* entry.offset and .length: a broken span that ends at the next good header, or at the end of a record whose
	                       body or envelope fails its CRC.  entry.record is valid when has_record */
	SPOOL_READ_ERROR    /* the system refused to read, or no memory: entry.err.  The offset has not moved */
};

struct spool_entry {
	uint64_t offset, length; /* of the record, or of the broken span */
	bool has_record;
	struct spool_record record;
	struct span envelope;    /* lines; valid until the next call on the reader */
	int err;
};

void spool_reader_init(struct spool_reader *reader, int fd, uint64_t offset, uint64_t limit, unsigned flags);
void spool_reader_free(struct spool_reader *reader);

/* From here on a record whose id is not of the worker that the segment is for is SPOOL_READ_CORRUPT: it would stand in the way of another worker's
 * message, or lay claim to its large body. */
void spool_reader_expect(struct spool_reader *reader, const char *segment_name);

/* The next one; moves behind it, also behind broken spans. */
enum spool_read spool_reader_next(struct spool_reader *reader, struct spool_entry *out);

/* More was committed to a live segment. */
static inline void spool_reader_extend(struct spool_reader *reader, uint64_t limit)
{
	if (limit > reader->limit)
		reader->limit = limit;
}

/* Where the body of a record is: in file_fd itself, or in large/ID, which is then opened.  owned says who closes. */
struct spool_body_source {
	int fd;
	bool is_owned;
	uint64_t offset, len;
};

/* ERR_NOTFOUND: the large file is missing; ERR_CORRUPT: it is shorter than the record says. */
int spool_body_open(const struct spool_dirs *dirs, int file_fd, const struct spool_record *record, struct spool_body_source *out);
void spool_body_close(struct spool_body_source *body);

/* Read all of it and compare with the record's CRC.  0, ERR_CORRUPT, ERR_IO. */
int spool_body_check(const struct spool_body_source *body, const struct spool_record *record);

#endif
