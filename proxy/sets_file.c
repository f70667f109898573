#include "sets_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_NAME SETS_FILE_NAME ".new"

int sets_file_open(int spool_fd)
{
	return openat(spool_fd, SETS_FILE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static int copy(int from, off_t len, int to)
{
	off_t at = 0;
	while (at < len) {
		ssize_t n = sendfile(to, from, &at, (size_t)(len - at));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		/* It has become shorter meanwhile: what there is will do. */
		if (n == 0)
			break;
	}
	return fsync(to);
}

int sets_file_write(int spool_fd, int text_fd, struct reason *why)
{
	struct stat st;
	if (fstat(text_fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size > (off_t)SETS_FILE_CAP)
		return reason_set(why, ERR_PROTO, "what the gate wants to keep is no text");
	int fd = openat(spool_fd, NEW_NAME, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return reason_set(why, err_from_errno(errno), "%s: %s", NEW_NAME, strerror(errno));
	bool has_failed = copy(text_fd, st.st_size, fd) != 0;
	int errnum = errno;
	(void)close(fd);
	if (!has_failed && renameat(spool_fd, NEW_NAME, spool_fd, SETS_FILE_NAME) != 0) {
		has_failed = true;
		errnum = errno;
	}
	if (has_failed) {
		(void)unlinkat(spool_fd, NEW_NAME, 0);
		return reason_set(why, err_from_errno(errnum), "%s: %s", SETS_FILE_NAME, strerror(errnum));
	}
	(void)fsync(spool_fd);
	return 0;
}
