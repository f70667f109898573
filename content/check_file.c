#include "check_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_place.h"
#include "content_write.h"
#include "smtp_dot.h"

#define PIECE_BYTES 65536u

/* ---- wire form into native text, piece by piece */

struct native_reader {
	int wire_fd;
	uint64_t wire_at, wire_len;
	struct smtp_undot undot;
	struct buf text;
};

static struct native_reader reader_of(int wire_fd, uint64_t wire_len)
{
	struct native_reader reader = { .wire_fd = wire_fd, .wire_len = wire_len, .text = { .cap = 2 * PIECE_BYTES } };
	smtp_undot_init(&reader.undot);
	return reader;
}

/* The next piece into text, empty at the end.  ERR_CORRUPT when the end is not that of a message. */
static int read_native(struct native_reader *reader)
{
	char wire[PIECE_BYTES];
	int err = 0;
	buf_clear(&reader->text);
	while (!err && reader->text.len == 0 && reader->wire_at < reader->wire_len) {
		uint64_t left = reader->wire_len - reader->wire_at;
		ssize_t n = pread(reader->wire_fd, wire, left < sizeof wire ? (size_t)left : sizeof wire, (off_t)reader->wire_at);
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : ERR_CORRUPT;
		reader->wire_at += (uint64_t)n;
		err = smtp_undot_push(&reader->undot, (struct span){ wire, (size_t)n }, &reader->text);
	}
	return err || reader->text.len || reader->undot.has_ended ? err : ERR_CORRUPT;
}

/* ---- there */

static int write_native(int fd, int wire_fd, uint64_t wire_len)
{
	struct native_reader reader = reader_of(wire_fd, wire_len);
	int err;
	while ((err = read_native(&reader)) == 0 && reader.text.len)
		if ((err = content_write_all(fd, buf_span(&reader.text))) != 0)
			break;
	buf_free(&reader.text);
	return err;
}

