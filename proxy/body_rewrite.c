#include "body_rewrite.h"

#include <stdlib.h>

#include "content_reader.h"

struct body_rewrite {
	struct spool_txn *txn;
	struct content_reader *reader;
	body_rewritten_fn done;
	void *ctx;
};

/* A spool that takes no more says why at the commit. */
static void go_on(struct body_rewrite *r, enum step step)
{
	if (step == STEP_DONE)
		content_reader_next(r->reader);
	else if (step == STEP_FAIL)
		r->done(r->ctx, 0);
}

static void take_piece(void *ctx, int err, struct span piece)
{
	struct body_rewrite *r = ctx;
	if (err || piece.len == 0)
		r->done(r->ctx, err);
	else
		go_on(r, spool_txn_append(r->txn, piece));
}

int body_rewrite_start(struct loop *loop, struct spool_txn *txn, const struct content_image *image, body_rewritten_fn done, void *ctx,
		       struct body_rewrite **out)
{
	struct body_rewrite *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	*r = (struct body_rewrite){ .txn = txn, .done = done, .ctx = ctx };
	int err = content_reader_create(loop, image, 0, take_piece, r, &r->reader);
	if (err) {
		free(r);
		return err;
	}
	*out = r;
	/* Where the rewinding has failed the first append finds out. */
	if (spool_txn_rewind(txn) != STEP_WAIT)
		content_reader_next(r->reader);
	return 0;
}

void body_rewrite_drained(struct body_rewrite *r)
{
	go_on(r, STEP_DONE);
}

void body_rewrite_destroy(struct body_rewrite **rewrite)
{
	if (!*rewrite)
		return;
	content_reader_destroy(&(*rewrite)->reader);
	free(*rewrite);
	*rewrite = NULL;
}
