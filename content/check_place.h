/* check_place.h - the directory of the checker's own user in which messages lie while a command looks at them.
 * Blocks on the disk.
 */
#ifndef POSTERN_CHECK_PLACE_H
#define POSTERN_CHECK_PLACE_H

#include <stdint.h>
#include <sys/types.h>

#include "err.h"

/* Make it for that user where it is missing, as root, if nobody else can interfere: root alone may write to the directory that it lies in.  path: absolute,
 * below chroot_fd.  Whether it is there then, open will tell. */
void check_place_make_prepriv(int chroot_fd, const char *path, uid_t uid, gid_t gid);

/* Made with mode 700 where it is missing and we may.  ERR_PERM when it is another user's, or not writable. */
int check_place_open(const char *path, int *fd_out, struct reason *why);

/* How messages' directories are called: nothing else in the place is ours. */
#define CHECK_PLACE_NAME_LEN 16u
void check_place_name(uint64_t number, char out[CHECK_PLACE_NAME_LEN + 1]);

/* Remove the messages' directories that an earlier process has left. */
void check_place_sweep(int place_fd);

/* Remove that name in the place, whatever a command has put there instead of its directory. */
void check_place_remove(int place_fd, const char *name);

/* Remove all that is in a directory, however deep, and whatever the modes of what is in there.  It becomes writable for its owner. */
void check_place_empty(int dir_fd);

#endif
