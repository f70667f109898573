/* spool_dir.h - the directories of a spool, and the files that root creates in them for others.
 *   SPOOL/        0711  root (or the forwarder)    fwd.sock, fwd.lock, ctl.sock live here
 *   journal/ large/ ack/ queue/ hold/ bad/  0700   the forwarder's
 *   empty/        0555  root                       chroot of the session workers
 * Promise: whatever create returns has a durable directory entry: who gets the descriptor needs to sync only the file.
 * Everything goes through directory descriptors with O_NOFOLLOW: a link planted in the spool leads nowhere.
 * Blocks (opens, syncs): at start, or in a loop job.
 */
#ifndef POSTERN_SPOOL_DIR_H
#define POSTERN_SPOOL_DIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"
#include "message_id.h"
#include "span.h"

#define SPOOL_FWD_SOCKET "fwd.sock"
#define SPOOL_CTL_SOCKET "ctl.sock"
#define SPOOL_FWD_LOCK "fwd.lock"
#define SPOOL_EMPTY_DIR "empty"

/* Descriptors, -1 while closed. */
struct spool_dirs {
	int root, journal, large, ack, queue, hold, bad;
};

#define SPOOL_DIRS_CLOSED ((struct spool_dirs){ -1, -1, -1, -1, -1, -1, -1 })

/* Create what is missing under path (its parent must exist), owned by uid and gid (the forwarder's), and check owner and mode of what is there.
 * As root, or as uid itself.  ERR_PERM, ERR_NOTFOUND, ERR_NOSPACE, ERR_IO with the reason "/spool/queue: owned by uid 1000, expected 998". */
int spool_dir_prepare(const char *path, uid_t uid, gid_t gid, struct reason *why);

/* Open all of them.  ERR_NOTFOUND or ERR_PERM with a reason. */
int spool_dirs_open(const char *path, struct spool_dirs *out, struct reason *why);
void spool_dirs_close(struct spool_dirs *dirs);

/* fsync of a directory.  ERR_IO or ERR_NOSPACE. */
int spool_dir_sync(int dirfd);

/* ---- segments: journal/NNNNNNNNNNNNNNNN.wK.seg (16 decimal digits, worker number) */

#define SPOOL_SEGMENT_NAME_CAP 40

struct spool_segment_name {
	char text[SPOOL_SEGMENT_NAME_CAP]; /* terminated, without directory */
};

/* Only well-formed names, so that one that came from a sibling process is a safe file name.  ERR_SYNTAX. */
int spool_segment_name_parse(struct span text, struct spool_segment_name *out, uint64_t *number_out, unsigned *worker_out);

/* The number for the next segment: one more than any in journal/ or ack/. */
int spool_segment_next_number(const struct spool_dirs *dirs, uint64_t *out);

/* Create an empty segment, O_APPEND|O_WRONLY, mode 0600, owned by uid and gid, locked (flock LOCK_EX: the lock lives with this open file and
 * all its passed copies, so it ends with the writer), directory synced.  The caller passes the descriptor on and closes its copy.
 * ERR_BUSY: that number exists. */
int spool_segment_create(const struct spool_dirs *dirs, uint64_t number, unsigned worker, uid_t uid, gid_t gid,
                         struct spool_segment_name *name_out, int *fd_out);

/* Open for reading.  is_sealed_out: no writer has it any more, so its size is final. */
int spool_segment_open(const struct spool_dirs *dirs, const char *name, int *fd_out, uint64_t *size_out, bool *is_sealed_out);

/* Remove a segment in which everything is settled, then its acknowledgements: a crash in between leaves only an orphaned .ack. */
int spool_segment_recycle(const struct spool_dirs *dirs, const char *name);

/* ---- large bodies: large/ID */

/* As for a segment (read too is not possible: O_WRONLY|O_APPEND).  ERR_BUSY: the id exists. */
int spool_large_create(const struct spool_dirs *dirs, const struct spool_id *id, uid_t uid, gid_t gid, int *fd_out);
int spool_large_open(const struct spool_dirs *dirs, const struct spool_id *id, int *fd_out, uint64_t *size_out);

/* 0 also when it is gone already.  Only after the record that names it is settled durably. */
int spool_large_remove(const struct spool_dirs *dirs, const struct spool_id *id);

/* Copy len bytes from fd at offset into bad/NAME.  An existing bad/NAME is kept and counts as success. */
int spool_bad_save(const struct spool_dirs *dirs, const char *name, int fd, uint64_t offset, uint64_t len);

#endif
