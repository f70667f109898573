/* heartbeat.h - the dead-man switch: for each interface an element of the set alive that has to be renewed, and one of the set closed where
 * nothing may pass while it is not.  The kernel acts by itself: the divert rules match only while the element is there.
 * postern-divert declares the sets and writes the rules (`--fail`).
 */
#ifndef POSTERN_HEARTBEAT_H
#define POSTERN_HEARTBEAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "nft_batch.h"

enum heartbeat_fail { HEARTBEAT_LEAVE, HEARTBEAT_OPEN, HEARTBEAT_CLOSED };

#define HEARTBEAT_PORT 25u

struct heartbeat_iface {
	char name[16];
	bool is_alive;
	enum heartbeat_fail fail; /* LEAVE: as it is */
};

/* Into a transaction that has begun: renewed or taken away, and closed as fail says. */
void heartbeat_write(struct nft_batch *batch, const struct heartbeat_iface *ifaces, size_t count, uint64_t timeout_ms);

#endif
