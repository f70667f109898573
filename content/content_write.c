#include "content_write.h"

#include <errno.h>
#include <unistd.h>

int content_write_all(int fd, struct span bytes)
{
	while (bytes.len) {
		ssize_t n = write(fd, bytes.ptr, bytes.len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n == 0 ? ERR_IO : err_from_errno(errno);
		bytes = span_sub(bytes, (size_t)n, bytes.len);
	}
	return 0;
}
