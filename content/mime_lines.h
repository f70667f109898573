/* mime_lines.h - a stream of bytes as lines: CRLF, LF and CR end one, and wire form loses its dots (RFC 5321 section 4.5.2).
 * Owns: up to MIME_HEAD_MAX bytes of a line that came in pieces.
 */
#ifndef POSTERN_MIME_LINES_H
#define POSTERN_MIME_LINES_H

#include <stdbool.h>

#include "buf.h"
#include "span.h"

#define MIME_HEAD_MAX 2048u

/* A line without its end: whole, or where it is longer in pieces of MIME_HEAD_MAX bytes each but the last, however the stream was cut.  Stops the push when it
 * is not 0. */
typedef int (*mime_line_fn)(void *owner, struct span piece, bool is_first, bool is_end);

struct mime_lines {
	mime_line_fn show;
	void *owner;
	bool is_wire;
	bool has_ended; /* the final dot line */
	struct buf head;          /* private, as all below */
	bool is_long;             /* a piece of the line was shown */
	bool is_dot;              /* the line had a dot in front */
	bool is_open;             /* something of the line was there */
	bool is_behind_cr;        /* which ended a line: an LF that comes now belongs to it */
	bool is_behind_lone_cr;   /* no dot was stuffed behind it */
};

int mime_lines_push(struct mime_lines *lines, struct span bytes);

/* A last line without its end. */
int mime_lines_finish(struct mime_lines *lines);

#endif