static int make_dir(int place_fd, uint64_t number, struct check_file *file)
{
	check_place_name(number, file->dir);
	file->place_fd = place_fd;
	if (mkdirat(place_fd, file->dir, 0700) != 0)
		return err_from_errno(errno);
	file->dir_fd = openat(place_fd, file->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (file->dir_fd >= 0)
		return 0;
	const int errnum = errno;
	(void)unlinkat(place_fd, file->dir, AT_REMOVEDIR);
	errno = errnum; /* for the reason */
	return err_from_errno(errnum);
}

int check_file_make(int place_fd, uint64_t number, int wire_fd, uint64_t wire_len, struct check_file *out, struct reason *why)
{
	struct check_file file = CHECK_FILE_NONE;
	int err = make_dir(place_fd, number, &file);
	if (err)
		return reason_set(why, err, "no directory for the message can be made (%s)", strerror(errno));
	int fd = openat(file.dir_fd, CHECK_FILE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	err = fd < 0 ? err_from_errno(errno) : write_native(fd, wire_fd, wire_len);
	if (fd >= 0 && close(fd) != 0 && !err)
		err = err_from_errno(errno);
	if (err) {
		/* Descriptors, memory and room are different worries: where the system has said which, so do we. */
		reason_set(why, err, "the message can't be written for the command (%s)", fd < 0 ? strerror(errno) : err_name(err));
		check_file_remove(&file);
		return err;
	}
	*out = file;
	return 0;
}

/* ---- and back */

static int open_left(const struct check_file *file, uint64_t max_bytes, int *fd_out, uint64_t *size_out, struct reason *why)
{
	struct stat st;
	/* O_NONBLOCK: a FIFO would be waited for. */
	int fd = openat(file->dir_fd, CHECK_FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0)
		return reason_set(why, ERR_CORRUPT, "the message's file, as the command left it: %s", strerror(errno));
	const char *fault = fstat(fd, &st) != 0           ? "can't be looked at" :
			    !S_ISREG(st.st_mode)              ? "is no regular file" :
			    st.st_uid != geteuid()            ? "belongs to somebody else" :
			    st.st_size == 0                   ? "is empty" :
			    (uint64_t)st.st_size > max_bytes ? "is larger than max-size" :
								  NULL;
	if (fault) {
		(void)close(fd);
		return reason_set(why, ERR_CORRUPT, "the command left a file that %s", fault);
	}
	*fd_out = fd;
	*size_out = (uint64_t)st.st_size;
	return 0;
}

/* Does the file hold what was written into it?  By its bytes: times are too coarse, and can be set. */
static int compare(int fd, int wire_fd, uint64_t wire_len, bool *is_same_out)
{
	struct native_reader reader = reader_of(wire_fd, wire_len);
	char left[2 * PIECE_BYTES];
	off_t at = 0;
	bool is_same = true;
	int err;
	while ((err = read_native(&reader)) == 0 && reader.text.len && is_same) {
		ssize_t n = pread(fd, left, reader.text.len, at);
		is_same = n == (ssize_t)reader.text.len && memcmp(left, reader.text.data, reader.text.len) == 0;
		at += n > 0 ? n : 0;
	}
	if (!err && is_same)
		is_same = pread(fd, left, 1, at) == 0;
	buf_free(&reader.text);
	if (!err)
		*is_same_out = is_same;
	return err;
}

/* No more than size bytes are read: whoever still appends to the file is not waited for. */
static int write_wire(int fd, uint64_t size, int to_fd, uint64_t *len_out, struct reason *why)
{
	struct smtp_dot dot;
	struct buf wire = { .cap = 2 * PIECE_BYTES + 16 };
	char native[PIECE_BYTES];
	uint64_t at = 0, len = 0;
	int err = 0;
	smtp_dot_init(&dot);
	while (!err && at < size) {
		uint64_t left = size - at;
		ssize_t n = pread(fd, native, left < sizeof native ? (size_t)left : sizeof native, (off_t)at);
		if (n <= 0) {
			err = reason_set(why, ERR_CORRUPT, "the command's file got shorter while it was read");
		} else if (memchr(native, '\0', (size_t)n)) {
			err = reason_set(why, ERR_CORRUPT, "the command left a file with a NUL in it");
		} else {
			at += (uint64_t)n;
			buf_clear(&wire);
			err = smtp_dot_push(&dot, (struct span){ native, (size_t)n }, &wire);
			if (!err && at == size)
				err = smtp_dot_finish(&dot, &wire);
			if (!err)
				err = content_write_all(to_fd, buf_span(&wire));
			len += wire.len;
		}
	}
	buf_free(&wire);
	*len_out = len;
	return err;
}

int check_file_take(const struct check_file *file, int wire_fd, uint64_t wire_len, uint64_t max_bytes, int *changed_fd_out, uint64_t *changed_len_out,
		    struct reason *why)
{
	int fd = -1, memory_fd = -1;
	uint64_t size = 0, len = 0;
	bool is_same = false;
	reason_set(why, 0, "%s", "");
	int err = open_left(file, max_bytes, &fd, &size, why);
	if (err)
		return err;
	err = compare(fd, wire_fd, wire_len, &is_same);
	if (!err && !is_same) {
		memory_fd = memfd_create("postern-checked", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		err = memory_fd < 0 ? err_from_errno(errno) : write_wire(fd, size, memory_fd, &len, why);
		if (!err && fcntl(memory_fd, F_ADD_SEALS, CHECK_FILE_SEALS) != 0)
			err = err_from_errno(errno);
	}
	(void)close(fd);
	if (err && memory_fd >= 0)
		(void)close(memory_fd);
	if (err)
		return why->text[0] ? err : reason_set(why, err, "the message can't be read back (%s)", err_name(err));
	*changed_fd_out = memory_fd;
	*changed_len_out = len;
	return 0;
}

void check_file_remove(struct check_file *file)
{
	if (file->dir_fd < 0)
		return;
	check_place_empty(file->dir_fd);
	(void)close(file->dir_fd);
	check_place_remove(file->place_fd, file->dir);
	*file = CHECK_FILE_NONE;
}

void check_file_abandon(struct check_file *file)
{
	if (file->dir_fd >= 0)
		(void)close(file->dir_fd);
	*file = CHECK_FILE_NONE;
}
