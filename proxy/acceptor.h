/* acceptor.h - takes connections from one listening socket and turns them into sessions, or refuses them with a 421.
 * Refused: direct hits on a diverting listener, loops to ourselves, too many sessions, in all or of one client, too high a load, connections whose original destination the
 * kernel does not tell.  Each is counted and logged.
 */
#ifndef POSTERN_ACCEPTOR_H
#define POSTERN_ACCEPTOR_H

#include "session_host.h"

struct acceptor;

/* Owns fd once it has succeeded; until then it stays the caller's. */
int acceptor_create(struct session_host *host, int fd, uint32_t listen_index, struct acceptor **out);
void acceptor_destroy(struct acceptor **acceptor);

#endif
