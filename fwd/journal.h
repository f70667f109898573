/* journal.h - the forwarder's view of journal/: which segments there are, how far they may be read, what in them is settled.
 * New records are heard of by notices (fwd.sock) and, where a worker died, found by looking at the directory.  A live segment is
 * never read beyond what its writer announced.  Settled records are noted in the segment's acknowledgement file, in batches
 * written and synced by loop jobs; a sealed segment with nothing left is recycled.
 * What is no message goes to bad/ first.
 * Owns: the segments, their descriptors and acknowledgement files.
 */
#ifndef POSTERN_JOURNAL_H
#define POSTERN_JOURNAL_H

#include <stdbool.h>
#include <stdint.h>

#include "ack.h"
#include "buf.h"
#include "err.h"
#include "loop.h"
#include "recovery.h"
#include "spool_dir.h"
#include "writer.h"

struct journal;

struct segment {
	struct spool_segment_name name;
	struct journal *journal;
	int fd;                     /* -1 until it is opened */
	struct spool_reader reader; /* its offset: the next record to look at */
	uint64_t committed;         /* read no further */
	uint64_t unsettled;         /* records that somebody works on */
	unsigned pins;              /* readers of its descriptor on other threads */
	bool is_sealed;             /* committed is final */
	bool is_void;               /* what lies behind committed was refused */
	bool is_orphan;             /* its writer died: what was not announced may be torn, so bodies are checked */
	bool is_adopted;            /* by the scan at the start: reader has nothing to do */
	bool was_sealed;            /* the last look around found no writer */
	bool is_unrecycled;         /* it could not be removed: the same */
	bool is_unopened;           /* it could not be opened: journal_poll tries again */
	unsigned read_failures;     /* of the disk, at the reader's offset */
	bool is_opening, is_flushing, is_recycling;
	int job_err;                /* of the opening, flushing or recycling job */
	uint64_t opened_size;
	struct spool_ack_set known; /* what an earlier run of ours had noted */
	struct spool_ack_log acks;
	struct buf large, large_flight; /* struct spool_id: bodies to remove once their acknowledgements are durable */
	struct buf unsaved, unsaved_flight; /* of journal_bad.c: damaged spans on their way to bad/; each counts as unsettled */
	bool is_saving;
	struct segment *next;
};

struct journal_events {
	/* A record that nobody works on yet.  outcomes: one a recipient, NULL when all are still to do.  True: taken, and
	 * journal_settle will be called for it some day; false: no memory, or known already. */
	bool (*message)(void *ctx, struct segment *segment, uint64_t offset, const struct spool_record *record,
	                const struct spool_envelope *envelope, const enum spool_outcome *outcomes);
	void *ctx;
};

int journal_create(struct loop *loop, const struct spool_dirs *dirs, const struct journal_events *events, struct journal **out);
/* Nothing must be in a job: after journal_is_quiet. */
void journal_destroy(struct journal **journal);

/* The segment for a record found by the scan at the start; opened at once (blocks), and pinned until journal_adopted.  NULL: it can't be
 * opened (logged), or notices came first, and its records are handed out by message() above. */
struct segment *journal_adopt(struct journal *journal, const char *name);
/* The scan could read it only up to offset: the rest is read once the disk gives it. */
void journal_unread(struct journal *journal, const char *name, uint64_t offset);
/* The scan has seen all of it.  Once for each segment that it could read, also for one of which no record was adopted. */
void journal_adopted(struct journal *journal, const struct spool_segment_info *info);

/* A notice (of whose segment it is, the caller has checked).  ERR_PROTO: it makes no sense, as it takes back what an earlier one said or
 * goes beyond the end of the file.  ERR_BUSY, ERR_NOMEM: not taken; a later one will do. */
int journal_notice(struct journal *journal, const struct spool_committed *what);
/* Look for segments whose writer is gone; one that is found so twice is read to its end.  What could not be opened, read or removed is tried
 * again. */
void journal_poll(struct journal *journal);

/* The fate of one recipient, and of the whole record (large: its body may be removed then; NULL: it has none, or it stays).
 * Cheap; durable a moment later. */
void journal_note(struct journal *journal, struct segment *segment, uint64_t offset, uint32_t recipient,
		  enum spool_outcome outcome);
void journal_settle(struct journal *journal, struct segment *segment, uint64_t offset, enum spool_outcome outcome,
		    const struct spool_id *large);

/* A span that is no message and that could not be saved in bad/ (bad.h): the segment stays until it could; journal_poll tries again. */
void journal_save_later(struct segment *segment, uint64_t offset, uint64_t length, const struct spool_record *record, bool is_torn);

/* While it is pinned its descriptor stays, whatever becomes of its records. */
void journal_pin(struct segment *segment);
void journal_unpin(struct segment *segment);

/* No job runs and everything noted is durable. */
bool journal_is_quiet(const struct journal *journal);
size_t journal_segment_count(const struct journal *journal);

#endif
