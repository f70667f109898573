/* ack.h - what has become of the records of one segment: the file ack/SEGMENT.ack, written by posternfwd alone.
 * Fixed entries of 24 bytes, append-only, each with its CRC: a torn or damaged one is ignored, which can only mean that something is
 * delivered again, never that it is lost.
 * Two halves: spool_ack_log appends (batched: many adds, one write and one sync); spool_ack_set is what a file said, read at recovery.
 */
#ifndef POSTERN_ACK_H
#define POSTERN_ACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "buf.h"
#include "spool_segment.h"

#define SPOOL_ACK_LEN 24u
#define SPOOL_ACK_ALL UINT32_MAX /* every recipient of the record */
#define SPOOL_ACK_FILE_CAP (UINT64_C(64) << 20)

enum spool_outcome {
	SPOOL_OUTCOME_NONE = 0,
	SPOOL_OUTCOME_DELIVERED = 1,
	SPOOL_OUTCOME_FAILED = 2,   /* for good; a bounce was written or is not due */
	SPOOL_OUTCOME_QUEUED = 3,   /* moved to queue/ID or hold/ID, which is durable */
	SPOOL_OUTCOME_DELETED = 4,  /* by the administrator */
	SPOOL_OUTCOME_BAD = 5,      /* saved in bad/ */
	SPOOL_OUTCOME_VOID = 6,     /* recipient ALL: this offset and everything behind it was never accepted (a failed sync) */
	SPOOL_OUTCOME_DEFERRED = 7  /* not settled; used in status lines only */
};

/* "delivered" and so on; "unknown" for numbers of later versions. */
const char *spool_outcome_name(enum spool_outcome outcome);
int spool_outcome_parse(struct span name, enum spool_outcome *out);

/* ---- write */

struct spool_ack_log {
	int fd;
	struct buf pending; /* added, not yet taken */
	struct buf flight;  /* being written */
};

/* Open or create ack/SEGMENT.ack; a torn last entry is filled up so that the next one is aligned.  Blocks, syncs the directory. */
int spool_ack_open(const struct spool_dirs *dirs, const char *segment, struct spool_ack_log *out);
void spool_ack_close(struct spool_ack_log *log);

/* Note one.  Only memory; ERR_NOMEM. */
int spool_ack_add(struct spool_ack_log *log, uint64_t record_offset, uint32_t recipient, enum spool_outcome outcome);

static inline bool spool_ack_has_pending(const struct spool_ack_log *log)
{
	return log->pending.len > 0;
}

/* Three steps, so that the middle one can run in a job while more is added: begin (on the loop; false = nothing to do or one is under
 * way), write (blocks: write and fdatasync; touches only fd and flight), end (on the loop; err of write: on failure the entries go back to the
 * front of pending and are appended once more: a second sync of the first ones would prove nothing). */
bool spool_ack_begin(struct spool_ack_log *log);
int spool_ack_write(struct spool_ack_log *log);
void spool_ack_end(struct spool_ack_log *log, int err);

/* ---- read */

struct spool_ack_entry {
	uint64_t record_offset;
	uint32_t recipient;
	uint16_t outcome;
};

struct spool_ack_set {
	struct spool_ack_entry *entries; /* sorted by offset, then recipient */
	size_t count;
	size_t damaged;                  /* entries that failed their CRC */
	uint64_t void_offset;            /* from here on nothing was accepted; UINT64_MAX = nothing void */
};

/* A missing file is an empty set. */
int spool_ack_load(const struct spool_dirs *dirs, const char *segment, struct spool_ack_set *out);
void spool_ack_set_free(struct spool_ack_set *set);

/* Pure: the entries of a file's bytes, damaged ones counted. */
int spool_ack_decode(struct span bytes, struct spool_ack_set *out);

/* The outcome of one recipient; NONE when nothing is noted. */
enum spool_outcome spool_ack_get(const struct spool_ack_set *set, uint64_t record_offset, uint32_t recipient);

#endif
