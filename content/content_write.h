/* content_write.h - all of some bytes into a memory file, which takes them without waiting; from a job also into others.
 */
#ifndef POSTERN_CONTENT_WRITE_H
#define POSTERN_CONTENT_WRITE_H

#include "err.h"
#include "span.h"

/* Behind what was written before.  ERR_NOSPACE, ERR_IO: a part of them may be there. */
int content_write_all(int fd, struct span bytes);

#endif
