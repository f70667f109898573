/* arrivals.h - connections from load balancers whose PROXY header (lib/proxy_header.h) has not come yet.
 * Promise: each ends with one outcome, at ARRIVALS_DEADLINE_MS at the latest; no byte behind the header is taken off the socket.
 * Owns: the descriptors, until they are handed back.  Calls back: done on the loop, never before arrivals_add has returned.
 * Limits: none by itself; the caller counts (arrivals_count) and says no.
 */
#ifndef POSTERN_ARRIVALS_H
#define POSTERN_ARRIVALS_H

#include <stddef.h>

#include "loop.h"
#include "origdst.h"

/* A balancer sends it at once; the first segment may be lost twice (the protocol's text asks for 3 s at least). */
#define ARRIVALS_DEADLINE_MS 5000u

enum arrival {
	ARRIVAL_RELAYED, /* where has the client and the destination that the header names */
	ARRIVAL_OWN,     /* the balancer speaks for itself: where is as it was */
	ARRIVAL_NOTHING, /* it has closed without a byte: it looked whether we are there */
	ARRIVAL_BAD,     /* no header, or not in time; why says what */
};

struct arrivals;

/* fd is the receiver's.  balancer: its end of the connection. */
typedef void (*arrived_fn)(void *ctx, int fd, enum arrival what, const struct origdst *where, const struct endpoint *balancer, const char *why);

int arrivals_create(struct loop *loop, arrived_fn done, void *ctx, struct arrivals **out);

/* Closes all, without a word. */
void arrivals_destroy(struct arrivals **arrivals);

/* On failure fd stays the caller's. */
int arrivals_add(struct arrivals *arrivals, int fd, const struct origdst *where);
size_t arrivals_count(const struct arrivals *arrivals);

#endif
