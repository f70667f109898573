/* smtp_data.h - the DATA stream, from the bytes after 354 to the final dot.
 * Only CRLF.CRLF ends the data, or .CRLF at its very start (RFC 5321 section 4.1.1.4): no other mixture of dots and line ends does.
 * Emits: wire form, dot-stuffing as it was received, with the final ".\r\n": what is stored can be sent as it is.  Zero-copy: spans
 * into the pushed bytes, and constants where something is put in.
 * Faults: a bare CR and a NUL always; a bare LF too, unless it is normalized.  The first one is remembered; from there on nothing
 * is emitted, but scanning goes on to the real end, so that the session survives.
 * Normalizing: a bare LF is emitted as CRLF.  A line that is a lone dot but not CRLF.CRLF (LF.CRLF, CRLF.LF, LF.LF) is emitted as
 * ".." so that no next server can take it for the end: the emitted bytes hold CRLF.CRLF at their end only.
 * Pure: no memory, no I/O; the outcome does not depend on how the bytes were cut.
 */
#ifndef POSTERN_SMTP_DATA_H
#define POSTERN_SMTP_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "smtp_reply_text.h"
#include "span.h"

enum smtp_data_fault { SMTP_DATA_CLEAN, SMTP_DATA_BARE_CR, SMTP_DATA_BARE_LF, SMTP_DATA_NUL };

struct smtp_data {
	bool is_normalizing;
	bool has_ended;             /* the final dot was seen; pushing more consumes nothing */
	bool has_lone_dot;          /* a line was a lone dot without being the end: a client that writes bare LF waits for its reply
	                             * now.  With a fault too, a session may answer it and close, not wait for the time-out */
	enum smtp_data_fault fault; /* the first one */
	uint64_t fault_offset;      /* of the offending byte, from the start of the data */
	uint64_t size_bytes;        /* emitted so far; once has_ended, without the final dot line */
	uint64_t seen_bytes;        /* consumed so far */
	unsigned state;             /* private */
};

typedef void (*smtp_data_emit_fn)(void *ctx, struct span wire);

void smtp_data_init(struct smtp_data *data, bool normalize_bare_lf);

/* Returns how many bytes of in belong to the data: all of them, or fewer once has_ended; the rest are the next commands.
 * emit is called before it returns, with spans that are never empty and live for that call. */
size_t smtp_data_push(struct smtp_data *data, struct span in, smtp_data_emit_fn emit, void *ctx);

/* The answer after the end of faulty data; NULL for SMTP_DATA_CLEAN. */
const struct smtp_reply_text *smtp_data_fault_reply(enum smtp_data_fault fault);

#endif
