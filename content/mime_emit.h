/* mime_emit.h - the way of a piece from the parts of the walk to its sink (mime_walk.h).
 * Borrows: everything, for the call.
 */
#ifndef POSTERN_MIME_EMIT_H
#define POSTERN_MIME_EMIT_H

#include "mime_walk.h"

#define MIME_RECENT_NAMES 8u

struct mime_emit {
	mime_sink sink;
	void *owner;
	uint32_t part;
	unsigned flags;     /* enum mime_flag */
	bool *is_inside_line; /* of the text whose line is open */
	/* Hashes of the last names shown: what different programs make of the fields of a part. */
	uint64_t recent[MIME_RECENT_NAMES];
	unsigned recent_count;
	uint32_t recent_part;
};

/* A piece of a line of text.  *is_inside_line belongs to that text: whether a piece of the line was shown.  Where two texts come at the same time (mime_tree.h)
 * nothing is put between the pieces of a line: the line ends there, and the rest of it is another one. */
void mime_emit_text(struct mime_emit *emit, struct span piece, bool is_last, bool *is_inside_line);

/* All of a field or name, cut into pieces. */
void mime_emit_whole(struct mime_emit *emit, enum mime_kind kind, struct span text);

/* A name as it is, and what is left of it where programs drop something: behind a NUL, control characters, dots and spaces at its end.  Empty names are
 * not shown, and those that were shown of this part lately. */
void mime_emit_name(struct mime_emit *emit, struct span name);

#endif
