/* milter_body.h - the body of a message as filters are shown it, piece by piece: CRLF lines, dots unstuffed, without the final dot.
 * Owns: its reader and a buffer.  Borrows: the image's memory, until destroy.  Calls back: as content_reader.h.
 */
#ifndef POSTERN_MILTER_BODY_H
#define POSTERN_MILTER_BODY_H

#include "content_reader.h"

struct milter_body;

/* Unstuffs wire form; pure. */
struct milter_undot {
	unsigned state; /* private */
	bool has_ended; /* the final dot was seen */
};

/* out has room for wire.len bytes; returns how many were written. */
size_t milter_undot_push(struct milter_undot *undot, struct span wire, char *out);

/* from: the offset of the body. on_piece: an empty piece is the end. */
int milter_body_create(struct loop *loop, const struct content_image *image, uint64_t from, content_piece_fn on_piece, void *ctx,
		       struct milter_body **out);
void milter_body_next(struct milter_body *body);
void milter_body_destroy(struct milter_body **body);

#endif
