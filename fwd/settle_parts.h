/* settle_parts.h - what settle.c (decides, on the loop) and settle_disk.c (writes, in jobs) share.  Only for them.
 */
#ifndef POSTERN_SETTLE_PARTS_H
#define POSTERN_SETTLE_PARTS_H

#include "report.h"
#include "settle.h"

#define SETTLE_JOBS_MAX 2   /* of libuv's four threads */
#define SETTLE_BATCH_MAX 16 /* items in one job */

enum settle_kind { SETTLE_ITEM_ATTEMPT, SETTLE_ITEM_DELETE, SETTLE_ITEM_HOLD, SETTLE_ITEM_RELEASE };

/* One message on its way to disk.  While it is in a job, the loop touches nothing of it.  Doing it again after a failure does
 * no harm. */
struct settle_item {
	enum settle_kind kind;
	struct settle_item *next;
	const struct spool_dirs *dirs;
	struct fwd_message *message;
	struct attempt *attempt;     /* NULL: a wish about a file in queue/ or hold/ */
	bool keep;                   /* somebody is still to do */
	bool was_held;               /* a wish: its file is in hold/ */
	bool is_quarantine;          /* a filter's, not an administrator's */
	struct spool_status *status; /* in the attempt's arena, or single */
	size_t status_count;
	struct spool_status single;
	settle_done_fn done;         /* of a wish */
	void *done_ctx;
	int64_t now;
	struct report_set reports;   /* none for a wish */
	int err;
	const char *err_where;
};

/* Blocks. */
void settle_item_write(struct settle_item *item);

#endif
