/* raw_tcp.h - sends single TCP segments in the name of any address: for clients whose SYN the kernel is not to answer.
 * They carry CONF_OWN_MARK, which the divert rules skip, and leave no trace in the connection tracking (a reset, or the answer to a SYN
 * that was never let in, begins no connection).
 * Owns: two sockets, which the caller keeps for the life of the process.  Needs: CAP_NET_RAW and CAP_NET_ADMIN to open, nothing to send.
 */
#ifndef POSTERN_RAW_TCP_H
#define POSTERN_RAW_TCP_H

#include "err.h"
#include "packet.h"

struct raw_tcp {
	int v4_fd, v6_fd; /* -1: this kernel has no such family */
};

/* Before rights are dropped.  On failure both are -1. */
int raw_tcp_open_prepriv(struct raw_tcp *out, struct reason *why);

void raw_tcp_close(struct raw_tcp *raw);

/* Does not block: what finds no room is lost, as packets are.  ifindex: where the answered packet came in; link-local addresses need it. */
int raw_tcp_send(const struct raw_tcp *raw, const struct packet_answer *answer, uint32_t ifindex);

#endif
