/* batch.h - the blocking half of a group commit: one write, one fdatasync, and what is done when they fail.  Only for spool/.
 * Runs on a job thread; touches nothing but the batch, its items and the descriptor.
 */
#ifndef POSTERN_BATCH_H
#define POSTERN_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "record.h"
#include "span.h"

/* One record to be.  The caller fills in id, flags and, for a large body, its length and CRC; the batch does the rest. */
struct spool_batch_item {
	struct spool_record record;
	struct span envelope;
	struct span body; /* empty for a large one */
	unsigned char header[SPOOL_RECORD_HEADER_LEN];
	struct spool_batch_item *next;
};

struct spool_batch {
	int fd;
	uint64_t start; /* size of the segment before */
	struct spool_batch_item *items;

	/* The outcome. */
	int err;            /* 0: all durable.  ERR_NOSPACE, ERR_IO: none */
	uint64_t end;       /* size of the segment now, as far as readers may believe it */
	bool is_segment_bad; /* write to it no more; behind end there may be refused bytes */
	uint64_t sync_us;
};

void spool_batch_run(struct spool_batch *batch);

/* The clock of sync_us: monotonic. */
uint64_t spool_batch_now_us(void);

#endif
