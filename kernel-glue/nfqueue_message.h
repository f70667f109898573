/* nfqueue_message.h - the netlink messages of NFQUEUE: reads what the kernel sends, builds what it is told (linux/netfilter/nfnetlink_queue.h).
 * Pure: no I/O, no memory.  The buffers are aligned as struct nlmsghdr is.
 */
#ifndef POSTERN_NFQUEUE_MESSAGE_H
#define POSTERN_NFQUEUE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "span.h"

struct nfqueue_packet {
	uint32_t id;      /* goes up by one for each packet of the queue */
	uint32_t mark;
	uint32_t ifindex; /* where it came in; 0: nowhere */
	struct span head; /* from the IP header on, as much as was asked for; lies in the message */
};

enum nfqueue_message { NFQUEUE_PACKET, NFQUEUE_ACK, NFQUEUE_OTHER };

/* The first message in the bytes.  NFQUEUE_PACKET: *packet_out is filled.  NFQUEUE_ACK: *errnum_out is 0 or an errno value. */
enum nfqueue_message nfqueue_message_read(struct span bytes, struct nfqueue_packet *packet_out, int *errnum_out);

struct nfqueue_setup {
	uint16_t number;
	uint32_t copy_bytes; /* of each packet */
	uint32_t length;     /* packets that may wait for their verdict */
	bool is_fail_open;   /* what finds no room passes unjudged */
};

/* Everything in one message, to be answered by one NFQUEUE_ACK. */
#define NFQUEUE_SETUP_CAP 128u
size_t nfqueue_setup_build(const struct nfqueue_setup *setup, void *out);

enum nfqueue_action { NFQUEUE_DROP, NFQUEUE_ACCEPT };

struct nfqueue_verdict {
	enum nfqueue_action action;
	bool sets_mark;
	uint32_t mark; /* sets_mark: the packet's from here on, all bits */
};

/* One verdict for all packets up to that id that still wait.  Never answered but for errors. */
#define NFQUEUE_VERDICT_CAP 48u
size_t nfqueue_verdict_build(uint16_t number, uint32_t up_to_id, const struct nfqueue_verdict *verdict, void *out);

#endif
