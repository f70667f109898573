/* milter_sockets.h - a worker's side of milters: gets connections to filters from the master (milter_broker.h).
 * Owns: descriptors that arrive for a ticket which nobody waits for any more: closes them.
 * Bounds: MILTER_SOCKETS_MAX tickets out at once; one that the master never answers is the asker's to cancel.
 */
#ifndef POSTERN_MILTER_SOCKETS_H
#define POSTERN_MILTER_SOCKETS_H

#include "ipc.h"
#include "milter_spec.h"
#include "role_messages.h"

#define MILTER_SOCKETS_MAX 256u

struct milter_sockets;

/* err 0: fd is owned from here on. */
typedef void (*milter_opened_fn)(void *ctx, int err, int fd);

/* master: borrowed until destroy. */
int milter_sockets_create(struct ipc_channel *master, struct milter_sockets **out);

/* ERR_AGAIN: not now, there are too many.  Else opened is called, never before this has returned. */
int milter_sockets_ask(struct milter_sockets *sockets, size_t index, const struct milter_spec *spec, milter_opened_fn opened, void *ctx,
		       uint64_t *ticket_out);
void milter_sockets_cancel(struct milter_sockets *sockets, uint64_t ticket);

/* What the master answered.  fd is owned from here on; -1 where the message carried none. */
void milter_sockets_take(struct milter_sockets *sockets, const struct role_milter *answer, int fd);

/* Tickets that are out are forgotten without a call.  Accepts NULL, clears the pointer. */
void milter_sockets_destroy(struct milter_sockets **sockets);

#endif
