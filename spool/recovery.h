/* recovery.h - rebuilds the list of unsettled messages from the files alone: the files are the truth.
 * Cuts and changes nothing that may be evidence: torn tails and broken spans are reported; the forwarder saves them in bad/ (bad.h) and
 * logs them.  Removes only what can't matter: acknowledgements without a segment, temporary files, large bodies that no record
 * and no file in bad/ names.
 * A live segment (its writer still runs) is reported but not read: its writer announces anew how far it is committed, and
 * spool_segment_scan then reads that far.
 * Calls back during the call.  Blocks: before the loop, or in a job.
 */
#ifndef POSTERN_RECOVERY_H
#define POSTERN_RECOVERY_H

#include <stdbool.h>
#include <stdint.h>

#include "ack.h"
#include "err.h"
#include "queue_file.h"
#include "reader.h"

struct spool_found {
	const char *segment;                /* NULL: from queue/ or hold/ */
	int segment_fd;                     /* borrowed for the call */
	enum spool_place place;             /* when segment is NULL */
	uint64_t offset;                    /* of the record in its segment */
	const struct spool_record *record;
	const struct spool_envelope *envelope;
	struct span envelope_lines;         /* for spool_queue_create; NULL from queue/ */
	const enum spool_outcome *outcomes; /* one a recipient; NONE or DEFERRED = still to do */
	const struct spool_queue_item *item; /* only from queue/ and hold/ */
	bool is_in_queue; /* a journal record whose message stands in queue/ or hold/ too (a crash came between that and its acknowledgement):
	                     acknowledge it as QUEUED for all and deliver nothing, the file is reported by itself */
};

struct spool_broken {
	const char *place;  /* "journal", "queue", "hold", "large" */
	const char *name;   /* file in it */
	int fd;             /* borrowed; -1 when it can't be opened */
	uint64_t offset, length;
	const struct spool_record *record; /* of a span whose header can be read; else NULL */
	bool is_torn;       /* to the end of the file no record: the tail of a segment that no writer finished: never acknowledged.  Else damage. */
	bool is_void;       /* refused records behind a failed sync */
	bool is_unread;     /* the disk refuses to give it, from offset on; it stays where it is, to be tried again */
	int err;
};

struct spool_segment_info {
	const char *name;
	uint64_t size;
	bool is_live;
	uint64_t records;   /* good ones */
	uint64_t unsettled; /* of those: reported with message() */
	uint64_t broken;    /* spans reported with broken() */
};

struct spool_recovery_events {
	/* One unsettled message; everything lives until it returns.  Not 0: stop the scan with that error. */
	int (*message)(void *ctx, const struct spool_found *found);
	void (*broken)(void *ctx, const struct spool_broken *broken);
	/* After all messages of a segment.  A sealed one without unsettled messages may be recycled once broken spans are saved. */
	int (*segment)(void *ctx, const struct spool_segment_info *info);
	void *ctx;
};

/* A file that can't be read holds up nothing: broken() with is_unread, and for a segment no segment() then; but its messages before that place
 * have been reported.
 * Segments in order of their numbers, then queue/ and hold/, then the orphans: in steps, so that a queue of any length is read while others work
 * already.  start removes temporary files and lists what there is; it is to be called before anybody else writes.  A step is one segment, or SPOOL_RECOVERY_STEP waiting messages; it returns 0
 * when there is more to do, 1 when that was all, or an error, behind which it may go on with what is left.  start and step may run on different threads, one at a time. */
#define SPOOL_RECOVERY_STEP 64u
struct spool_recovery;
int spool_recovery_start(const struct spool_dirs *dirs, const struct spool_recovery_events *events, struct spool_recovery **out,
                         struct reason *why);
int spool_recovery_step(struct spool_recovery *recovery, struct reason *why);
/* Segments and waiting messages that no step has seen yet. */
size_t spool_recovery_left(const struct spool_recovery *recovery);
void spool_recovery_free(struct spool_recovery **recovery);

/* One segment from offset from (a record boundary) up to limit, skipping what acks says is settled; acks NULL = nothing is.  Also for the
 * fast path: flags 0, limit = the announced offset.  next_out gets where to go on. */
int spool_segment_scan(int fd, const char *name, uint64_t from, uint64_t limit, unsigned flags, const struct spool_ack_set *acks,
                       const struct spool_recovery_events *events, struct spool_segment_info *info_out, uint64_t *next_out);

/* Remove bodies in large/ that no writer holds, no record and no file in bad/ names (aborted transactions); a recovery does it, later runs are for
 * long uptimes.  removed_out may be NULL. */
int spool_large_sweep(const struct spool_dirs *dirs, uint64_t *removed_out);

#endif
