/* listener.h - listening sockets for diverted (and direct) port 25 traffic.
 * One group a (interface, family): `members` sockets with SO_REUSEPORT, one for each session worker.  A classic BPF program
 * picks the member by the client's address (IPv6: by its /64), so all connections of one client meet the same worker.  Behind a balancer
 * nothing in a packet tells the client: there they are spread over all members, and what a worker knows of a client is a part of it.
 * Owns: nothing; the caller closes the descriptors.  Needs: root (SO_BINDTODEVICE, IP_TRANSPARENT).
 */
#ifndef POSTERN_LISTENER_H
#define POSTERN_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "err.h"

struct listener_spec {
	const char *iface;      /* NULL: every interface */
	struct endpoint local;  /* address (any: 0.0.0.0 or ::) and port; its family is the group's */
	bool is_transparent;    /* TPROXY: the socket takes connections for foreign addresses */
	bool is_behind_balancer; /* many clients come from few addresses: their ports count, too, when the member is picked */
	int backlog;
};

#define LISTENER_MEMBERS_MAX 64

/* Open the whole group.  ERR_BUSY: the port is taken; ERR_NOTFOUND: no such interface; ERR_UNSUPPORTED: the kernel lacks TPROXY or
 * the family; ERR_PERM: not root.  The reason names what to do. */
int listener_open_group(const struct listener_spec *spec, size_t members, int fds_out[LISTENER_MEMBERS_MAX], struct reason *why);

#endif
