/* packet.h - the TCP segments that the gate sees and answers: reads the head of one from an IPv4 or IPv6 packet, and builds an answer to it.
 * Pure: no I/O, no memory.  Bytes come from anybody; nothing is believed but what lies within the span.
 * IPv6 extension headers (RFC 8200 section 4) are passed over: hop-by-hop, destination options, routing, fragment, authentication.
 * Bounds: PACKET_HEADERS_MAX of these, PACKET_OPTIONS_MAX TCP options; the head of a packet needs at most PACKET_HEAD_MAX bytes.
 */
#ifndef POSTERN_PACKET_H
#define POSTERN_PACKET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"

/* As much of a packet as the reader ever looks at: what is copied from the kernel. */
#define PACKET_HEAD_MAX 256u
#define PACKET_HEADERS_MAX 8u
#define PACKET_OPTIONS_MAX 40u

/* The flags of RFC 9293 section 3.1 in their place. */
enum { PACKET_FIN = 1, PACKET_SYN = 2, PACKET_RST = 4, PACKET_PSH = 8, PACKET_ACK = 16 };

struct packet_tcp {
	struct endpoint from, to;
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window;        /* as it stands there, not scaled */
	uint32_t payload_bytes; /* by the lengths in the headers: they need not lie in the span */
	uint16_t mss;           /* 0: not said */
	bool is_whole;          /* the options were all there and in order; what they say up to a flaw counts */
};

/* The span holds the front of a packet, from the IP header on, cut anywhere.
 * ERR_EOF: cut before the TCP header's end (without options).  ERR_UNSUPPORTED: not TCP, or TCP that can't be seen from here (a later
 * fragment, encrypted, a source route that is not at its end, a jumbogram).  ERR_TOOLONG: more extension headers than anybody needs.
 * ERR_PROTO: lengths or versions that contradict each other, an IPv4-mapped address. */
int packet_read(struct span head, struct packet_tcp *out);

struct packet_answer {
	struct endpoint from, to; /* of one family */
	uint32_t seq, ack;
	uint8_t flags;
	uint16_t window;
	uint16_t mss; /* 0: no option */
	struct span payload; /* at most PACKET_PAYLOAD_CAP bytes; more are cut */
};

#define PACKET_PAYLOAD_CAP 32u
#define PACKET_ANSWER_CAP 96u

/* The whole IP packet with its checksums.  Returns its length. */
size_t packet_build(const struct packet_answer *answer, uint8_t out[PACKET_ANSWER_CAP]);

/* What a host without a listener says to that segment (RFC 9293 section 3.10.7.1).  False: nothing, since it is a reset itself. */
bool packet_refusal(const struct packet_tcp *segment, struct packet_answer *out);

#endif
