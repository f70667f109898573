/* spool_dir.h - the directories of a spool.
 *   SPOOL/        0711  root (or the forwarder)    fwd.sock, fwd.lock, ctl.sock live here
 *   journal/ large/ ack/ queue/ hold/ bad/  0700   the forwarder's
 *   empty/        0555  root                       chroot of the session workers
 * Everything goes through directory descriptors with O_NOFOLLOW: a link planted in the spool leads nowhere.
 * Blocks (opens, syncs): at start, or in a loop job.
 */
#ifndef POSTERN_SPOOL_DIR_H
#define POSTERN_SPOOL_DIR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "err.h"

#define SPOOL_FWD_SOCKET "fwd.sock"
#define SPOOL_CTL_SOCKET "ctl.sock"
#define SPOOL_FWD_LOCK "fwd.lock"
#define SPOOL_EMPTY_DIR "empty"
#define SPOOL_CACHE_DIR "cache" /* what the forwarder can do without */

/* Descriptors, -1 while closed. */
struct spool_dirs {
	int root, journal, large, ack, queue, hold, bad;
};

#define SPOOL_DIRS_CLOSED ((struct spool_dirs){ -1, -1, -1, -1, -1, -1, -1 })

/* Create what is missing under path (its parent must exist), owned by uid and gid (the forwarder's), and check owner and mode of what is there.
 * As root, or as uid itself; by the one master, before any writer runs (it removes files that a former one had not finished creating).  ERR_PERM, ERR_NOTFOUND, ERR_NOSPACE, ERR_IO with the reason "/spool/queue: owned by uid 1000, expected 998". */
int spool_dir_prepare(const char *path, uid_t uid, gid_t gid, struct reason *why);

/* Remove the files that a former master had created in journal/ or large/ and not yet named when it died.  Only for the one master. */
void spool_dir_remove_unnamed(int dirfd);

/* Open all of them.  ERR_NOTFOUND or ERR_PERM with a reason. */
int spool_dirs_open(const char *path, struct spool_dirs *out, struct reason *why);
void spool_dirs_close(struct spool_dirs *dirs);

/* fsync of a directory.  ERR_IO or ERR_NOSPACE. */
int spool_dir_sync(int dirfd);

#endif
