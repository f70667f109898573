/* message_copy.h - what a job needs to read a message by, while the message itself goes on: delivered, moved, settled.
 * Owns: its outcomes, and a pin on the segment.  Borrows: the destination; it is in no list and no table.
 */
#ifndef POSTERN_MESSAGE_COPY_H
#define POSTERN_MESSAGE_COPY_H

#include "fwd_message.h"

/* Into *copy, whatever is in it.  ERR_NOMEM. */
int message_copy_make(struct fwd_message *copy, const struct fwd_message *m);

/* On the loop's thread, when nobody reads by it any more. */
void message_copy_clear(struct fwd_message *copy);

#endif
