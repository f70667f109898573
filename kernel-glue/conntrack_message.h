/* conntrack_message.h - the netlink messages of connection tracking: builds questions, reads what the kernel knows of a flow
 * (linux/netfilter/nfnetlink_conntrack.h).  Pure: no I/O, no memory.  TCP only.
 */
#ifndef POSTERN_CONNTRACK_MESSAGE_H
#define POSTERN_CONNTRACK_MESSAGE_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "err.h"

/* One direction of a flow. */
struct conntrack_tuple {
	struct endpoint src, dst;
	uint16_t zone;
};

struct conntrack_flow {
	struct conntrack_tuple orig;  /* as the first packet came, before anybody's NAT */
	struct conntrack_tuple reply; /* of the answers, as they leave who answers */
};

enum conntrack_verb { CONNTRACK_GET, CONNTRACK_DELETE };

/* About the flow whose answers look like this, or whose first packet did (is_reply false).  Both ends must be of one family. */
#define CONNTRACK_QUESTION_CAP 192u
int conntrack_question_build(enum conntrack_verb verb, const struct conntrack_tuple *tuple, bool is_reply, void *out);

/* About all flows of the family that somebody began to a port, of every zone; client: of that one, NULL: of all.  Others are among the answers: all of
 * that port with IPv6, and all there are with kernels before 5.8.  ERR_INVAL: of no family. */
int conntrack_dump_build(enum addr_family family, const struct addr *client, uint16_t port, void *out);

/* ERR_PROTO: cut, or makes no sense; ERR_UNSUPPORTED: not of a TCP flow. */
int conntrack_message_read(const struct nlmsghdr *message, struct conntrack_flow *out);

#endif
