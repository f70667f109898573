#include "spool_bytes.h"

#include <errno.h>
#include <unistd.h>

#include "crc32c.h"
#include "err.h"

#define COPY_CHUNK 65536u

int spool_bytes_write_all(int fd, const void *bytes, size_t len)
{
	const char *p = bytes;
	while (len > 0) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? err_from_errno(errno) : ERR_IO;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

int64_t spool_bytes_read_at(int fd, void *bytes, size_t len, uint64_t offset)
{
	char *p = bytes;
	size_t done = 0;
	while (done < len) {
		ssize_t n = pread(fd, p + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (int64_t)done;
}

int spool_bytes_copy(int from_fd, uint64_t offset, uint64_t len, int to_fd, uint32_t *crc)
{
	char chunk[COPY_CHUNK];
	while (len > 0) {
		size_t want = len < sizeof chunk ? (size_t)len : sizeof chunk;
		int64_t got = spool_bytes_read_at(from_fd, chunk, want, offset);
		if (got < 0)
			return (int)got;
		if (got == 0)
			return ERR_EOF;
		int err = spool_bytes_write_all(to_fd, chunk, (size_t)got);
		if (err)
			return err;
		if (crc)
			*crc = crc32c(*crc, chunk, (size_t)got);
		offset += (uint64_t)got;
		len -= (uint64_t)got;
	}
	return 0;
}
