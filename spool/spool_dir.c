#include "spool_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dir_list.h"
#include "fault.h"
#include "spool_segment.h"

#define OPEN_DIR (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* The forwarder's directories, and where each descriptor goes. */
static const struct subdir {
	const char *name;
	size_t at;
} subdirs[] = {
	{ "journal", offsetof(struct spool_dirs, journal) }, { "large", offsetof(struct spool_dirs, large) },
	{ "ack", offsetof(struct spool_dirs, ack) },         { "queue", offsetof(struct spool_dirs, queue) },
	{ "hold", offsetof(struct spool_dirs, hold) },       { "bad", offsetof(struct spool_dirs, bad) },
};
#define SUBDIR_COUNT (sizeof subdirs / sizeof subdirs[0])

static int *descriptor_of(struct spool_dirs *dirs, const struct subdir *subdir)
{
	return (int *)((char *)dirs + subdir->at);
}

static const char *errno_text(void)
{
	switch (errno) {
	case ENOENT: return "does not exist";
	case ENOTDIR: return "not a directory";
	case ELOOP: return "a symbolic link, which is not followed";
	case EACCES:
	case EPERM: return "permission denied";
	case ENOSPC:
	case EDQUOT: return "no space left";
	case EROFS: return "file system is read-only";
	default: return "input/output error";
	}
}

int spool_dir_sync(int dirfd)
{
	int errnum = spool_fault_sync_dir(dirfd);
	if (!errnum)
		return 0;
	return err_from_errno(errnum) == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
}

/* ---- prepare */

struct wanted {
	const char *name; /* NULL: the spool itself, already opened */
	mode_t mode;
	uid_t uid, other_uid; /* either owner will do; a new one gets uid */
	gid_t gid;
};

static int check(int fd, const struct wanted *want, struct reason *why)
{
	struct stat st;
	if (fstat(fd, &st) != 0)
		return reason_set(why, ERR_IO, "%s", errno_text());
	if (st.st_uid != want->uid && st.st_uid != want->other_uid)
		return reason_set(why, ERR_PERM, "owned by uid %u, expected %u: chown it or name another spool", (unsigned)st.st_uid,
				  (unsigned)want->uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return reason_set(why, ERR_PERM, "mode %04o lets others write; expected %04o", (unsigned)st.st_mode & 07777, (unsigned)want->mode);
	return 0;
}

/* The umask must not matter, and mkdir gives the directory to us. */
static int adopt(int fd, const struct wanted *want, struct reason *why)
{
	if ((want->uid != geteuid() && fchown(fd, want->uid, want->gid) != 0) || fchmod(fd, want->mode) != 0)
		return reason_set(why, err_from_errno(errno), "can't give it to uid %u: %s", (unsigned)want->uid, errno_text());
	return 0;
}

static int prepare_one(int parent, const struct wanted *want, int *fd_out, struct reason *why)
{
	bool is_new = mkdirat(parent, want->name, want->mode & 0700) == 0;
	if (!is_new && errno != EEXIST)
		return reason_set(why, err_from_errno(errno), "can't create: %s", errno_text());
	int fd = openat(parent, want->name, OPEN_DIR);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "can't open: %s", errno_text());
	int err = is_new ? adopt(fd, want, why) : check(fd, want, why);
	if (err) {
		close(fd);
		return err;
	}
	*fd_out = fd;
	return 0;
}

void spool_dir_remove_unnamed(int dirfd)
{
	struct dir_list list;
	if (dir_list_read(dirfd, &list) != 0)
		return;
	for (size_t i = 0; i < list.count; i++) {
		if (strncmp(list.names[i], SPOOL_NEW_PREFIX, sizeof SPOOL_NEW_PREFIX - 1) == 0)
			(void)unlinkat(dirfd, list.names[i], 0);
	}
	dir_list_free(&list);
}

static int prepare_below(int root, const char *path, const struct wanted *want, struct reason *why)
{
	int fd = -1;
	int err = prepare_one(root, want, &fd, why);
	if (err)
		return reason_prefix(why, err, "%s/%s", path, want->name);
	close(fd);
	return 0;
}

/* The name of the spool itself.  Each time: the run that made it may have died before it came to this.  Who may not even read the directory
 * above has not made anything in it. */
static int sync_parent(const char *path)
{
	char above[PATH_MAX];
	if (snprintf(above, sizeof above, "%s", path) >= (int)sizeof above)
		return ERR_TOOLONG;
	int fd = open(dirname(above), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	int err = spool_dir_sync(fd);
	close(fd);
	return err;
}

int spool_dir_prepare(const char *path, uid_t uid, gid_t gid, struct reason *why)
{
	uid_t self = geteuid();
	struct wanted root_dir = { path, 0711, self, uid, getegid() };
	int root = -1;
	int err = prepare_one(AT_FDCWD, &root_dir, &root, why);
	if (err)
		return reason_prefix(why, err, "%s", path);
	/* posternd and posternfwd often start in the same moment: what one has made and not yet given away, the other would refuse. */
	if (flock(root, LOCK_EX) != 0)
		err = reason_set(why, err_from_errno(errno), "%s: can't lock: %s", path, errno_text());
	for (size_t i = 0; i < SUBDIR_COUNT && !err; i++) {
		struct wanted want = { subdirs[i].name, 0700, uid, uid, gid };
		err = prepare_below(root, path, &want, why);
	}
	if (!err) {
		struct wanted cache = { SPOOL_CACHE_DIR, 0700, uid, uid, gid };
		err = prepare_below(root, path, &cache, why);
	}
	if (!err) {
		/* One of root's is as good as our own: nobody else can put anything in. */
		struct wanted empty = { SPOOL_EMPTY_DIR, 0555, self, 0, getegid() };
		err = prepare_below(root, path, &empty, why);
	}
	if (!err && (spool_dir_sync(root) != 0 || sync_parent(path) != 0))
		err = reason_set(why, ERR_IO, "%s: can't sync: %s", path, errno_text());
	close(root);
	return err;
}

/* ---- open */

int spool_dirs_open(const char *path, struct spool_dirs *out, struct reason *why)
{
	struct spool_dirs dirs = SPOOL_DIRS_CLOSED;
	dirs.root = open(path, OPEN_DIR);
	if (dirs.root < 0)
		return reason_set(why, err_from_errno(errno), "%s: can't open: %s", path, errno_text());
	for (size_t i = 0; i < SUBDIR_COUNT; i++) {
		int fd = openat(dirs.root, subdirs[i].name, OPEN_DIR);
		if (fd < 0) {
			int err = reason_set(why, err_from_errno(errno), "%s/%s: can't open: %s", path, subdirs[i].name, errno_text());
			spool_dirs_close(&dirs);
			return err;
		}
		*descriptor_of(&dirs, &subdirs[i]) = fd;
	}
	*out = dirs;
	return 0;
}

void spool_dirs_close(struct spool_dirs *dirs)
{
	for (size_t i = 0; i < SUBDIR_COUNT; i++) {
		int *fd = descriptor_of(dirs, &subdirs[i]);
		if (*fd >= 0)
			close(*fd);
	}
	if (dirs->root >= 0)
		close(dirs->root);
	*dirs = SPOOL_DIRS_CLOSED;
}
