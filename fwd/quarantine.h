/* quarantine.h - mail that a filter wants held (HOLD in its envelope) goes to hold/ before anything is tried with it, and stays there until an
 * administrator releases it.  A message of the journal was never released: one that was has a file of its own.
 */
#ifndef POSTERN_QUARANTINE_H
#define POSTERN_QUARANTINE_H

#include "envelope.h"
#include "forwarder.h"

/* Must this message go to hold/ instead of out? */
bool quarantine_wants(const struct fwd_message *message, const struct spool_envelope *envelope);

/* Begin; the message is in line.  What can't be written is tried again after retry-min, and meanwhile not sent. */
void quarantine_hold(struct forwarder *f, struct fwd_message *message, const struct spool_envelope *envelope);

#endif
