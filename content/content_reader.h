/* content_reader.h - reads the image of a message piece by piece, without blocking the loop: a file is read by jobs.
 * Owns: a descriptor and a buffer of its own while there is something to read from a file.  Borrows: the memory of the image, until destroy.
 * Calls back: on the loop, never before content_reader_next has returned, and not after destroy has.
 */
#ifndef POSTERN_CONTENT_READER_H
#define POSTERN_CONTENT_READER_H

#include "content_image.h"
#include "err.h"
#include "loop.h"

#define CONTENT_READER_PIECE_BYTES 65535u /* what fits into one packet of the milter protocol */

struct content_reader;

/* piece: the next bytes, at most CONTENT_READER_PIECE_BYTES, until the next call or destroy; empty at the end.  err: ERR_IO, also where the file is
 * shorter than the image says; then nothing follows. */
typedef void (*content_piece_fn)(void *ctx, int err, struct span piece);

/* from: the offset of the first byte. */
int content_reader_create(struct loop *loop, const struct content_image *image, uint64_t from, content_piece_fn on_piece, void *ctx,
			  struct content_reader **out);

/* Ask for the next piece; not again before it has come. */
void content_reader_next(struct content_reader *reader);

/* Accepts NULL, clears the pointer. */
void content_reader_destroy(struct content_reader **reader);

#endif
