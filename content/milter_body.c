#include "milter_body.h"

#include <stdlib.h>

enum { AT_LINE, AFTER_DOT, IN_LINE, AFTER_CR };

struct milter_body {
	struct content_reader *reader;
	content_piece_fn on_piece;
	void *ctx;
	struct milter_undot undot;
	char piece[CONTENT_READER_PIECE_BYTES];
};

size_t milter_undot_push(struct milter_undot *u, struct span wire, char *out)
{
	size_t len = 0;
	for (size_t i = 0; i < wire.len && !u->has_ended; i++) {
		char c = wire.ptr[i];
		if (u->state == AT_LINE && c == '.') {
			u->state = AFTER_DOT;
			continue;
		}
		u->has_ended = u->state == AFTER_DOT && c == '\r';
		if (u->has_ended)
			break;
		u->state = c == '\r' ? AFTER_CR : c == '\n' && u->state == AFTER_CR ? AT_LINE : IN_LINE;
		out[len++] = c;
	}
	return len;
}

static void take_piece(void *ctx, int err, struct span wire)
{
	struct milter_body *b = ctx;
	size_t len = milter_undot_push(&b->undot, wire, b->piece);
	/* Nothing of a piece is left, but there are others. */
	if (!err && wire.len && !len && !b->undot.has_ended)
		content_reader_next(b->reader);
	else
		b->on_piece(b->ctx, err, (struct span){ b->piece, len });
}

int milter_body_create(struct loop *loop, const struct content_image *image, uint64_t from, content_piece_fn on_piece, void *ctx,
		       struct milter_body **out)
{
	struct milter_body *b = malloc(sizeof *b);
	if (!b)
		return ERR_NOMEM;
	b->on_piece = on_piece;
	b->ctx = ctx;
	b->undot = (struct milter_undot){ .state = AT_LINE };
	int err = content_reader_create(loop, image, from, take_piece, b, &b->reader);
	if (err)
		free(b);
	else
		*out = b;
	return err;
}

void milter_body_next(struct milter_body *b)
{
	content_reader_next(b->reader);
}

void milter_body_destroy(struct milter_body **body)
{
	if (!*body)
		return;
	content_reader_destroy(&(*body)->reader);
	free(*body);
	*body = NULL;
}
