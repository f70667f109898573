/* smtp_dot.h - between wire form (CRLF, dot-stuffed, final dot; RFC 5321 section 4.5.2) and native text (LF), piece by piece.
 * smtp_undot is for programs that take a message on a pipe; smtp_dot is for messages that we write ourselves (reports).
 * The result does not depend on how the input was cut.  Fails: as buf does (ERR_NOMEM, ERR_TOOLONG); then nothing was appended
 * and the state is as before.
 */
#ifndef POSTERN_SMTP_DOT_H
#define POSTERN_SMTP_DOT_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"
#include "span.h"

struct smtp_undot {
	bool has_ended; /* the final dot line was seen */
	unsigned state; /* private */
};

void smtp_undot_init(struct smtp_undot *undot);

/* Append to out: CRLF becomes LF, the first dot of a line goes, and nothing comes after the final dot.  A CR or LF on its own (not
 * wire form, but a disk may say so) is kept. */
int smtp_undot_push(struct smtp_undot *undot, struct span wire, struct buf *out);

struct smtp_dot {
	bool is_inside_line; /* private */
};

void smtp_dot_init(struct smtp_dot *dot);

/* Append to out: LF becomes CRLF, a dot at the start of a line is doubled; CR and NUL are dropped, so that wire form comes out
 * always. */
int smtp_dot_push(struct smtp_dot *dot, struct span native, struct buf *out);

/* End the last line where it has no end, and append the final dot. */
int smtp_dot_finish(struct smtp_dot *dot, struct buf *out);

#endif
