/* smtp_reply.h - SMTP replies: written by the server side, read by the client side (RFC 5321 section 4.2).
 * Writing: whatever the text holds, what comes out is one well-formed reply of lines of at most 512 octets, printable ASCII only.
 * Reading: a server is a stranger too.  Caps bound lines and text; NUL, a bad code or codes that differ within a reply are
 * ERR_PROTO.  A bare LF ends a reply line, because nothing can be smuggled that way and some servers write it.
 */
#ifndef POSTERN_SMTP_REPLY_H
#define POSTERN_SMTP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "smtp_reply_text.h"
#include "span.h"

#define SMTP_REPLY_LINE_CAP 512u       /* written: octets of a line with its CRLF; RFC 5321 section 4.5.3.1.5 */
#define SMTP_REPLY_READ_LINE_CAP 2048u /* read: a longer line is ERR_PROTO */
#define SMTP_REPLY_READ_LINES_CAP 128u /* read: more lines are ERR_PROTO */
#define SMTP_REPLY_TEXT_CAP 4096u      /* read: text beyond is dropped, and is_cut says so */
#define SMTP_ENHANCED_CAP 10u          /* "5.123.456" with its NUL */

/* Append a reply.  Each '\n' in text begins a new reply line; a line that is too long is continued in the next, at a space where
 * there is one.  enhanced (NULL: none) is repeated on each line.  CR is dropped, other bytes outside printable ASCII become '?'.
 * White space around the text is dropped.  code is in [200, 599].  Fails as buf does; then nothing was appended. */
int smtp_reply_append(struct buf *out, unsigned code, const char *enhanced, struct span text);

/* One reply, read piece by piece.  Holds no pointers. */
struct smtp_reply {
	uint16_t code;       /* valid once complete */
	uint16_t line_count;
	bool is_complete;
	bool is_cut;
	char enhanced[SMTP_ENHANCED_CAP]; /* of the last line that has one of the code's class; "" = none */
	size_t text_len;
	char text[SMTP_REPLY_TEXT_CAP];   /* the lines, '\n' between them, without code and enhanced status; printable ASCII */

	/* private: the line that is being read */
	size_t line_len;
	uint16_t line_code;
	bool is_last;
	size_t line_text; /* where its text begins in text */
};

/* Forget everything; ready for the next reply. */
void smtp_reply_reset(struct smtp_reply *reply);

/* 0 with a complete reply, ERR_AGAIN when more bytes are needed (all were consumed), ERR_PROTO: close the connection.
 * *consumed_out is written for 0 and ERR_AGAIN; bytes behind it belong to the next reply. */
int smtp_reply_push(struct smtp_reply *reply, struct span in, size_t *consumed_out);

/* Text of a complete (or partial) reply; lives in reply. */
struct span smtp_reply_span(const struct smtp_reply *reply);

#endif
