#include "bad.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dir_list.h"
#include "fault.h"
#include "spool_bytes.h"

#define NAMES_MAX 1000u
#define CHUNK 65536u
#define TEMPORARY_CAP (SPOOL_BAD_NAME_CAP + 8)

struct source {
	int fd;
	uint64_t offset, len;
};

static int sync_file(int fd)
{
	return spool_fault_sync(SPOOL_FAULT_BAD_SYNC, fd) == 0 ? 0 : ERR_IO;
}

/* ---- names */

static int name_it(const char *name, unsigned number, struct spool_bad_name *out)
{
	int len = number ? snprintf(out->text, sizeof out->text, "%s.%u", name, number) : snprintf(out->text, sizeof out->text, "%s", name);
	return len < (int)sizeof out->text ? 0 : ERR_TOOLONG;
}

/* Move a file to the first free name.  As there is no moment in which the name is free and not ours, nothing is written over. */
static int move_to_free_name(int from_dir, const char *from, int bad, const char *name, struct spool_bad_name *name_out)
{
	for (unsigned n = 0; n < NAMES_MAX; n++) {
		int err = name_it(name, n, name_out);
		if (err)
			return err;
		if (renameat2(from_dir, from, bad, name_out->text, RENAME_NOREPLACE) == 0)
			return 0;
		if (errno != EEXIST)
			return err_from_errno(errno);
	}
	return ERR_BUSY;
}

/* ---- copies */

/* 1: fd holds what the source has, and nothing more; 0: something else. */
static int is_copy(int fd, const struct source *source)
{
	char ours[CHUNK], theirs[CHUNK];
	for (uint64_t at = 0;;) {
		size_t want = source->len - at < CHUNK ? (size_t)(source->len - at) : CHUNK;
		int64_t got = spool_bytes_read_at(source->fd, ours, want, source->offset + at);
		int64_t kept = spool_bytes_read_at(fd, theirs, CHUNK, at);
		if (got < 0)
			return ERR_IO;
		if (kept != got || memcmp(ours, theirs, (size_t)got) != 0)
			return 0;
		if (got < (int64_t)CHUNK)
			return 1;
		at += (uint64_t)got;
	}
}

