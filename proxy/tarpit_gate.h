/* tarpit_gate.h - who is in the kernel's set tarpit: each of its packets comes here and is dropped; what there is to answer is sent from
 * here (kernel-glue/tarpit_segment.h), so that the client sits in a connection of which nobody here knows.
 * Promise: memory does not depend on how many are held.  Answers to SYNs, whose senders may be forged, are bounded in all and for each
 * network, and never longer than what they answer; whoever gets more has shown that he is there.
 * Owns: the queue.  Borrows: the rest of struct tarpit_gate_parts.
 */
#ifndef POSTERN_TARPIT_GATE_H
#define POSTERN_TARPIT_GATE_H

#include "conf.h"
#include "loop.h"
#include "nfqueue.h"
#include "raw_tcp.h"

#define TARPIT_SYNS_PER_NET 20u /* a second */

/* Since the process began. */
struct tarpit_gate_counts {
	uint64_t packets;
	uint64_t syns_answered;
	uint64_t syns_left;  /* over a rate, or nothing could be sent */
	uint64_t kept;       /* answers to those who hold their connection open */
};

struct tarpit_gate_parts {
	struct loop *loop;
	const struct conf *conf; /* may change between turns of the loop */
	struct nfqueue *queue;
	const struct raw_tcp *raw;
	struct tarpit_gate_counts *counts;
};

struct tarpit_gate;

/* On failure the queue stays the caller's. */
int tarpit_gate_create(const struct tarpit_gate_parts *parts, struct tarpit_gate **out);
void tarpit_gate_destroy(struct tarpit_gate **gate);

#endif
