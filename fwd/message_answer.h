/* message_answer.h - answers to `queue show` and `queue cat`: one message, its recipients or its text.
 * Read from disk by jobs, and sent as the asker reads: a disk that hangs holds up nobody but the asker.
 */
#ifndef POSTERN_MESSAGE_ANSWER_H
#define POSTERN_MESSAGE_ANSWER_H

#include "control.h"
#include "forwarder.h"

/* One line `what=message`, then one `what=recipient` for each. */
void message_answer_show(struct forwarder *f, struct control_client *client, const struct fwd_message *m);

/* Its text, native line ends. */
void message_answer_cat(struct forwarder *f, struct control_client *client, const struct fwd_message *m);

#endif
