#include "spool_segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "fault.h"
#include "space.h"

#define NUMBER_DIGITS 16
#define NUMBER_MAX UINT64_C(9999999999999999)
#define WORKER_MAX 999
#define PREPARE_PIECE (1u << 20)    /* what a session's sync may have to wait for at a time */
#define PREPARE_SHARE 16u           /* at most this part of the free space */
#define PREPARE_LIMIT_NS 400000000  /* at full speed the rest of the segment before lasts no longer */

int spool_segment_name_parse(struct span text, struct spool_segment_name *out, uint64_t *number_out, unsigned *worker_out)
{
	static const struct span infix = { ".w", 2 }, suffix = { ".seg", 4 };
	uint64_t number, worker;
	size_t worker_at = NUMBER_DIGITS + infix.len;
	if (text.len <= worker_at + suffix.len || text.len >= sizeof out->text ||
	    !span_eq(span_sub(text, NUMBER_DIGITS, worker_at), infix) || !span_eq(span_sub(text, text.len - suffix.len, text.len), suffix) ||
	    span_to_u64(span_sub(text, 0, NUMBER_DIGITS), NUMBER_MAX, &number) != 0 ||
	    span_to_u64(span_sub(text, worker_at, text.len - suffix.len), WORKER_MAX, &worker) != 0)
		return ERR_SYNTAX;
	if (out)
		(void)span_to_cstr(text, out->text, sizeof out->text);
	if (number_out)
		*number_out = number;
	if (worker_out)
		*worker_out = (unsigned)worker;
	return 0;
}

static int raise_above(int dirfd, uint64_t *next)
{
	int fd = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return ERR_IO;
	}
	for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
		struct span name = span_of(entry->d_name);
		static const struct span ack = { ".ack", 4 };
		if (span_eq(span_sub(name, name.len < ack.len ? 0 : name.len - ack.len, name.len), ack))
			name.len -= ack.len;
		uint64_t number;
		if (spool_segment_name_parse(name, NULL, &number, NULL) == 0 && number >= *next)
			*next = number + 1;
	}
	closedir(dir);
	return 0;
}

int spool_segment_next_number(const struct spool_dirs *dirs, uint64_t *out)
{
	uint64_t next = 1;
	int err = raise_above(dirs->journal, &next);
	if (!err)
		err = raise_above(dirs->ack, &next);
	/* Acknowledgements that are gone were removed without a sync.  Were a power cut to bring them back beside a new segment of their name, new
	 * mail would count as delivered: so no number comes again before they are gone for good. */
	if (!err)
		err = spool_dir_sync(dirs->ack);
	if (!err)
		*out = next;
	return err;
}

static int make_ready(int fd, uid_t uid, gid_t gid)
{
	int errnum = spool_fault(SPOOL_FAULT_SEGMENT_CREATE);
	if (errnum)
		return err_from_errno(errnum);
	if (uid != geteuid() && fchown(fd, uid, gid) != 0)
		return err_from_errno(errno);
	return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : ERR_BUSY;
}

/* A file that somebody else will write to.  It gets its name only when it is locked: one without a lock is taken for one whose writer
 * is gone, and an empty one of those is removed. */
static int create_for(int dirfd, const char *name, int flags, uid_t uid, gid_t gid, int *fd_out)
{
	char hidden[sizeof SPOOL_NEW_PREFIX + SPOOL_SEGMENT_NAME_CAP];
	(void)snprintf(hidden, sizeof hidden, "%s%s", SPOOL_NEW_PREFIX, name);
	int fd = openat(dirfd, hidden, flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_from_errno(errno);
	int err = make_ready(fd, uid, gid);
	if (!err && renameat2(dirfd, hidden, dirfd, name, RENAME_NOREPLACE) != 0)
		err = err_from_errno(errno);
	if (err) {
		(void)unlinkat(dirfd, hidden, 0);
		close(fd);
		return err;
	}
	(void)spool_fault(SPOOL_FAULT_SEGMENT_NAMED);
	err = spool_dir_sync(dirfd);
	if (err) {
		/* Should it stay: an empty file without a lock is recycled. */
		(void)unlinkat(dirfd, name, 0);
		close(fd);
		return err;
	}
	*fd_out = fd;
	return 0;
}

static int open_to_read(int dirfd, const char *name, int *fd_out, uint64_t *size_out)
{
	int fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return ERR_IO;
	}
	*fd_out = fd;
	*size_out = (uint64_t)st.st_size;
	return 0;
}

