/* queue_answer.h - answers to `queue list` and to `queue hold|release|retry|delete`, for named messages or all that a filter takes.
 * A listing is sent as the asker reads, with a line `what=progress` now and then where nothing is to be listed for long.  A change is answered when it is on disk, with one line
 * `what=changed matched=N done=N busy=N failed=N`, and on a long way there with lines `what=progress done=N`; at most
 * CHANGES_AT_ONCE of it are under way, so deliveries go on beside it.
 * While the scan at the start goes on, both do what they can and end with a text that says so (changes: ERR_AGAIN).
 */
#ifndef POSTERN_QUEUE_ANSWER_H
#define POSTERN_QUEUE_ANSWER_H

#include "control.h"
#include "forwarder.h"
#include "queue_filter.h"

/* is_brief: only what is in memory. */
void queue_answer_list(struct forwarder *f, struct control_client *client, const struct queue_filter *filter, bool is_brief);

/* verb: one that queue_answer_is_change knows. */
bool queue_answer_is_change(struct span verb);
void queue_answer_change_some(struct forwarder *f, struct control_client *client, struct span verb, const struct queue_filter *filter);
void queue_answer_change_ids(struct forwarder *f, struct control_client *client, struct span verb, const struct span *ids, size_t count);

#endif
