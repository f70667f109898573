#include "record.h"

#include "crc32c.h"
#include "envelope.h"
#include "err.h"
#include "spool_bytes.h"

/* Offsets of the fields (docs/spool-format.md). */
enum {
	AT_MAGIC = 0,
	AT_VERSION = 8,
	AT_FLAGS = 10,
	AT_HEADER_CRC = 12,
	AT_OFFSET = 16,
	AT_ID = 24, /* 16 bytes: the text, then zeros */
	AT_ENVELOPE_LEN = 40,
	AT_ENVELOPE_CRC = 44,
	AT_BODY_LEN = 48,
	AT_BODY_CRC = 56,
	AT_RESERVED = 60
};

/* Over the whole header, its own field taken as zero. */
static uint32_t header_crc(const unsigned char header[SPOOL_RECORD_HEADER_LEN])
{
	static const unsigned char zero[4];
	uint32_t crc = crc32c(0, header, AT_HEADER_CRC);
	crc = crc32c(crc, zero, sizeof zero);
	return crc32c(crc, header + AT_OFFSET, SPOOL_RECORD_HEADER_LEN - AT_OFFSET);
}

void spool_record_encode(const struct spool_record *r, unsigned char out[SPOOL_RECORD_HEADER_LEN])
{
	memset(out, 0, SPOOL_RECORD_HEADER_LEN);
	memcpy(out + AT_MAGIC, SPOOL_RECORD_MAGIC, SPOOL_RECORD_MAGIC_LEN);
	spool_bytes_put(out + AT_VERSION, SPOOL_RECORD_VERSION, 2);
	spool_bytes_put(out + AT_FLAGS, r->flags, 2);
	spool_bytes_put(out + AT_OFFSET, r->offset, 8);
	memcpy(out + AT_ID, r->id.text, SPOOL_ID_LEN);
	spool_bytes_put(out + AT_ENVELOPE_LEN, r->envelope_len, 4);
	spool_bytes_put(out + AT_ENVELOPE_CRC, r->envelope_crc, 4);
	spool_bytes_put(out + AT_BODY_LEN, r->body_len, 8);
	spool_bytes_put(out + AT_BODY_CRC, r->body_crc, 4);
	spool_bytes_put(out + AT_HEADER_CRC, header_crc(out), 4);
}

int spool_record_decode(const unsigned char in[SPOOL_RECORD_HEADER_LEN], struct spool_record *out)
{
	if (memcmp(in + AT_MAGIC, SPOOL_RECORD_MAGIC, SPOOL_RECORD_MAGIC_LEN) != 0 || spool_bytes_get(in + AT_HEADER_CRC, 4) != header_crc(in))
		return ERR_CORRUPT;
	if (spool_bytes_get(in + AT_VERSION, 2) != SPOOL_RECORD_VERSION)
		return ERR_UNSUPPORTED;
	struct spool_record r = {
		.flags = (uint16_t)spool_bytes_get(in + AT_FLAGS, 2),
		.offset = spool_bytes_get(in + AT_OFFSET, 8),
		.envelope_len = (uint32_t)spool_bytes_get(in + AT_ENVELOPE_LEN, 4),
		.envelope_crc = (uint32_t)spool_bytes_get(in + AT_ENVELOPE_CRC, 4),
		.body_len = spool_bytes_get(in + AT_BODY_LEN, 8),
		.body_crc = (uint32_t)spool_bytes_get(in + AT_BODY_CRC, 4),
	};
	uint64_t body_cap = spool_record_is_large(&r) ? SPOOL_BODY_CAP : SPOOL_INLINE_CAP;
	if (spool_id_parse((struct span){ (const char *)in + AT_ID, SPOOL_ID_LEN }, &r.id) != 0 || r.offset > INT64_MAX / 2 ||
	    r.envelope_len > SPOOL_ENVELOPE_CAP || r.body_len > body_cap || (r.flags & ~SPOOL_RECORD_LARGE) != 0)
		return ERR_CORRUPT;
	*out = r;
	return 0;
}
