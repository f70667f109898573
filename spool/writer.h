/* writer.h - turns SMTP transactions into durable messages: the only writer of its journal segments.
 * Promise: done(0) means the message survives a power cut.  Any other result: no reader will ever take it for a message, as far as the
 * disk obeys; where it did not, the committed callback says with is_void from where on the segment must be ignored.
 * Group commit: what is committed while a sync runs forms the next batch: one write, one fdatasync.  Where syncs take more than a
 * millisecond, several batches are under way, each in a segment of its own; what is not used for a while is sealed.  So messages may become durable in another order than they came.
 * Needs no open(): segments and files for large bodies are asked for through callbacks and handed in as descriptors.
 * Owns: descriptors handed in, each txn from open until commit or abort.  Borrows: the span passed to append, for the call; the
 * envelope passed to commit, for the call; `events` and its ctx, until destroy has called back.
 * Calls back: on the loop, never before the starting function has returned.  Disk work is done by loop jobs.
 * Fails: sticky inside the txn; reported once, by done.  A failed write is taken back (truncate); a failed sync is never retried:
 * the segment is given up and another one asked for.
 * Limits: the caller caps the size of a message; memory per txn is at most inline_limit_bytes and two chunks of 256 KiB.
 */
#ifndef POSTERN_WRITER_H
#define POSTERN_WRITER_H

#include <stdbool.h>
#include <stdint.h>

#include "envelope.h"
#include "err.h"
#include "loop.h"
#include "message_id.h"
#include "spool_segment.h"

struct spool_writer;
struct spool_txn;

#define SPOOL_LANES_MAX 6 /* with the jobs of large bodies no more than the loop has threads: a sync never waits for a body */

struct spool_writer_options {
	uint64_t segment_limit_bytes; /* 0 = 64 MiB; the next segment is asked for at three quarters of it */
	uint64_t inline_limit_bytes;  /* 0 = 256 KiB; longer bodies go into a file of their own */
	unsigned lanes;               /* 0 = 1; at most SPOOL_LANES_MAX: batches under way at a time where syncs are slow */
	uint64_t lane_idle_ms;        /* 0 = 5 min; a further segment that nothing was written to for so long is sealed */
	uint64_t wait_ms;             /* 0 = 10 s; longest wait for a segment or a large file before ERR_NOSPACE */
};

/* What a reader of the segment may believe. */
struct spool_committed {
	struct spool_segment_name segment;
	uint64_t offset; /* everything before it is durable */
	bool is_sealed;  /* nothing will follow; offset is final */
	bool is_void;    /* with is_sealed: bytes at and behind offset were refused and must be ignored (a failed sync) */
};

struct spool_writer_events {
	/* Call spool_writer_segment or spool_writer_no_segment.  Asked once until answered; first on the first turn of the loop if no
	 * segment was handed in by then. */
	void (*need_segment)(void *ctx);
	/* Call spool_writer_large with a file made by spool_large_create for this id, or with an error. */
	void (*need_large)(void *ctx, const struct spool_id *id);
	/* After each batch, before its done callbacks. */
	void (*committed)(void *ctx, const struct spool_committed *what);
	void *ctx;
};

int spool_writer_create(struct loop *loop, const struct spool_writer_options *options, const struct spool_writer_events *events,
                        struct spool_writer **out);

/* Give everything up once the running job has ended, then call destroyed (may be NULL).  Transactions that are not committed
 * must have been aborted; those that are finish first.  Clears the pointer. */
void spool_writer_destroy(struct spool_writer **writer, loop_fn destroyed, void *ctx);

/* Hand in the next segment: new, empty or prepared (spool_segment_prepare).  The descriptor is owned from here on, also on failure. */
int spool_writer_segment(struct spool_writer *writer, int fd, const struct spool_segment_name *name);

/* There is none: everything that waits for one fails with err (ERR_NOSPACE, ERR_IO).  It is asked for again with the next commit. */
void spool_writer_no_segment(struct spool_writer *writer, int err);

/* Answer to need_large.  err 0: fd is owned from here on; else fd is ignored.  An id that is gone by now is a normal miss: the file is emptied and closed. */
void spool_writer_large(struct spool_writer *writer, const struct spool_id *id, int err, int fd);

/* A descriptor of a present segment for spool_space_check; -1 when there is none. */
int spool_writer_fd(const struct spool_writer *writer);

/* Nothing is committing, nothing is open: the process may end. */
bool spool_writer_is_idle(const struct spool_writer *writer);

/* ---- one transaction */

/* Room for more after append returned STEP_WAIT. */
typedef void (*spool_drained_fn)(void *ctx);
/* err: 0, ERR_NOSPACE, ERR_IO, ERR_NOMEM, ERR_TOOLONG, ERR_INVAL (a NUL in the body, a bad envelope). */
typedef void (*spool_done_fn)(void *ctx, int err);

/* id: from the caller's spool_id_source (the Received line needs it first).  drained may be called with this ctx until commit or abort. */
int spool_txn_open(struct spool_writer *writer, const struct spool_id *id, spool_drained_fn drained, void *ctx, struct spool_txn **out);

/* Bytes of the body in wire form.  STEP_DONE; STEP_WAIT: taken, but append no more until drained; STEP_FAIL: not taken, and nothing
 * later will be: commit reports why (the caller goes on reading to the end of data and throws it away). */
enum step spool_txn_append(struct spool_txn *txn, struct span bytes);

/* What was appended, before it is committed: for whoever must judge the whole message.  STEP_DONE: spool_txn_body may be asked; STEP_WAIT: after
 * drained; append nothing more meanwhile. */
enum step spool_txn_settle(struct spool_txn *txn);

/* After settle, until the next call with this txn: all of it in memory, or (fd not -1, borrowed) in a file, from offset 0; size_bytes in length.
 * Not 0: what commit would report. */
struct spool_txn_body {
	struct span memory;
	int fd;
	uint64_t size_bytes;
};
int spool_txn_body(const struct spool_txn *txn, struct spool_txn_body *out);

/* After settle: forget what was appended and begin the body anew (it was changed on the way).  STEP_WAIT: append after drained. */
enum step spool_txn_rewind(struct spool_txn *txn);

/* Make it a message.  done is called exactly once, unless spool_txn_abort comes first; the txn is gone when done runs. */
void spool_txn_commit(struct spool_txn *txn, const struct spool_envelope *envelope, spool_done_fn done, void *ctx);

/* Forget it.  Before its batch is written: no message.  After: too late, the message stays; but done is not called any more.
 * NULL is fine; clears the pointer. */
void spool_txn_abort(struct spool_txn **txn);

/* ---- figures */

struct spool_writer_stats {
	uint64_t batches, messages, bytes, failed;
	uint64_t large_messages, large_bytes;
	uint64_t batch_max; /* messages in the largest batch */
	uint64_t sync_us_sum, sync_us_max;
	uint64_t segments;
};

void spool_writer_stats(const struct spool_writer *writer, struct spool_writer_stats *out);

#endif
