/* body_rewrite.h - puts a changed message in the place of the body that a spool transaction holds.
 * Borrows: the transaction, which nobody else touches meanwhile, and the image, until done was called or it is destroyed.
 * Calls back: done, once, on the loop, never before the start has returned.  err: of reading the image; what the spool could not take its commit reports.
 */
#ifndef POSTERN_BODY_REWRITE_H
#define POSTERN_BODY_REWRITE_H

#include "content_image.h"
#include "loop.h"
#include "writer.h"

struct body_rewrite;
typedef void (*body_rewritten_fn)(void *ctx, int err);

/* txn: settled. */
int body_rewrite_start(struct loop *loop, struct spool_txn *txn, const struct content_image *image, body_rewritten_fn done, void *ctx,
		       struct body_rewrite **out);

/* The transaction's drained callback came. */
void body_rewrite_drained(struct body_rewrite *rewrite);

/* Accepts NULL, clears the pointer. */
void body_rewrite_destroy(struct body_rewrite **rewrite);

#endif
