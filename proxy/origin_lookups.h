/* origin_lookups.h - a worker's side of original destinations in a conntrack zone: connections about which the master was asked
 * (origin_broker.h).
 * Its table is one of master_requests.h, by which it is answered (struct role_origin) and counted.
 * Promise: each ends with one call of done, at ORIGIN_LOOKUPS_DEADLINE_MS at the latest, unless dropped.
 * Owns: the descriptors, until they are handed back.  Calls back: on the loop, never before origin_lookups_add has returned.
 * Limits: ORIGIN_LOOKUPS_MAX at once.
 */
#ifndef POSTERN_ORIGIN_LOOKUPS_H
#define POSTERN_ORIGIN_LOOKUPS_H

#include "master_requests.h"
#include "origdst.h"

#define ORIGIN_LOOKUPS_MAX 1024u
#define ORIGIN_LOOKUPS_DEADLINE_MS 5000u

/* fd is the receiver's.  err as origdst_find has it, ERR_TIMEOUT; with 0 where->original is the answer. */
typedef void (*origin_fn)(void *ctx, int fd, int err, const struct origdst *where, const char *why);

/* master: borrowed until destroy. */
int origin_lookups_create(struct loop *loop, struct ipc_channel *master, struct master_requests **out);

/* On failure fd stays the caller's.  ERR_BUSY: too many already, or the master is behind. */
int origin_lookups_add(struct master_requests *lookups, int fd, uint32_t listen_index, const struct origdst *where, origin_fn done, void *ctx);

/* Close those that ctx has asked about.  Every ctx does so before master_requests_destroy, which knows no descriptors. */
void origin_lookups_drop(struct master_requests *lookups, const void *ctx);

#endif