/* An earlier run may have been killed between its copy and whatever would have told us of it.  1: it is there, and durable. */
static int has_copy(int bad, const char *name, const struct source *source, struct spool_bad_name *name_out)
{
	for (unsigned n = 0; n < NAMES_MAX; n++) {
		int err = name_it(name, n, name_out);
		int fd = err ? -1 : openat(bad, name_out->text, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		if (fd < 0)
			return err; /* a free name, or one that is no file and that no copy gets */
		struct stat st;
		int same = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? is_copy(fd, source) : 0;
		if (same == 1 && (err = sync_file(fd)) != 0)
			same = err;
		close(fd);
		if (same != 0)
			return same;
	}
	return 0;
}

static int write_copy(int to, const struct source *source)
{
	int errnum = spool_fault(SPOOL_FAULT_BAD_WRITE);
	int err = errnum ? err_from_errno(errnum) : spool_bytes_copy(source->fd, source->offset, source->len, to, NULL);
	if (err == ERR_EOF)
		err = 0; /* what there was of it */
	return err ? err : sync_file(to);
}

static int save(int bad, const char *name, const struct source *source, struct spool_bad_name *name_out)
{
	char temporary[TEMPORARY_CAP];
	(void)snprintf(temporary, sizeof temporary, ".%s.tmp", name);
	(void)unlinkat(bad, temporary, 0);
	int to = openat(bad, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return err_from_errno(errno);
	int err = write_copy(to, source);
	close(to);
	if (!err)
		err = move_to_free_name(bad, temporary, bad, name, name_out);
	if (err)
		(void)unlinkat(bad, temporary, 0);
	return err;
}

int spool_bad_save(const struct spool_dirs *dirs, const char *name, int fd, uint64_t offset, uint64_t len, struct spool_bad_name *name_out)
{
	struct spool_bad_name where;
	const struct source source = { fd, offset, len };
	int err = name_it(name, 0, &where);
	if (!err)
		err = has_copy(dirs->bad, name, &source, &where);
	if (err == 0)
		err = save(dirs->bad, name, &source, &where);
	if (name_out)
		*name_out = where;
	return err < 0 ? err : spool_dir_sync(dirs->bad);
}

int spool_bad_save_span(const struct spool_dirs *dirs, const char *segment, int fd, uint64_t offset, uint64_t len,
			const struct spool_record *record, struct spool_bad_name *name_out)
{
	char name[SPOOL_SEGMENT_NAME_CAP + 24];
	(void)snprintf(name, sizeof name, "%s.%" PRIu64, segment, offset);
	int err = spool_bad_save(dirs, name, fd, offset, len, name_out);
	if (err || !record || !spool_record_is_large(record) || spool_queue_has(dirs, &record->id))
		return err;
	return spool_large_to_bad(dirs, &record->id);
}

/* ---- whole files */

int spool_large_to_bad(const struct spool_dirs *dirs, const struct spool_id *id)
{
	char name[SPOOL_ID_LEN + sizeof SPOOL_BAD_BODY];
	struct spool_bad_name ignored;
	if (faccessat(dirs->large, id->text, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? 0 : err_from_errno(errno);
	(void)snprintf(name, sizeof name, "%s" SPOOL_BAD_BODY, id->text);
	int err = move_to_free_name(dirs->large, id->text, dirs->bad, name, &ignored);
	if (!err)
		err = spool_dir_sync(dirs->bad);
	return err ? err : spool_dir_sync(dirs->large);
}

int spool_queue_to_bad(const struct spool_dirs *dirs, enum spool_place place, const char *name, struct spool_bad_name *name_out)
{
	int from = place == SPOOL_IN_HOLD ? dirs->hold : dirs->queue;
	struct spool_id id;
	/* Its body first: one that no record names is swept. */
	int err = name_it(name, 0, name_out);
	if (!err && spool_id_parse(span_of(name), &id) == 0)
		err = spool_large_to_bad(dirs, &id);
	int errnum = err ? 0 : spool_fault(SPOOL_FAULT_BAD_MOVE);
	if (errnum)
		err = err_from_errno(errnum);
	if (!err)
		err = move_to_free_name(from, name, dirs->bad, name, name_out);
	if (!err)
		err = spool_dir_sync(dirs->bad);
	return err ? err : spool_dir_sync(from);
}

/* ---- looking for an id */

static bool is_body(const char *name)
{
	return strstr(name, SPOOL_BAD_BODY) != NULL;
}

/* 1, 0, ERR_IO. */
static int file_holds(int fd, const struct spool_id *id)
{
	char chunk[CHUNK];
	for (uint64_t at = 0;;) {
		int64_t got = spool_bytes_read_at(fd, chunk, sizeof chunk, at);
		if (got < 0)
			return (int)got;
		if (memmem(chunk, (size_t)got, id->text, SPOOL_ID_LEN))
			return 1;
		if ((size_t)got < sizeof chunk)
			return 0;
		at += sizeof chunk - (SPOOL_ID_LEN - 1); /* it may lie across the border */
	}
}

int spool_bad_names(const struct spool_dirs *dirs, const struct spool_id *id)
{
	struct dir_list list;
	int found = dir_list_read(dirs->bad, &list);
	if (found)
		return found;
	for (size_t i = 0; i < list.count && found == 0; i++) {
		if (is_body(list.names[i]))
			continue;
		int fd = openat(dirs->bad, list.names[i], O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
		struct stat st;
		if (fd < 0)
			found = errno == ENOENT || errno == ELOOP ? 0 : err_from_errno(errno);
		else if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			found = file_holds(fd, id);
		if (fd >= 0)
			close(fd);
	}
	dir_list_free(&list);
	return found;
}
