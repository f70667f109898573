/* queue_file.h - a message that waits: one file in queue/ or hold/, named by its id: its record, then status lines.
 * Nothing is ever rewritten, so an administrator can read with `cat` what happened so far.
 * Promise: after create returned 0 the file survives a power cut; only then may the journal's record be acknowledged as queued.
 * A large body stays in large/ID: the record names it, nothing is copied.
 * Blocks: use in loop jobs (load is cheap enough for listings).  One writer: posternfwd.
 */
#ifndef POSTERN_QUEUE_FILE_H
#define POSTERN_QUEUE_FILE_H

#include <stdbool.h>
#include <stdint.h>

#include "ack.h"
#include "arena.h"
#include "envelope.h"
#include "reader.h"
#include "record.h"
#include "spool_dir.h"
#include "status_line.h"

enum spool_place { SPOOL_IN_QUEUE, SPOOL_IN_HOLD };

/* ---- write */

/* Where a new waiting message comes from: a record read from a segment (envelope: its lines; body: where it is), or one of our own (a
 * bounce: record.id set, SPOOL_RECORD_LARGE not set, crc and lengths are computed; body_bytes instead of body). */
struct spool_queue_source {
	struct spool_record record;
	struct span envelope;
	const struct spool_body_source *body; /* NULL: body_bytes; not read when the record is large */
	struct span body_bytes;               /* wire form */
	const struct spool_status *status;    /* the first lines */
	size_t status_count;
};

/* Write, sync, give it its name, sync the directory.  ERR_BUSY: that id is there already (a crash came between this and the acknowledgement: treat as
 * done); ERR_NOSPACE, ERR_IO; ERR_CORRUPT: the body does not match the record's CRC. */
int spool_queue_create(const struct spool_dirs *dirs, enum spool_place place, const struct spool_queue_source *source);

/* Append lines and sync. */
int spool_queue_append(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id, const struct spool_status *status,
                       size_t count);

/* Between queue/ and hold/.  After a failure it may be in either: spool_queue_is_in tells. */
int spool_queue_move(const struct spool_dirs *dirs, enum spool_place from, enum spool_place to, const struct spool_id *id);

bool spool_queue_is_in(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id);

/* Remove the file, and its large body if has_large.  Not synced: a power cut may bring the file back (so append the last outcome first:
 * it comes back settled, and recovery removes it). */
int spool_queue_remove(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id, bool has_large);

/* ---- read */

/* Does it stand in queue/ or hold/? */
bool spool_queue_has(const struct spool_dirs *dirs, const struct spool_id *id);

struct spool_recipient_state {
	enum spool_outcome outcome; /* NONE or DEFERRED = still to do */
	struct span text;           /* the last reply or error */
	int64_t time;
};

struct spool_queue_item {
	struct spool_id id;
	struct spool_record record;
	struct spool_envelope envelope;
	struct spool_recipient_state *recipients; /* as many as the envelope has */
	uint32_t pending;       /* recipients still to do */
	uint32_t attempts;
	int64_t last_time;      /* of the last attempt, 0 = none */
	int64_t next_time;
	struct span last_note;
	bool is_warned;         /* a "warned" line is there */
	struct span last_text;  /* why it waits: the last reply or error that was not final */
	uint32_t damaged_lines;
	uint64_t file_bytes;
};

enum { SPOOL_LOAD_CHECK_BODY = 1 };

/* All of it lives in the arena.  fd_out (may be NULL) gets a descriptor for the body.  CHECK_BODY: where recipients are still to do.
 * ERR_NOTFOUND: there is no such file; ERR_CORRUPT, also when its large body is missing; ERR_IO, ERR_NOMEM. */
int spool_queue_load(const struct spool_dirs *dirs, enum spool_place place, const struct spool_id *id, unsigned flags, struct arena *arena,
                     struct spool_queue_item *out, int *fd_out);

/* Every id in the directory, in no order; temporary files and foreign names are skipped.  each returns 0 to go on. */
typedef int (*spool_queue_each_fn)(void *ctx, const struct spool_id *id);
int spool_queue_each(const struct spool_dirs *dirs, enum spool_place place, spool_queue_each_fn each, void *ctx);

#endif
