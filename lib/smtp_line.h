/* smtp_line.h - where a command line ends, in the bytes that have arrived so far.
 * Only CRLF ends a line (RFC 5321 section 2.3.8); a bare LF does too where the policy is to normalize.  A line with a bare CR, a
 * bare LF, a NUL or too many octets is reported once, as a fault, and thrown away up to its end, even if that arrives much later:
 * no part of a faulty line is ever taken for a command.  A client that never sends CRLF thus gets one fault and then silence.
 * Pure: the caller keeps the buffer; the state holds two positions.  The outcome does not depend on how the bytes were cut.
 */
#ifndef POSTERN_SMTP_LINE_H
#define POSTERN_SMTP_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "smtp_reply_text.h"
#include "span.h"

#define SMTP_LINE_CAP 512u           /* RFC 5321 section 4.5.3.1.4, CRLF included */
#define SMTP_LINE_EXTENDED_CAP 2048u /* with what SIZE, BODY, DSN and AUTH may add to MAIL and RCPT */

enum smtp_line_result {
	SMTP_LINE_MORE,     /* no whole line yet */
	SMTP_LINE_READY,    /* a line */
	SMTP_LINE_BARE_CR,  /* the faults: the first one of a line */
	SMTP_LINE_BARE_LF,
	SMTP_LINE_NUL,
	SMTP_LINE_TOO_LONG,
};

struct smtp_line {
	uint32_t cap;         /* octets of a line with its CRLF */
	uint32_t scanned;     /* bytes of the buffered part that need no second look: fewer than cap */
	bool is_normalizing;  /* a bare LF ends a line */
	bool is_discarding;   /* inside the rest of a faulty line */
};

/* cap > 2. */
void smtp_line_init(struct smtp_line *state, uint32_t cap, bool normalize_bare_lf);

/* Look for the next line at the start of buffered.  Whatever the result, the caller then drops *drop_out bytes from the front of
 * its buffer before it calls again; with SMTP_LINE_MORE that may be 0.  *line_out is written for SMTP_LINE_READY only: the line
 * without its end, inside buffered (so use it before dropping).  After a fault nothing of the faulty line is left in the buffer
 * but, when its end has not arrived, perhaps its last CR. */
enum smtp_line_result smtp_line_next(struct smtp_line *state, struct span buffered, struct span *line_out, size_t *drop_out);

/* The answer to a fault; NULL for MORE and READY. */
const struct smtp_reply_text *smtp_line_fault_reply(enum smtp_line_result fault);

#endif
