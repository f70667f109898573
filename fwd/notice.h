/* notice.h - what comes over one connection of fwd.sock (committed_notice.h), checked: first whose it is, then how far that worker's
 * segments are committed.  A worker that is taken over may say anything, but nothing about a sibling's segments.
 * Pure.
 */
#ifndef POSTERN_NOTICE_H
#define POSTERN_NOTICE_H

#include <stdbool.h>
#include <stdint.h>

#include "committed_notice.h"
#include "err.h"
#include "span.h"

struct notice_peer {
	bool is_known;
	uint32_t worker;
};

/* One packet.  STEP_DONE: *out is a notice about a segment of this worker; STEP_WAIT: taken, there is nothing in it for the journal;
 * STEP_FAIL: no packet that a worker of ours sends, close the connection. */
enum step notice_check(struct notice_peer *peer, uint32_t type, struct span payload, size_t fd_count, struct spool_committed *out);

#endif
