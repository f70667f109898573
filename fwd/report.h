/* report.h - the reports to the sender (dsn.h) that one attempt calls for: which ones, to disk, and on their way.
 * Planned on the loop, written in a job, sent on the loop once they are durable.  `bounce` says whose senders get any: a forged sender
 * must not be sent our reports.
 * Promise: a recipient that failed is in a report, or in a line of the log that says what no report says.
 * Owns: nothing.  Borrows: the attempt, which every call about one set gets anew.
 */
#ifndef POSTERN_REPORT_H
#define POSTERN_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "attempt.h"
#include "dsn.h"
#include "forwarder.h"

struct report {
	bool is_due, is_written;
	struct spool_id id;
};

/* At most one of each kind for an attempt, about all recipients that it concerns. */
struct report_set {
	struct report kinds[DSN_KINDS];
	int64_t now, expires;
	char hostname[CONF_NAME_CAP];
};

/* Would anybody want to hear that all was delivered?  If not, an attempt without a failure needs no plan. */
bool report_is_success_awaited(const struct attempt *a);

/* Every recipient has its outcome.  is_warning: time to tell of the delay.  Logs and counts what is not sent. */
void report_plan(struct forwarder *f, const struct attempt *a, bool is_warning, int64_t now, struct report_set *out);

/* Blocks.  Those that are due and not written yet become files in queue/; again after a failure does no harm. */
int report_write(struct report_set *set, const struct spool_dirs *dirs, const struct attempt *a);

/* They are durable: into the scheduler's hands. */
void report_send(struct forwarder *f, const struct report_set *set, const struct attempt *a);

#endif
