/* syn_side.h - all that the gate has to do with SYNs, in one piece: the queue, the rules, the judging, and the queue of the tarpit.
 * Fails: without a queue (the kernel has none, or it is another program's) the gate does the rest of its work; the log says so, once.
 * Owns: what it opens.  Borrows: loop and configuration.
 */
#ifndef POSTERN_SYN_SIDE_H
#define POSTERN_SYN_SIDE_H

#include "gate_messages.h"
#include "ipc.h"
#include "syn_gate.h"
#include "tarpit_gate.h"

struct syn_side;

struct syn_side_parts {
	const struct conf *conf; /* may change between turns of the loop */
	size_t workers;          /* of the session */
	void (*learn)(void *ctx, enum syn_outcome outcome, const struct addr *client); /* as in syn_gate.h */
	void *ctx;
};

/* Opens what needs rights.  Fails without memory or descriptors. */
int syn_side_open_prepriv(const struct syn_side_parts *parts, struct syn_side **out, struct reason *why);

/* From here on SYNs are judged, by the rules as soon as there are any. */
int syn_side_start(struct syn_side *side, struct loop *loop);

/* A GATE_RULES message. */
void syn_side_take_rules(struct syn_side *side, struct ipc_message *msg);

/* What a block list said of a client; made sure of by the master. */
void syn_side_take_report(struct syn_side *side, const struct gate_list_report *report);
void syn_side_forget_lists(struct syn_side *side);

/* To be called each second or so. */
void syn_side_tick(struct syn_side *side);

bool syn_side_has_queue(const struct syn_side *side);
uint64_t syn_side_rules_generation(const struct syn_side *side); /* 0: none are in force */
const struct syn_gate_counts *syn_side_counts(const struct syn_side *side);
const struct tarpit_gate_counts *syn_side_tarpit_counts(const struct syn_side *side); /* NULL: there is no tarpit */

/* In front of the loop's end.  What a job still works on stays behind: the process ends. */
void syn_side_destroy(struct syn_side **side);

#endif
