/* outgoing.h - sockets for our own connections: to mail servers, and to the ident servers of clients.
 * They carry the mark CONF_OWN_MARK, which the divert rules skip (the loop guard); a transparent one may speak from an address that
 * is not this host's (identity = spoof, ident).  Needs: CAP_NET_ADMIN; the descriptor may then be passed to a process without it.
 */
#ifndef POSTERN_OUTGOING_H
#define POSTERN_OUTGOING_H

#include <stdbool.h>

#include "addr.h"
#include "err.h"

/* Not blocking, close-on-exec, not bound, not connected.  ERR_UNSUPPORTED: no transparent sockets in this kernel. */
int outgoing_open(enum addr_family family, bool is_transparent, int *fd_out, struct reason *why);

/* The same, bound to the address from (is_transparent: which need not be this host's; the port is chosen by the kernel), and its connection
 * begun, not waited for.  It hears nobody but `to`, for as long as the descriptor lives (SO_LOCK_FILTER).  ifindex: the interface that all its packets take, both ways; 0: whichever the routes say. */
int outgoing_connect_from(const struct addr *from, bool is_transparent, unsigned ifindex, const struct endpoint *to, int *fd_out,
			  struct reason *why);

#endif
