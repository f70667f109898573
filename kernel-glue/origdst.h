/* origdst.h - where did the client of an accepted connection want to go?
 * REDIRECT: SO_ORIGINAL_DST, asked on the level of the peer's real family.  TPROXY: the socket's own name, never SO_ORIGINAL_DST.
 */
#ifndef POSTERN_ORIGDST_H
#define POSTERN_ORIGDST_H

#include <stdint.h>

#include "addr.h"
#include "conf.h"
#include "err.h"

struct origdst {
	struct endpoint client;
	struct endpoint original; /* direct mode: our end of the socket */
	uint32_t mark;            /* the SYN's without our own bit, where net.ipv4.tcp_fwmark_accept is 1; 0 otherwise */
};

/* Fills *out also when the answer is a refusal.  0: a connection to serve.  ERR_REFUSED: nobody diverted it: a direct hit on the
 * listening port.  ERR_EOF: the client has gone again.  ERR_UNSUPPORTED, ERR_IO: the kernel doesn't say. */
int origdst_find(int fd, const struct endpoint *client, enum listen_mode mode, uint16_t listen_port, struct origdst *out, struct reason *why);

#endif