int spool_segment_create(const struct spool_dirs *dirs, uint64_t number, unsigned worker, uid_t uid, gid_t gid,
                         struct spool_segment_name *name_out, int *fd_out)
{
	if (number > NUMBER_MAX || worker > WORKER_MAX)
		return ERR_INVAL;
	struct spool_segment_name name;
	(void)snprintf(name.text, sizeof name.text, "%0*" PRIu64 ".w%u.seg", NUMBER_DIGITS, number, worker);
	int err = create_for(dirs->journal, name.text, O_WRONLY, uid, gid, fd_out);
	if (!err)
		*name_out = name;
	return err;
}

static int64_t now_ns(void)
{
	struct timespec now;
	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int spool_segment_prepare(int fd, uint64_t bytes, uint64_t reserve_bytes)
{
	struct spool_space space;
	if (spool_space_get(fd, &space) != 0 || space.free_bytes / PREPARE_SHARE < bytes || space.free_bytes - bytes < reserve_bytes)
		return 0;
	char *zeros = calloc(1, PREPARE_PIECE);
	int64_t begin_ns = now_ns();
	/* Each piece is synced by itself: all of it at once would keep the syncs of others waiting for as long as it takes. */
	bool is_good = true;
	for (uint64_t at = 0; zeros && is_good && at + PREPARE_PIECE <= bytes && now_ns() - begin_ns < PREPARE_LIMIT_NS; at += PREPARE_PIECE)
		is_good = spool_fault(SPOOL_FAULT_SEGMENT_PREPARE) == 0 && pwrite(fd, zeros, PREPARE_PIECE, (off_t)at) == (ssize_t)PREPARE_PIECE &&
		          spool_fault_sync(SPOOL_FAULT_PREPARE_SYNC, fd) == 0;
	free(zeros);
	/* What came before is no better: it goes, and the segment grows. */
	return is_good || ftruncate(fd, 0) == 0 ? 0 : ERR_IO;
}

int spool_segment_open(const struct spool_dirs *dirs, const char *name, int *fd_out, uint64_t *size_out, bool *is_sealed_out)
{
	int fd = -1;
	uint64_t size = 0;
	int err = open_to_read(dirs->journal, name, &fd, &size);
	if (err)
		return err;
	bool is_sealed = flock(fd, LOCK_SH | LOCK_NB) == 0;
	struct stat st;
	if (is_sealed) {
		/* The writer may have ended between the two looks: only now is the size final. */
		if (fstat(fd, &st) != 0) {
			close(fd);
			return ERR_IO;
		}
		size = (uint64_t)st.st_size;
		(void)flock(fd, LOCK_UN);
	}
	*fd_out = fd;
	*size_out = size;
	*is_sealed_out = is_sealed;
	return 0;
}

int spool_segment_recycle(const struct spool_dirs *dirs, const char *name)
{
	(void)spool_fault(SPOOL_FAULT_RECYCLE_BEFORE);
	if (unlinkat(dirs->journal, name, 0) != 0 && errno != ENOENT)
		return err_from_errno(errno);
	(void)spool_fault(SPOOL_FAULT_RECYCLE_UNLINKED);
	/* Were the acknowledgements to vanish first, a power cut could bring the segment back with everything unsettled. */
	int err = spool_dir_sync(dirs->journal);
	if (err)
		return err;
	(void)spool_fault(SPOOL_FAULT_RECYCLE_BETWEEN);
	char ack[SPOOL_SEGMENT_NAME_CAP + 8];
	(void)snprintf(ack, sizeof ack, "%s.ack", name);
	return unlinkat(dirs->ack, ack, 0) == 0 || errno == ENOENT ? 0 : err_from_errno(errno);
}

int spool_large_create(const struct spool_dirs *dirs, const struct spool_id *id, uid_t uid, gid_t gid, int *fd_out)
{
	/* Who checks content reads it again before it is accepted. */
	return create_for(dirs->large, id->text, O_RDWR | O_APPEND, uid, gid, fd_out);
}

int spool_large_open(const struct spool_dirs *dirs, const struct spool_id *id, int *fd_out, uint64_t *size_out)
{
	return open_to_read(dirs->large, id->text, fd_out, size_out);
}

int spool_large_remove(const struct spool_dirs *dirs, const struct spool_id *id)
{
	int errnum = spool_fault(SPOOL_FAULT_LARGE_REMOVE);
	if (!errnum && unlinkat(dirs->large, id->text, 0) != 0 && errno != ENOENT)
		errnum = errno;
	return errnum ? err_from_errno(errnum) : 0;
}
