/* One transaction: bytes into memory or towards a large body, then into the queue of the next batch. */
#include "writer_parts.h"

#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#define BODY_SLACK (4u << 20) /* more than this over the limit without waiting is a caller's bug */

void txn_move(struct spool_txn *txn, struct txn_list *list)
{
	if (txn->list) {
		*(txn->prev ? &txn->prev->next : &txn->list->head) = txn->next;
		*(txn->next ? &txn->next->prev : &txn->list->tail) = txn->prev;
		txn->list->count--;
	}
	txn->list = list;
	txn->next = NULL;
	txn->prev = list ? list->tail : NULL;
	if (list) {
		*(list->tail ? &list->tail->next : &list->head) = txn;
		list->tail = txn;
		list->count++;
	}
}

void txn_free(struct spool_txn *txn)
{
	txn_move(txn, NULL);
	if (txn->large.fd >= 0)
		close(txn->large.fd);
	buf_free(&txn->large.flight);
	buf_free(&txn->body);
	buf_free(&txn->envelope);
	free(txn);
}

void txn_finish(struct spool_txn *txn, int err)
{
	struct spool_writer *w = txn->writer;
	writer_turn_soon(w);
	if (txn->is_silent) {
		txn_free(txn);
		return;
	}
	txn->err = err;
	txn->stage = TXN_FINISHED;
	txn_move(txn, &w->finished);
}

int spool_txn_open(struct spool_writer *writer, const struct spool_id *id, spool_drained_fn drained, void *ctx, struct spool_txn **out)
{
	struct spool_txn *txn = calloc(1, sizeof *txn);
	if (!txn)
		return ERR_NOMEM;
	txn->writer = writer;
	txn->stage = TXN_MEMORY;
	txn->item.record.id = *id;
	txn->large.fd = -1;
	txn->body.cap = (size_t)writer->options.inline_limit_bytes + BODY_SLACK;
	txn->large.flight.cap = txn->body.cap; /* the two are swapped */
	txn->envelope.cap = SPOOL_ENVELOPE_CAP + 8 * SPOOL_VALUE_CAP;
	txn->drained = drained;
	txn->drained_ctx = ctx;
	txn_move(txn, &writer->open);
	*out = txn;
	return 0;
}

static enum step fail(struct spool_txn *txn, int err)
{
	txn->err = err;
	if (txn->stage == TXN_LARGE)
		large_body_step(txn);
	return STEP_FAIL;
}

enum step spool_txn_append(struct spool_txn *txn, struct span bytes)
{
	if (txn->err || txn->is_committing)
		return STEP_FAIL;
	if (bytes.len == 0)
		return STEP_DONE;
	/* record.h: a NUL would let a client plant the beginning of a record. */
	if (memchr(bytes.ptr, '\0', bytes.len))
		return fail(txn, ERR_INVAL);
	if (bytes.len > SPOOL_BODY_CAP - txn->size_bytes)
		return fail(txn, ERR_TOOLONG);
	int err = buf_append_span(&txn->body, bytes);
	if (err)
		return fail(txn, err);
	txn->size_bytes += bytes.len;

	if (txn->stage == TXN_MEMORY) {
		if (txn->size_bytes <= txn->writer->options.inline_limit_bytes)
			return STEP_DONE;
		large_body_ask(txn);
	} else if (txn->stage == TXN_LARGE) {
		if (txn->body.len < LARGE_CHUNK)
			return STEP_DONE;
		large_body_step(txn);
		if (txn->err)
			return STEP_FAIL;
		if (txn->body.len < LARGE_CHUNK)
			return STEP_DONE; /* a job has taken it at once */
	}
	txn->is_waiting = true;
	return STEP_WAIT;
}

enum step spool_txn_settle(struct spool_txn *txn)
{
	assert(!txn->is_committing && !txn->is_silent);
	if (txn->err || txn->stage == TXN_MEMORY)
		return STEP_DONE;
	txn->is_settling = true;
	if (txn->stage == TXN_LARGE && !txn->large.is_in_job && !txn->large.is_in_line && txn->body.len == 0)
		return STEP_DONE;
	txn->is_waiting = true;
	large_body_step(txn);
	return STEP_WAIT;
}

int spool_txn_body(const struct spool_txn *txn, struct spool_txn_body *out)
{
	if (txn->err)
		return txn->err;
	assert(txn->stage == TXN_MEMORY || (txn->stage == TXN_LARGE && txn->body.len == 0));
	*out = (struct spool_txn_body){
		.memory = txn->stage == TXN_MEMORY ? buf_span(&txn->body) : SPAN_NONE,
		.fd = txn->stage == TXN_MEMORY ? -1 : txn->large.fd,
		.size_bytes = txn->size_bytes,
	};
	return 0;
}

enum step spool_txn_rewind(struct spool_txn *txn)
{
	assert(txn->err || txn->stage == TXN_MEMORY || (txn->stage == TXN_LARGE && txn->body.len == 0 && !txn->large.is_in_job));
	if (txn->err)
		return STEP_FAIL;
	txn->is_settling = false;
	txn->size_bytes = 0;
	buf_clear(&txn->body);
	if (txn->stage == TXN_MEMORY)
		return STEP_DONE;
	txn->large.wants_rewind = true;
	txn->is_waiting = true;
	large_body_step(txn);
	return STEP_WAIT;
}

void spool_txn_commit(struct spool_txn *txn, const struct spool_envelope *envelope, spool_done_fn done, void *ctx)
{
	txn->is_committing = true;
	txn->done = done;
	txn->done_ctx = ctx;
	if (!txn->err)
		txn->err = spool_envelope_encode(envelope, &txn->envelope);
	switch (txn->stage) {
	case TXN_MEMORY:
		if (txn->err) {
			txn_finish(txn, txn->err);
			return;
		}
		txn->stage = TXN_QUEUED;
		txn_move(txn, &txn->writer->queued);
		writer_turn_soon(txn->writer);
		return;
	case TXN_ASKING:
		if (txn->err)
			large_body_given(txn, -1);
		return;
	case TXN_LARGE: large_body_step(txn); return;
	case TXN_QUEUED:
	case TXN_BATCH:
	case TXN_FINISHED: return;
	}
}

void spool_txn_abort(struct spool_txn **txn_ptr)
{
	struct spool_txn *txn = *txn_ptr;
	if (!txn)
		return;
	*txn_ptr = NULL;
	txn->is_silent = true;
	switch (txn->stage) {
	case TXN_QUEUED:
		/* Its large body, if it has one, is complete and goes the way of all bodies that no record names. */
		txn->stage = TXN_LARGE;
		txn_move(txn, &txn->writer->open);
		large_body_step(txn);
		return;
	case TXN_ASKING: large_body_given(txn, -1); return;
	case TXN_LARGE: large_body_step(txn); return;
	case TXN_BATCH: return;
	case TXN_MEMORY:
	case TXN_FINISHED: txn_finish(txn, 0); return;
	}
}
