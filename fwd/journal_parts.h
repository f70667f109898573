/* journal_parts.h - what journal.c (segments, notices, reading) and journal_jobs.c (opening, acknowledging, recycling, looking
 * around), journal_bad.c (what is no message) share.  Only for them.
 */
#ifndef POSTERN_JOURNAL_PARTS_H
#define POSTERN_JOURNAL_PARTS_H

#include "journal.h"

#define JOURNAL_FLUSH_MAX 32 /* segments in one job */

struct journal {
	struct loop *loop;
	const struct spool_dirs *dirs;
	struct journal_events events;
	struct segment *segments;
	size_t segment_count;
	struct loop_task scan_task;
	struct loop_timer *flush_timer;
	unsigned jobs;          /* under way, of every kind */
	bool is_flushing, is_polling;
	bool is_dirty;          /* something is noted that no job has taken */
	bool is_complaining;    /* acknowledgements can't be written: said once */
	struct segment *flight[JOURNAL_FLUSH_MAX];
	size_t flight_count;
};

/* While the opening job runs, descriptors and reader are the job's. */
static inline bool segment_is_open(const struct segment *s)
{
	return !s->is_opening && s->fd >= 0;
}

/* So far it may be read, but never what was noted as void: that is mail that was refused. */
static inline void segment_set_committed(struct segment *s, uint64_t offset)
{
	s->committed = offset < s->known.void_offset ? offset : s->known.void_offset;
}

/* journal.c */
struct segment *journal_find(struct journal *j, const char *name);
struct segment *journal_new_segment(struct journal *j, const struct spool_segment_name *name);
void journal_drop_segment(struct segment *segment);
void journal_scan_soon(struct journal *j);

/* journal_jobs.c */
int segment_open_now(struct segment *segment, uint64_t *size_out, bool *is_sealed_out); /* blocks */
void segment_open_soon(struct segment *segment);
void segment_not_opened(struct segment *segment, int err); /* says so, once; drops it if it is gone */
void segment_recycle_if_done(struct segment *segment);
void journal_flush_soon(struct journal *j);
void journal_flush_due(void *ctx); /* the timer's */

/* journal_bad.c */
void segment_save_broken(struct segment *segment, const struct spool_entry *entry, bool is_torn);
void segment_save_soon(struct segment *segment); /* again what could not be saved */

#endif
