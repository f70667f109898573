/* ident_sockets.h - a worker's side of ident: gets connections to the ident servers of clients from the master (ident_broker.h).
 * Its table is one of master_requests.h, by which it is cancelled, answered (struct role_ident) and destroyed.
 * Bounds: IDENT_SOCKETS_MAX at once.  One that the master never answers is the asker's to cancel (ident.h has a deadline).
 */
#ifndef POSTERN_IDENT_SOCKETS_H
#define POSTERN_IDENT_SOCKETS_H

#include "ident.h"
#include "master_requests.h"

#define IDENT_SOCKETS_MAX 256u

/* master: borrowed until destroy. */
int ident_sockets_create(struct loop *loop, struct ipc_channel *master, struct master_requests **out);

/* connection_fd: of the client in question, borrowed for the call.  Ticket and callback as in ident.h; 0: not now. */
uint64_t ident_sockets_ask(struct master_requests *sockets, int connection_fd, uint32_t listen_index, ident_opened_fn opened, void *ctx);

#endif
