/* mime_decode.h - base64 and quoted-printable (RFC 2045 section 6), piece by piece, forgiving as mail programs are.
 * Base64: what is not of its alphabet is passed over; padding ends a group of four and decoding goes on behind it.  A "=" where no padding can be is passed
 * over as well, as Python does; some programs take it for a digit, others end the group there: is_odd says so.
 * Quoted-printable: an "=" that begins nothing is kept; white space between "=" and the end of the line is forgiven, and kept
 * where there is no "=" (RFC 2045 would drop it; mail programs do not).
 * The result does not depend on the cuts.  Line ends come in as LF.  Fails: as buf does.
 */
#ifndef POSTERN_MIME_DECODE_H
#define POSTERN_MIME_DECODE_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "span.h"

enum mime_encoding { MIME_IDENTITY, MIME_BASE64, MIME_QUOTED };

/* Zeroed but for the encoding: at the beginning. */
struct mime_decode {
	enum mime_encoding encoding;
	uint32_t bits;  /* private, as all below */
	unsigned count; /* base64: digits of the group; quoted: where in "=XY" */
	bool is_odd;
	bool is_padded; /* base64: one "=" behind two digits */
	char held;
	uint32_t spaces;
};

/* Append what the bytes decode to, at most as many bytes and those that were held back. */
int mime_decode_push(struct mime_decode *decode, struct span bytes, struct buf *out);

/* The input is over: what was held back. */
int mime_decode_finish(struct mime_decode *decode, struct buf *out);

/* The value of a hexadecimal digit, or -1. */
int mime_hex(char c);

#endif
