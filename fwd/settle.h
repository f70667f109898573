/* settle.h - makes the outcome of an attempt durable: acknowledgements, files in queue/, reports to the sender.
 * Order: a report is durable before its recipients count as failed, a file in queue/ before the journal's record counts as queued.
 * So a crash in between repeats, and never loses.  Disk work runs in loop jobs, several messages a job.
 * Owns: the attempts handed in.
 */
#ifndef POSTERN_SETTLE_H
#define POSTERN_SETTLE_H

#include <stdbool.h>
#include <stdint.h>

#include "attempt.h"
#include "forwarder.h"

struct settle;

int settle_create(struct forwarder *f, struct settle **out);
void settle_destroy(struct settle **settle);

/* Every recipient has its outcome.  The message becomes settled (and is gone), or waits.  Takes the attempt. */
void settle_attempt(struct settle *settle, struct attempt **attempt);

/* An administrator's wish, or (SETTLE_QUARANTINE: hold) a filter's: the message leaves its place.  0: done is called when that is on disk, or failed; 1: it is done, and
 * nobody is called; ERR_BUSY: it is being delivered; ERR_INVAL: not possible in its state; or why it can't be read. */
enum settle_wish { SETTLE_DELETE, SETTLE_HOLD, SETTLE_RELEASE, SETTLE_QUARANTINE };
typedef void (*settle_done_fn)(void *ctx, int err);
int settle_wish(struct settle *settle, struct fwd_message *message, enum settle_wish wish, settle_done_fn done, void *ctx);

bool settle_is_quiet(const struct settle *settle);

#endif
