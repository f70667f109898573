/* content_image.h - a whole message as a check on content reads it: its bytes in wire form (CRLF, dot-stuffed, with the final dot line).
 * Owns: nothing.  Whoever gave it keeps memory and descriptor alive and unchanged for as long as checks read it.
 */
#ifndef POSTERN_CONTENT_IMAGE_H
#define POSTERN_CONTENT_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "span.h"

struct content_image {
	struct span memory;  /* all of it, where fd is -1 */
	int fd;              /* else a file or memfd: all of it is len bytes from offset 0; read with pread */
	uint64_t len;
	size_t own_len;      /* at its beginning: the Received field that we put in, which no filter outside is shown */
};

#endif
