/* feed.h - the listening end of fwd.sock: session workers say how far their segments are committed (committed_notice.h).
 * A worker may be taken over: anything but a well-formed notice about a segment of its own (notice.h) closes its connection.  Nothing
 * is ever answered.
 * Owns: the listening socket and the connections.
 */
#ifndef POSTERN_FEED_H
#define POSTERN_FEED_H

#include "journal.h"
#include "loop.h"

struct feed;

int feed_create(struct loop *loop, int listen_fd, struct journal *journal, struct feed **out);
void feed_destroy(struct feed **feed);

#endif
