/* sets_file.h - the file below the spool that keeps what is in the kernel's sets while the daemon or the host is down: the master's
 * side.  The gate writes the text into memory; the master, which alone may, puts it on the disk.
 */
#ifndef POSTERN_SETS_FILE_H
#define POSTERN_SETS_FILE_H

#include "err.h"
#include "loop.h"

#define SETS_FILE_NAME "kernel-sets"

/* A text of more bytes is not taken. */
#define SETS_FILE_CAP (256u << 20)

/* For reading, close-on-exec; -1 when there is none. */
int sets_file_open(int spool_fd);

/* A copy of what is in text_fd takes the place of the file, synced.  Blocks: for a job. */
int sets_file_write(int spool_fd, int text_fd, struct reason *why);

#endif
