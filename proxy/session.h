/* session.h - the SMTP life of one accepted connection (RFC 5321, 2920, 1870, 6152, 2034, 3461).
 * Promise: replies leave in the order of their commands; a command that waits (for a fact, a delay, the disk) holds up its own session
 * only; 250 at the end of data means that the spool has synced the message.
 * Owns: the descriptor and everything it allocates; ends by itself.
 */
#ifndef POSTERN_SESSION_H
#define POSTERN_SESSION_H

#include "client_table.h"
#include "origdst.h"
#include "session_host.h"

/* To be called on a zeroed host before the first session. */
void session_host_init(struct session_host *host);

/* Greets the client.  balancer: who is at the other end of the connection in the place of the client, or NULL.  client: its entry in
 * host->clients, or NULL.  On failure the descriptor and the entry stay the caller's. */
int session_create(struct session_host *host, int fd, uint32_t listen_index, const struct origdst *where, const struct endpoint *balancer,
		   struct client *client);

/* What the configuration in force allows each client. */
struct client_limits session_client_limits(const struct session_host *host);

/* The worker is to end: sessions without a transaction get a 421 now, the others when theirs is done. */
void session_drain_all(struct session_host *host);

/* At the very end: close what is left, without a word. */
void session_destroy_all(struct session_host *host);

#endif
