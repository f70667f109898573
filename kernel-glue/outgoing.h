/* outgoing.h - sockets for our own connections to mail servers.
 * They carry the mark CONF_OWN_MARK, which the divert rules skip (the loop guard); a transparent one may speak from an address that
 * is not this host's (identity = spoof).  Needs: CAP_NET_ADMIN; the descriptor may then be passed to a process without it.
 */
#ifndef POSTERN_OUTGOING_H
#define POSTERN_OUTGOING_H

#include <stdbool.h>

#include "addr.h"
#include "err.h"

/* Not blocking, close-on-exec, not bound, not connected.  ERR_UNSUPPORTED: no transparent sockets in this kernel. */
int outgoing_open(enum addr_family family, bool is_transparent, int *fd_out, struct reason *why);

#endif
