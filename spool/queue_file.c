#include "queue_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc32c.h"
#include "err.h"
#include "fault.h"
#include "spool_bytes.h"

#define TEMPORARY_CAP (SPOOL_ID_LEN + 8)

static int dir_of(const struct spool_dirs *dirs, enum spool_place place)
{
	return place == SPOOL_IN_HOLD ? dirs->hold : dirs->queue;
}

static int disk_error(int errnum)
{
	int err = err_from_errno(errnum);
	return err == ERR_NOSPACE || err == ERR_TOOLONG ? ERR_NOSPACE : ERR_IO;
}

static int sync_file(int fd)
{
	int errnum = spool_fault_sync(SPOOL_FAULT_QUEUE_SYNC, fd);
	return errnum ? disk_error(errnum) : 0;
}

static int encode_lines(const struct spool_status *status, size_t count, struct buf *out)
{
	int err = 0;
	for (size_t i = 0; i < count && !err; i++)
		err = spool_status_encode(&status[i], out);
	return err;
}

/* ---- create */

/* The header as it stands in this file: at offset 0; for a message of our own also with the sums. */
static struct spool_record record_for(const struct spool_queue_source *source)
{
	struct spool_record record = source->record;
	record.offset = 0;
	record.envelope_len = (uint32_t)source->envelope.len;
	record.envelope_crc = crc32c(0, source->envelope.ptr, source->envelope.len);
	if (!source->body && !spool_record_is_large(&record)) {
		record.body_len = source->body_bytes.len;
		record.body_crc = crc32c(0, source->body_bytes.ptr, source->body_bytes.len);
	}
	return record;
}

static int write_body(int fd, const struct spool_queue_source *source)
{
	if (spool_record_is_large(&source->record))
		return 0;
	if (!source->body)
		return spool_bytes_write_all(fd, source->body_bytes.ptr, source->body_bytes.len);
	uint32_t crc = 0;
	int err = spool_bytes_copy(source->body->fd, source->body->offset, source->body->len, fd, &crc);
	if (err == ERR_EOF || (!err && (crc != source->record.body_crc || source->body->len != source->record.body_len)))
		return ERR_CORRUPT;
	return err;
}

static int write_file(int fd, const struct spool_queue_source *source)
{
	unsigned char header[SPOOL_RECORD_HEADER_LEN];
	struct spool_record record = record_for(source);
	spool_record_encode(&record, header);
	int errnum = spool_fault(SPOOL_FAULT_QUEUE_WRITE);
	int err = errnum ? disk_error(errnum) : spool_bytes_write_all(fd, header, sizeof header);
	errnum = spool_fault(SPOOL_FAULT_QUEUE_TORN);
	if (!err && errnum)
		err = disk_error(errnum);
	if (!err)
		err = spool_bytes_write_all(fd, source->envelope.ptr, source->envelope.len);
	if (!err)
		err = write_body(fd, source);
	struct buf lines = { .cap = 0 };
	if (!err)
		err = encode_lines(source->status, source->status_count, &lines);
	if (!err)
		err = spool_bytes_write_all(fd, lines.data, lines.len);
	buf_free(&lines);
	return err ? err : sync_file(fd);
}

int spool_queue_create(const struct spool_dirs *dirs, enum spool_place place, const struct spool_queue_source *source)
{
	int dirfd = dir_of(dirs, place);
	const char *name = source->record.id.text;
	if (source->envelope.len > SPOOL_ENVELOPE_CAP || source->body_bytes.len > SPOOL_INLINE_CAP)
		return ERR_TOOLONG;
	char temporary[TEMPORARY_CAP];
	(void)snprintf(temporary, sizeof temporary, ".%s.tmp", name);
	(void)unlinkat(dirfd, temporary, 0);
	int fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return disk_error(errno);
	int err = write_file(fd, source);
	close(fd);
	if (!err) {
		(void)spool_fault(SPOOL_FAULT_QUEUE_BEFORE_LINK);
		if (renameat2(dirfd, temporary, dirfd, name, RENAME_NOREPLACE) != 0)
			err = errno == EEXIST ? ERR_BUSY : disk_error(errno);
	}
	if (err)
		(void)unlinkat(dirfd, temporary, 0);
	if (err && err != ERR_BUSY)
		return err;
	(void)spool_fault(SPOOL_FAULT_QUEUE_AFTER_LINK);
	/* Also for the one that was there already: "treat as done" must be true of the disk. */
	int sync_err = spool_dir_sync(dirfd);
	/* Another sync of the same name would prove nothing: the next try makes a new one. */
	if (sync_err && !err)
		(void)unlinkat(dirfd, name, 0);
	(void)spool_fault(SPOOL_FAULT_QUEUE_AFTER_SYNC);
	return sync_err ? sync_err : err;
}

