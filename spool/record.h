/* record.h - the frame around one message in the spool: 64 bytes of header, the envelope lines, the body.
 * The same record stands in a journal segment, in a file of queue/ or hold/ (then at offset 0, followed by status lines).
 * The body has wire form: CRLF lines, dot-stuffed, ended by ".\r\n".  It holds no NUL byte, and neither do the envelope lines, while the
 * magic starts with one: so whatever a client sends, it can't plant a record for the resynchronisation after damage to find.
 * Numbers are little-endian.  Pure: no I/O, no allocation.
 */
#ifndef POSTERN_RECORD_H
#define POSTERN_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "message_id.h"
#include "span.h"

#define SPOOL_RECORD_HEADER_LEN 64u
#define SPOOL_RECORD_MAGIC "\0POSTERN" /* 8 bytes, the ending NUL not counted */
#define SPOOL_RECORD_MAGIC_LEN 8u
#define SPOOL_RECORD_VERSION 1u
#define SPOOL_BODY_CAP (UINT64_C(1) << 40)
#define SPOOL_INLINE_CAP (UINT64_C(64) << 20) /* a body inside the record is never longer */

enum { SPOOL_RECORD_LARGE = 1 }; /* flag: the body is the file large/ID */

struct spool_record {
	struct spool_id id;
	uint16_t flags;
	uint64_t offset;       /* of this header in the file it was written to */
	uint32_t envelope_len; /* bytes, right behind the header */
	uint32_t envelope_crc;
	uint64_t body_len;     /* bytes, behind the envelope or in large/ID */
	uint32_t body_crc;
};

void spool_record_encode(const struct spool_record *r, unsigned char out[SPOOL_RECORD_HEADER_LEN]);

/* Check magic, version, header CRC and every cap.  ERR_CORRUPT, or ERR_UNSUPPORTED for a later version with a good CRC. */
int spool_record_decode(const unsigned char in[SPOOL_RECORD_HEADER_LEN], struct spool_record *out);

static inline bool spool_record_is_large(const struct spool_record *r)
{
	return (r->flags & SPOOL_RECORD_LARGE) != 0;
}

/* Bytes of the whole record in its file. */
static inline uint64_t spool_record_length(const struct spool_record *r)
{
	return SPOOL_RECORD_HEADER_LEN + r->envelope_len + (spool_record_is_large(r) ? 0 : r->body_len);
}

/* Where an inline body starts in its file. */
static inline uint64_t spool_record_body_offset(const struct spool_record *r)
{
	return r->offset + SPOOL_RECORD_HEADER_LEN + r->envelope_len;
}

#endif
