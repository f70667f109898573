/* feed.h - the listening end of fwd.sock: session workers say how far their segments are committed (committed_notice.h).
 * A worker may be taken over: anything but a well-formed notice about a segment of its own (notice.h) closes its connection.  What it
 * may ask about recipients is answered (verify.h), so many questions at a time.
 * Owns: the listening socket and the connections.
 */
#ifndef POSTERN_FEED_H
#define POSTERN_FEED_H

#include "journal.h"
#include "loop.h"
#include "verify.h"

struct feed;

int feed_create(struct loop *loop, int listen_fd, struct journal *journal, struct verify *verify, struct feed **out);
/* For verify_create. */
void feed_answer(void *asker, const struct verify_answer *answer);
void feed_destroy(struct feed **feed);

#endif
