/* milter_sockets.h - a worker's side of milters: gets connections to filters from the master (milter_broker.h).
 * Its table is one of master_requests.h, by which it is cancelled, answered (struct role_milter) and destroyed.
 * Bounds: MILTER_SOCKETS_MAX at once; one that the master never answers is the asker's to cancel.
 */
#ifndef POSTERN_MILTER_SOCKETS_H
#define POSTERN_MILTER_SOCKETS_H

#include "master_requests.h"
#include "milter_spec.h"

#define MILTER_SOCKETS_MAX 256u

/* err 0: fd is owned from here on. */
typedef void (*milter_opened_fn)(void *ctx, int err, int fd);

/* master: borrowed until destroy. */
int milter_sockets_create(struct loop *loop, struct ipc_channel *master, struct master_requests **out);

/* ERR_AGAIN: not now, there are too many.  Else opened is called, never before this has returned. */
int milter_sockets_ask(struct master_requests *sockets, size_t index, const struct milter_spec *spec, milter_opened_fn opened, void *ctx,
		       uint64_t *ticket_out);

#endif
