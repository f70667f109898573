/* space.h - is there room for more mail?
 * fstatvfs on any descriptor in the spool's file system (a worker has only its segment).  No allocation, does not block in practice.
 */
#ifndef POSTERN_SPACE_H
#define POSTERN_SPACE_H

#include <stdint.h>

#include "err.h"

struct spool_space {
	uint64_t free_bytes;  /* for processes without root's reserve */
	uint64_t free_inodes; /* UINT64_MAX on file systems that do not count them */
};

struct spool_space_limits {
	uint64_t min_free_bytes;
	uint64_t min_free_inodes;
};

int spool_space_get(int fd, struct spool_space *out);

/* ERR_NOSPACE below a limit, with the figures as the reason. */
int spool_space_compare(const struct spool_space *space, const struct spool_space_limits *limits, struct reason *why);

/* Both: ERR_NOSPACE below a limit, with the figures as the reason; ERR_IO. */
int spool_space_check(int fd, const struct spool_space_limits *limits, struct reason *why);

#endif
