/* syn_rules.h - the rules of the gate: loaded at its start, replaced at each reload, and what of them a SYN can be judged by.
 * Compiling and giving back run in jobs, as in the workers (worker_rules.h): SYNs go on being judged meanwhile.
 * Of reloads that come in while one runs only the last one counts.
 * Fails: a reload that fails leaves the old rules in force and is told to events.taken.
 */
#ifndef POSTERN_SYN_RULES_H
#define POSTERN_SYN_RULES_H

#include "conf.h"
#include "ipc.h"
#include "loop.h"
#include "rules_syn.h"

struct syn_rules;

struct syn_rules_events {
	void (*taken)(void *ctx, uint64_t generation, int err);
	void *ctx;
};

/* conf: borrowed, read at each load.  slot of slots: whose hits are counted where (rule_hits.h). */
int syn_rules_create(const struct conf *conf, size_t slot, size_t slots, const struct syn_rules_events *events, struct syn_rules **out);

/* On the loop.  Takes the descriptors out of the message; what is wrong with it, events.taken will say. */
void syn_rules_reload(struct syn_rules *rules, struct loop *loop, struct ipc_message *msg);

/* NULL: none were loaded yet.  Valid for this turn of the loop. */
struct rules_syn *syn_rules_get(const struct syn_rules *rules);

void syn_rules_hit(struct syn_rules *rules, uint32_t rule_index);

/* While a job runs, what it works on can't be given back. */
bool syn_rules_is_busy(const struct syn_rules *rules);
void syn_rules_destroy(struct syn_rules **rules); /* not while it is busy */

#endif
