/* ident_sockets.h - a worker's side of ident: gets connections to the ident servers of clients from the master (ident_broker.h).
 * Owns: descriptors that arrive for a ticket which nobody waits for any more: closes them.
 * Bounds: IDENT_SOCKETS_MAX tickets out at once.  A ticket that the master never answers is the asker's to cancel (ident.h has a deadline).
 */
#ifndef POSTERN_IDENT_SOCKETS_H
#define POSTERN_IDENT_SOCKETS_H

#include "ident.h"
#include "ipc.h"
#include "role_messages.h"

#define IDENT_SOCKETS_MAX 256u

struct ident_sockets;

/* master: borrowed until destroy. */
int ident_sockets_create(struct ipc_channel *master, struct ident_sockets **out);

/* connection_fd: of the client in question, borrowed for the call.  Ticket and callback as in ident.h. */
uint64_t ident_sockets_ask(struct ident_sockets *sockets, int connection_fd, uint32_t listen_index, ident_opened_fn opened, void *ctx);
void ident_sockets_cancel(struct ident_sockets *sockets, uint64_t ticket);

/* What the master answered.  fd is owned from here on; -1 where the message carried none. */
void ident_sockets_take(struct ident_sockets *sockets, const struct role_ident *answer, int fd);

/* Tickets that are out are forgotten without a call.  Accepts NULL, clears the pointer. */
void ident_sockets_destroy(struct ident_sockets **sockets);

#endif
