/* spool_segment.h - the files that root creates in the spool for workers that have no open(): journal segments, large bodies.
 *   journal/NNNNNNNNNNNNNNNN.wK.seg   16 decimal digits, number of the worker
 *   large/ID                          one body over the inline limit
 * Promise: whatever create returns has a durable directory entry: who gets the descriptor needs to sync only the file.
 * The lock on it (flock LOCK_EX) lives with that open file and all passed copies of the descriptor, so it ends with the writer: whoever can
 * lock a segment knows that it is final.
 * Blocks (opens, syncs): at start, or in a loop job.
 */
#ifndef POSTERN_SPOOL_SEGMENT_H
#define POSTERN_SPOOL_SEGMENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "message_id.h"
#include "span.h"
#include "spool_dir.h"

#define SPOOL_SEGMENT_NAME_CAP 40
#define SPOOL_NEW_PREFIX ".new-" /* not yet locked, not yet a segment */

struct spool_segment_name {
	char text[SPOOL_SEGMENT_NAME_CAP]; /* terminated, without directory */
};

/* Only well-formed names, so that one that came from a sibling process is a safe file name.  ERR_SYNTAX. */
int spool_segment_name_parse(struct span text, struct spool_segment_name *out, uint64_t *number_out, unsigned *worker_out);

/* The number for the next segment: one more than any in journal/ or ack/.  Syncs ack/: who had a lower number can't come back beside
 * it.  ERR_IO, ERR_NOSPACE. */
int spool_segment_next_number(const struct spool_dirs *dirs, uint64_t *out);

/* Create an empty segment: O_WRONLY, mode 0600, owned by uid and gid, locked.  The caller passes the descriptor on and closes its
 * copy.  Not O_APPEND: the writer writes over what spool_segment_prepare has put there.  ERR_BUSY: that name exists; ERR_NOSPACE, ERR_IO. */
int spool_segment_create(const struct spool_dirs *dirs, uint64_t number, unsigned worker, uid_t uid, gid_t gid,
                         struct spool_segment_name *name_out, int *fd_out);

/* Fill a new segment with zeros up to bytes, and sync them, so that a batch written over them changes nothing but data: no size, no
 * block map.  Then a sync costs the disk one flush, and not a journal's commit on top.  Only where the disk has plenty of room, more than
 * reserve_bytes; stops where it gets slow.  What is missing is no error: behind what is prepared the segment grows.  ERR_IO: this file is not to be used.
 * Blocks, up to half a second. */
int spool_segment_prepare(int fd, uint64_t bytes, uint64_t reserve_bytes);

/* Open for reading.  is_sealed_out: no writer has it any more, so its size is final. */
int spool_segment_open(const struct spool_dirs *dirs, const char *name, int *fd_out, uint64_t *size_out, bool *is_sealed_out);

/* Remove a segment in which everything is settled, then its acknowledgements: a crash in between leaves only an orphaned .ack. */
int spool_segment_recycle(const struct spool_dirs *dirs, const char *name);

/* ---- large bodies: large/ID */

/* As for a segment.  ERR_BUSY: the id exists. */
int spool_large_create(const struct spool_dirs *dirs, const struct spool_id *id, uid_t uid, gid_t gid, int *fd_out);
int spool_large_open(const struct spool_dirs *dirs, const struct spool_id *id, int *fd_out, uint64_t *size_out);

/* 0 also when it is gone already.  Only after the record that names it is settled durably. */
int spool_large_remove(const struct spool_dirs *dirs, const struct spool_id *id);

#endif
