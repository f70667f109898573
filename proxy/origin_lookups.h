/* origin_lookups.h - a worker's side of original destinations in a conntrack zone: connections about which the master was asked
 * (origin_broker.h).
 * Promise: each ends with one call of done, at ORIGIN_LOOKUPS_DEADLINE_MS at the latest.
 * Owns: the descriptors, until they are handed back.  Calls back: on the loop, never before origin_lookups_add has returned.
 * Limits: ORIGIN_LOOKUPS_MAX at once.
 */
#ifndef POSTERN_ORIGIN_LOOKUPS_H
#define POSTERN_ORIGIN_LOOKUPS_H

#include <stddef.h>

#include "ipc.h"
#include "loop.h"
#include "origdst.h"
#include "role_messages.h"

#define ORIGIN_LOOKUPS_MAX 1024u
#define ORIGIN_LOOKUPS_DEADLINE_MS 5000u

struct origin_lookups;

/* fd is the receiver's.  err as origdst_find has it, ERR_TIMEOUT; with 0 where->original is the answer. */
typedef void (*origin_fn)(void *ctx, int fd, int err, const struct origdst *where, const char *why);

/* master: borrowed until destroy. */
int origin_lookups_create(struct loop *loop, struct ipc_channel *master, struct origin_lookups **out);

/* Closes all, without a word. */
void origin_lookups_destroy(struct origin_lookups **lookups);

/* On failure fd stays the caller's.  ERR_BUSY: too many already, or the master is behind. */
int origin_lookups_add(struct origin_lookups *lookups, int fd, uint32_t listen_index, const struct origdst *where, origin_fn done, void *ctx);

/* Close those that ctx has asked about. */
void origin_lookups_drop(struct origin_lookups *lookups, const void *ctx);

/* What the master answered. */
void origin_lookups_take(struct origin_lookups *lookups, const struct role_origin *answer);

size_t origin_lookups_count(const struct origin_lookups *lookups);

#endif
