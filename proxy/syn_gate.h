/* syn_gate.h - the SYNs that wait in the kernel's queue: each gets one verdict, by what the rules can say of its address alone (rules_syn.h).
 *   undecided  accepted, as if there were no gate: the session judges it, with all facts
 *   drop       dropped, or answered with a reset (conf gate-drop); the client goes into the block set
 *   pass       accepted with CONF_OWN_MARK, so that it goes straight to its server; the client goes into the pass set
 * A verdict that hangs on what block lists said ends when their answers do: its client goes into no set.
 * `mark=` rules set bits of its mark; the accepted socket inherits them where net.ipv4.tcp_fwmark_accept is 1.
 * Promise: nothing waits.  What can't be read, is no SYN, or came in where no listen section is, is accepted.
 * Fails: a queue that can't be read any more is closed, so that packets pass by the rule's --queue-bypass.
 * Owns: its own memory, and from a create that succeeded on the queue.  Borrows: the rest of struct syn_gate_parts, until it is destroyed.
 */
#ifndef POSTERN_SYN_GATE_H
#define POSTERN_SYN_GATE_H

#include "conf.h"
#include "iface_names.h"
#include "loop.h"
#include "nfqueue.h"
#include "raw_tcp.h"
#include "syn_rules.h"

/* Packets that may wait for their verdict; more pass unjudged, which only costs the session. */
#define SYN_GATE_LENGTH 8192u

/* Since the process began. */
struct syn_gate_counts {
	uint64_t packets;    /* that came from the queue */
	uint64_t dropped;
	uint64_t resets;     /* of these, the clients that were told */
	uint64_t passed;     /* straight to the server */
	uint64_t marked;     /* otherwise than they came */
	uint64_t by_lists;   /* dropped or passed by what a block list said of the client earlier */
	uint64_t list_answers; /* that sessions told */
	uint64_t unreadable; /* accepted, since nobody could tell whose they are */
};

struct syn_gate_parts {
	struct loop *loop;
	const struct conf *conf; /* may change between turns of the loop */
	struct syn_gate_counts *counts;
	struct syn_rules *rules;
	struct syn_lists lists;
	struct nfqueue *queue;
	struct iface_names *ifaces;
	const struct raw_tcp *raw;
	/* A client whom a rule drops or passes: into the set.  At most SYN_GATE_LEARNED_PER_S calls a second, also at once; not for trusted interfaces. */
	void (*learn)(void *ctx, enum syn_outcome outcome, const struct addr *client);
	void *ctx;
};

/* So that forged SYNs can't keep the gate busy with sets: the rules decide the next one, too. */
#define SYN_GATE_LEARNED_PER_S 20u
/* A reset is no longer than the SYN that it answers, but there need not be one for each of a flood; nor a burst of more than that at once. */
#define SYN_GATE_RESETS_PER_S 10000u

struct syn_gate;

int syn_gate_create(const struct syn_gate_parts *parts, struct syn_gate **out);
void syn_gate_destroy(struct syn_gate **gate);

/* False: it could not be read any more. */
bool syn_gate_has_queue(const struct syn_gate *gate);

/* The verdict for one packet; for tests, and for the loop itself.  ctx: the gate. */
struct nfqueue_verdict syn_gate_judge(void *ctx, const struct nfqueue_packet *packet);

#endif
