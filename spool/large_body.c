/* A body over the limit goes to its file in chunks.  One job at a time a transaction and few at a time in all, so that the journal's own
 * sync always finds a thread.  While one chunk is in the job (flight), the next one gathers (body). */
#include "writer_parts.h"

#include <errno.h>
#include <unistd.h>

#include "crc32c.h"
#include "fault.h"
#include "spool_bytes.h"

static void line_pump(struct spool_writer *w);

/* ---- on the job's thread */

static int write_chunk(struct spool_txn *txn)
{
	struct spool_record *record = &txn->item.record;
	struct span chunk = buf_span(&txn->large.flight);
	if (chunk.len == 0)
		return 0;
	int errnum = spool_fault(SPOOL_FAULT_LARGE_WRITE);
	int err = errnum ? err_from_errno(errnum) : spool_bytes_write_all(txn->large.fd, chunk.ptr, chunk.len);
	if (err)
		return err == ERR_NOSPACE || err == ERR_TOOLONG ? ERR_NOSPACE : ERR_IO;
	record->body_crc = crc32c(record->body_crc, chunk.ptr, chunk.len);
	record->body_len += chunk.len;
	return 0;
}

static void job_work(void *ctx)
{
	struct spool_txn *txn = ctx;
	struct large_body *large = &txn->large;
	if (large->wants_discard) {
		(void)!ftruncate(large->fd, 0);
		return;
	}
	if (large->wants_rewind) {
		txn->item.record.body_crc = 0;
		txn->item.record.body_len = 0;
		large->job_err = ftruncate(large->fd, 0) == 0 ? 0 : ERR_IO;
		return;
	}
	large->job_err = write_chunk(txn);
	if (large->job_err || !large->wants_sync)
		return;
	int errnum = spool_fault_sync(SPOOL_FAULT_LARGE_SYNC, large->fd);
	if (errnum)
		large->job_err = errnum == ENOSPC || errnum == EDQUOT ? ERR_NOSPACE : ERR_IO;
	else
		(void)spool_fault(SPOOL_FAULT_LARGE_AFTER_SYNC);
}

/* ---- on the loop */

static void close_file(struct large_body *large)
{
	close(large->fd);
	large->fd = -1;
}

static void job_done(void *ctx)
{
	struct spool_txn *txn = ctx;
	struct spool_writer *w = txn->writer;
	struct large_body *large = &txn->large;
	large->is_in_job = false;
	large->wants_rewind = false;
	w->large_jobs--;
	buf_clear(&large->flight);
	if (large->wants_discard)
		close_file(large);
	if (large->job_err && !txn->err)
		txn->err = large->job_err;
	large->is_synced = large->wants_sync && !large->wants_discard && !large->job_err;
	large_body_step(txn);
	line_pump(w);
}

static void start_job(struct spool_txn *txn)
{
	struct large_body *large = &txn->large;
	struct buf swap = large->flight;
	large->flight = txn->body;
	txn->body = swap;
	large->wants_sync = txn->is_committing;
	int err = loop_job_start(txn->writer->loop, job_work, job_done, txn);
	if (err) {
		if (large->wants_discard)
			close_file(large);
		txn->err = ERR_NOMEM;
		large_body_step(txn);
		return;
	}
	large->is_in_job = true;
	txn->writer->large_jobs++;
}

static void line_pump(struct spool_writer *w)
{
	while (w->line_head && w->large_jobs < LARGE_JOBS_MAX) {
		struct spool_txn *txn = w->line_head;
		w->line_head = txn->large.next;
		if (!w->line_head)
			w->line_tail = NULL;
		txn->large.is_in_line = false;
		start_job(txn);
	}
}

static void join_line(struct spool_txn *txn)
{
	struct spool_writer *w = txn->writer;
	if (txn->large.is_in_line)
		return;
	txn->large.is_in_line = true;
	txn->large.next = NULL;
	if (w->line_tail)
		w->line_tail->large.next = txn;
	else
		w->line_head = txn;
	w->line_tail = txn;
	line_pump(w);
}

static void tell_drained(struct spool_txn *txn)
{
	if (!txn->is_waiting || txn->is_committing)
		return;
	txn->is_waiting = false;
	txn->drained(txn->drained_ctx); /* may append, commit or abort: nothing is touched after this */
}

/* No message will name this body: its blocks go back (which takes a while for a long one: a job's work), then the owner is told. */
static void step_doomed(struct spool_txn *txn)
{
	if (txn->large.fd >= 0) {
		txn->large.wants_discard = true;
		join_line(txn);
		return;
	}
	buf_free(&txn->body);
	if (txn->is_silent || txn->is_committing)
		txn_finish(txn, txn->err);
	else
		tell_drained(txn);
}

void large_body_step(struct spool_txn *txn)
{
	if (txn->stage != TXN_LARGE || txn->large.is_in_job)
		return;
	if (txn->is_silent || txn->err)
		step_doomed(txn);
	else if (txn->is_committing && txn->large.is_synced) {
		txn->stage = TXN_QUEUED;
		txn_move(txn, &txn->writer->queued);
		writer_turn_soon(txn->writer);
	} else if (txn->is_committing || txn->large.wants_rewind || txn->body.len >= LARGE_CHUNK || (txn->is_settling && txn->body.len))
		join_line(txn);
	else
		tell_drained(txn);
}

void large_body_ask(struct spool_txn *txn)
{
	txn->stage = TXN_ASKING;
	txn->item.record.flags = SPOOL_RECORD_LARGE;
	txn_move(txn, &txn->writer->asking_due);
	writer_turn_soon(txn->writer);
}

void large_body_given(struct spool_txn *txn, int fd)
{
	txn->stage = TXN_LARGE;
	txn->large.fd = fd;
	txn_move(txn, &txn->writer->open);
	if (txn->writer->asking_due.head)
		writer_turn_soon(txn->writer); /* there is room for the next to ask */
	if (fd >= 0)
		join_line(txn);
	else
		large_body_step(txn);
}
