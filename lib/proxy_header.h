/* proxy_header.h - the header that a load balancer puts in front of a connection: PROXY protocol, versions 1 and 2 (the text of
 * HAProxy's doc/proxy-protocol.txt).  It tells who connected to the balancer, and where to.
 * Pure: bytes in, in any pieces, an answer out.  The outcome does not depend on how they were cut.  A byte that no header can have at
 * its place ends it at once; a byte behind the header is never used.
 * Limits: version 1 107 bytes, version 2 its length field (65,535) and 16; TLVs must fill it exactly, and are passed over.
 */
#ifndef POSTERN_PROXY_HEADER_H
#define POSTERN_PROXY_HEADER_H

#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "span.h"

#define PROXY_HEADER_V1_CAP 107u

enum proxy_header_result {
	PROXY_HEADER_MORE,    /* the header goes on */
	PROXY_HEADER_RELAYED, /* it is complete: client and dst are known */
	PROXY_HEADER_OWN,     /* it is complete: the balancer speaks for itself, or can't say for whom (LOCAL, UNKNOWN, UNSPEC, a unix socket) */
	PROXY_HEADER_BAD,     /* this is no such header */
};

/* Zeroed: nothing has come yet. */
struct proxy_header {
	struct endpoint client, dst;      /* with PROXY_HEADER_RELAYED */
	uint8_t bytes[PROXY_HEADER_V1_CAP]; /* version 1: the line; version 2: up to the end of the addresses */
	uint8_t have;
	uint8_t tlv_head;  /* version 2: how many bytes of the head of a TLV have come, of 3 */
	uint16_t tlv_rest; /* what its value still lacks */
	uint16_t rest;     /* what the part behind the addresses still lacks */
};

/* Use bytes from the front: *used_out of them, all where the result is MORE.  Not to be called again after another result. */
enum proxy_header_result proxy_header_push(struct proxy_header *h, struct span bytes, size_t *used_out);

#endif