/* ---- change */

/* A crash may have cut the last line short: it gets its end, so that it spoils no other. */
static int end_torn_line(int fd, struct buf *lines)
{
	struct stat st;
	char last;
	if (fstat(fd, &st) != 0 || st.st_size == 0)
		return ERR_CORRUPT;
	if (spool_bytes_read_at(fd, &last, 1, (uint64_t)st.st_size - 1) != 1)
		return ERR_IO;
	return last == '\n' ? 0 : buf_append(lines, "\n", 1);
}

static int write_lines(int fd, const struct buf *lines)
{
	int errnum = spool_fault(SPOOL_FAULT_QUEUE_APPEND);
	if (errnum)
		return disk_error(errnum);
	/* A test wants to die or fail in the middle of them. */
	size_t first = spool_fault_armed == SPOOL_FAULT_QUEUE_APPEND_TORN ? lines->len / 2 : lines->len;
	int err = spool_bytes_write_all(fd, lines->data, first);
	errnum = spool_fault(SPOOL_FAULT_QUEUE_APPEND_TORN);
	if (!err && errnum)
		err = disk_error(errnum);
	return err || first == lines->len ? err : spool_bytes_write_all(fd, lines->data + first, lines->len - first);
}

int spool_queue_append(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id, const struct spool_status *status,
                       size_t count)
{
	int fd = openat(dir_of(dirs, place), id->text, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	struct buf lines = { .cap = 0 };
	int err = end_torn_line(fd, &lines);
	if (!err)
		err = encode_lines(status, count, &lines);
	if (!err)
		err = write_lines(fd, &lines);
	if (!err)
		err = sync_file(fd);
	if (!err)
		(void)spool_fault(SPOOL_FAULT_QUEUE_AFTER_APPEND);
	buf_free(&lines);
	close(fd);
	return err;
}

int spool_queue_move(const struct spool_dirs *dirs, enum spool_place from, enum spool_place to, const struct spool_id *id)
{
	int errnum = spool_fault(SPOOL_FAULT_QUEUE_MOVE);
	if (!errnum && renameat2(dir_of(dirs, from), id->text, dir_of(dirs, to), id->text, RENAME_NOREPLACE) != 0)
		errnum = errno;
	if (errnum)
		return err_from_errno(errnum);
	(void)spool_fault(SPOOL_FAULT_QUEUE_MOVED);
	/* The new name first: at worst both are there after a power cut, never neither. */
	int err = spool_dir_sync(dir_of(dirs, to));
	return err ? err : spool_dir_sync(dir_of(dirs, from));
}

bool spool_queue_is_in(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id)
{
	return faccessat(dir_of(dirs, place), id->text, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int spool_queue_remove(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id, bool has_large)
{
	int errnum = spool_fault(SPOOL_FAULT_QUEUE_REMOVE);
	if (!errnum && unlinkat(dir_of(dirs, place), id->text, 0) != 0 && errno != ENOENT)
		errnum = errno;
	if (errnum)
		return err_from_errno(errnum);
	(void)spool_fault(SPOOL_FAULT_QUEUE_REMOVED);
	return has_large ? spool_large_remove(dirs, id) : 0;
}

bool spool_queue_has(const struct spool_dirs *dirs, const struct spool_id *id)
{
	return faccessat(dirs->queue, id->text, F_OK, AT_SYMLINK_NOFOLLOW) == 0 ||
	       faccessat(dirs->hold, id->text, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

int spool_queue_each(const struct spool_dirs *dirs, enum spool_place place, spool_queue_each_fn each, void *ctx)
{
	int fd = openat(dir_of(dirs, place), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			close(fd);
		return ERR_IO;
	}
	int err = 0;
	for (struct dirent *entry; !err && (entry = readdir(dir)) != NULL;) {
		struct spool_id id;
		if (spool_id_parse(span_of(entry->d_name), &id) == 0)
			err = each(ctx, &id);
	}
	closedir(dir);
	return err;
}
