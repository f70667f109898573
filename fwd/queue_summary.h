/* queue_summary.h - one line about one waiting message: what listings show and `postern queue show` begins with.
 */
#ifndef POSTERN_QUEUE_SUMMARY_H
#define POSTERN_QUEUE_SUMMARY_H

#include "attempt.h"
#include "forwarder.h"
#include "kv.h"

/* a: as it was read; NULL: not read, then sender, recipients, client and words of the server are not in the line. */
void queue_summary_put(struct kv *kv, const struct forwarder *f, const struct fwd_message *m, const struct attempt *a);

/* "<path>" */
void queue_summary_put_path(struct kv *kv, const char *key, struct span path);

#endif
