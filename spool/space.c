#include "space.h"

#include <inttypes.h>
#include <sys/statvfs.h>

#include <errno.h>

int spool_space_get(int fd, struct spool_space *out)
{
	struct statvfs fs;
	if (fstatvfs(fd, &fs) != 0)
		return ERR_IO;
	out->free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
	out->free_inodes = fs.f_files ? (uint64_t)fs.f_favail : UINT64_MAX;
	return 0;
}

int spool_space_compare(const struct spool_space *space, const struct spool_space_limits *limits, struct reason *why)
{
	if (space->free_bytes < limits->min_free_bytes)
		return reason_set(why, ERR_NOSPACE, "spool: %" PRIu64 " KiB free, %" PRIu64 " KiB wanted", space->free_bytes / 1024,
		                  limits->min_free_bytes / 1024);
	if (space->free_inodes < limits->min_free_inodes)
		return reason_set(why, ERR_NOSPACE, "spool: %" PRIu64 " inodes free, %" PRIu64 " wanted", space->free_inodes,
		                  limits->min_free_inodes);
	return 0;
}

int spool_space_check(int fd, const struct spool_space_limits *limits, struct reason *why)
{
	struct spool_space space;
	if (spool_space_get(fd, &space) != 0)
		return reason_set(why, ERR_IO, "spool: fstatvfs: %s", err_name(err_from_errno(errno)));
	return spool_space_compare(&space, limits, why);
}
