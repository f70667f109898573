/* bad.h - bad/: what can't be delivered and nobody may throw away, kept for a person to look at.
 * Promise: after 0 the copy survives a power cut, and nothing that was there before is gone.  Anything else: it is not in bad/, or not for
 * sure, so what it is a copy of must stay.
 * Names: NAME, or where that holds other bytes (numbers of segments come again) NAME.1, NAME.2 …  The same bytes are kept once.
 * Blocks (reads, writes, syncs): at start, or in a loop job.
 */
#ifndef POSTERN_BAD_H
#define POSTERN_BAD_H

#include "queue_file.h"
#include "record.h"
#include "spool_dir.h"

#define SPOOL_BAD_NAME_CAP 96
#define SPOOL_BAD_BODY ".body"

struct spool_bad_name {
	char text[SPOOL_BAD_NAME_CAP]; /* terminated, without directory */
};

/* Copy len bytes from fd at offset (or what there is of them) to bad/NAME.  name_out, also on failure, says where; may be NULL.
 * ERR_NOSPACE, ERR_IO, ERR_TOOLONG, ERR_BUSY (a thousand others have that name), and what open() says. */
int spool_bad_save(const struct spool_dirs *dirs, const char *name, int fd, uint64_t offset, uint64_t len, struct spool_bad_name *name_out);

/* The same for a span of a segment, as SEGMENT.OFFSET.  record: its header where that could be read, else NULL; the large body that it names
 * goes along, unless a file of queue/ or hold/ names it too. */
int spool_bad_save_span(const struct spool_dirs *dirs, const char *segment, int fd, uint64_t offset, uint64_t len,
			const struct spool_record *record, struct spool_bad_name *name_out);

/* Move large/ID to bad/ID.body, for a message that goes there.  0 also when there is none. */
int spool_large_to_bad(const struct spool_dirs *dirs, const struct spool_id *id);

/* Move a broken file to bad/, with its large body. */
int spool_queue_to_bad(const struct spool_dirs *dirs, enum spool_place place, const char *name, struct spool_bad_name *name_out);

/* Does a file of bad/ hold these characters?  The header of a damaged span may be unreadable, its id still tells whose body it names.
 * Negative when one could not be read. */
int spool_bad_names(const struct spool_dirs *dirs, const struct spool_id *id);

#endif
