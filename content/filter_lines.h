/* filter_lines.h - bytes that come in any pieces, shown to a matcher as lines.
 * Lines that lie whole in one piece are matched where they are; only what is cut is copied.  A line longer than FILTER_WINDOW_BYTES is matched
 * in windows of that size, of which each repeats the second half of the one before.
 * Promise: it does not hang on the cuts what is found.  In a line of up to FILTER_WINDOW_BYTES every match is found; in a longer one each that is at
 * most FILTER_WINDOW_BYTES / 2 - FILTER_CUT_BYTES long, and ^ and $ are its own beginning and end; \b \< \> may take a place between two windows for the edge of a
 * word where for FILTER_CUT_BYTES there is none.
 * What a slice of the work (filter_work.h) has no time for is kept and waits for the next one: as much as is pushed meanwhile.
 * Owns: a copy of the line that is not complete, at most FILTER_WINDOW_BYTES, and what waits.  Borrows: the matcher.  Fails: without memory the work says so.
 */
#ifndef POSTERN_FILTER_LINES_H
#define POSTERN_FILTER_LINES_H

#include <stdbool.h>

#include "buf.h"
#include "filter_matcher.h"

#define FILTER_WINDOW_BYTES 32768u
#define FILTER_CUT_BYTES 512u

struct filter_waiting;

struct filter_lines {
	struct filter_matcher *matcher;
	bool is_wire;     /* dot-stuffed; the last line is a lone dot, and nothing comes behind it */
	bool has_ended;
	bool is_inside;   /* the line that is kept has lost its beginning */
	struct buf kept;  /* the line that is not complete */
	struct filter_waiting *waiting, **waiting_end; /* blocks that are not compared, or not to the end, in their order */
};

void filter_lines_init(struct filter_lines *lines, struct filter_matcher *matcher, bool is_wire);

/* True: *out says what matched; nothing more may be pushed.  Its text lives until the next call. */
bool filter_lines_push(struct filter_lines *lines, struct span bytes, struct filter_work *work, struct filter_match *out);

/* The line ends here, also without a line end. */
bool filter_lines_end(struct filter_lines *lines, struct filter_work *work, struct filter_match *out);

/* Goes on with what waits, in a new slice; as push. */
bool filter_lines_go_on(struct filter_lines *lines, struct filter_work *work, struct filter_match *out);

bool filter_lines_is_waiting(const struct filter_lines *lines);

void filter_lines_free(struct filter_lines *lines);

#endif
