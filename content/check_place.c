#include "check_place.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SWEEP_DEPTH_MAX 16 /* what lies deeper is brought up first: a message decides how deep its attachments are */
#define SWEEP_PASSES_MAX 1000
#define SWEEP_TRIES_MAX 100
#define PATH_ROOM 256

/* Can nobody but root exchange names in it? */
static bool is_safe(int dir_fd)
{
	struct stat st;
	return fstat(dir_fd, &st) == 0 && st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH));
}

/* The directory that path lies in, seen from the chroot. */
static int open_parent(int chroot_fd, const char *path, const char *name)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT };
	char parent[PATH_ROOM];
	int n = snprintf(parent, sizeof parent, "%.*s", (int)(name - path), path);
	return n < 0 || (size_t)n >= sizeof parent ? -1 : (int)syscall(SYS_openat2, chroot_fd, parent, &how, sizeof how);
}

void check_place_make_prepriv(int chroot_fd, const char *path, uid_t uid, gid_t gid)
{
	const char *slash = strrchr(path, '/');
	if (!slash || !slash[1])
		return;
	int parent_fd = open_parent(chroot_fd, path, slash + 1);
	if (parent_fd >= 0 && is_safe(parent_fd) && mkdirat(parent_fd, slash + 1, 0700) == 0)
		(void)!fchownat(parent_fd, slash + 1, uid, gid, AT_SYMLINK_NOFOLLOW);
	if (parent_fd >= 0)
		(void)close(parent_fd);
}

int check_place_open(const char *path, int *fd_out, struct reason *why)
{
	struct stat st;
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return reason_set(why, err_from_errno(errno), "%s can't be made: %s", path, strerror(errno));
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "%s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || st.st_uid != geteuid() || faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) != 0) {
		(void)close(fd);
		return reason_set(why, ERR_PERM, "%s: must belong to uid %u and be writable for it", path, (unsigned)geteuid());
	}
	*fd_out = fd;
	return 0;
}

struct sweep {
	int top_fd;
	uint64_t last; /* name that something was brought up under */
	bool has_moved;
};

static void remove_tree(struct sweep *sweep, int dir_fd, const char *name, int depth);

static bool is_any(const char *name)
{
	return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static bool is_ours(const char *name)
{
	return strlen(name) == CHECK_PLACE_NAME_LEN && strspn(name, "0123456789abcdef") == CHECK_PLACE_NAME_LEN;
}

static void remove_those(struct sweep *sweep, int dir_fd, bool (*is_wanted)(const char *name), int depth)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;
	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	while ((entry = readdir(dir)) != NULL)
		if (is_wanted(entry->d_name))
			remove_tree(sweep, dir_fd, entry->d_name, depth);
	(void)closedir(dir);
}

/* Under a name that both kinds of sweep take for one of theirs. */
static void bring_up(struct sweep *sweep, int dir_fd, const char *name)
{
	char up[CHECK_PLACE_NAME_LEN + 1];
	for (unsigned tries = 0; tries < SWEEP_TRIES_MAX; tries++) {
		check_place_name(++sweep->last, up);
		if (renameat(dir_fd, name, sweep->top_fd, up) == 0) {
			sweep->has_moved = true;
			return;
		}
	}
}

static bool is_directory(int dir_fd, const char *name)
{
	struct stat st;
	return fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void remove_tree(struct sweep *sweep, int dir_fd, const char *name, int depth)
{
	if (unlinkat(dir_fd, name, 0) == 0)
		return;
	/* What a command unpacks may be directories that nobody can write to. */
	if (is_directory(dir_fd, name))
		(void)!fchmodat(dir_fd, name, 0700, 0);
	if (depth == SWEEP_DEPTH_MAX) {
		bring_up(sweep, dir_fd, name);
		return;
	}
	int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return;
	remove_those(sweep, fd, is_any, depth + 1);
	(void)close(fd);
	(void)unlinkat(dir_fd, name, AT_REMOVEDIR);
}

static void sweep_all(int top_fd, bool (*is_wanted)(const char *name))
{
	struct sweep sweep = { .top_fd = top_fd, .has_moved = true };
	for (unsigned passes = 0; sweep.has_moved && passes < SWEEP_PASSES_MAX; passes++) {
		sweep.has_moved = false;
		remove_those(&sweep, top_fd, is_wanted, 0);
	}
}

void check_place_name(uint64_t number, char out[CHECK_PLACE_NAME_LEN + 1])
{
	(void)snprintf(out, CHECK_PLACE_NAME_LEN + 1, "%016" PRIx64, number);
}

void check_place_remove(int place_fd, const char *name)
{
	struct sweep sweep = { .top_fd = place_fd };
	remove_tree(&sweep, place_fd, name, 0);
}

void check_place_sweep(int place_fd)
{
	sweep_all(place_fd, is_ours);
}

void check_place_empty(int dir_fd)
{
	(void)fchmod(dir_fd, 0700);
	sweep_all(dir_fd, is_any);
}
