/* rules_syn.h - what a rule set says of a client before it has said a word: the part that the gate can decide at the SYN.
 * Only `drop` and `pass` can be: every other outcome holds a reply, or a message to be looked at, which needs a session.
 * Promise: an answer other than SYN_SESSION is what every recipient of that session would get.  A rule that may match, depending on a name,
 * a block list, HELO, sender or recipient, leaves the session to decide, unless all such rules in front say the same.
 * Owns: an index of its own and a hold on the rule set.  Borrows: the client, for the call.  Judging allocates nothing and asks nobody.
 * Costs: rules behind the last one that can decide are never looked at: a file without drop and pass costs nothing here.
 */
#ifndef POSTERN_RULES_SYN_H
#define POSTERN_RULES_SYN_H

#include "mark_value.h"
#include "rules.h"

struct rules_syn;

enum syn_outcome { SYN_SESSION, SYN_DROP, SYN_PASS };

struct syn_verdict {
	enum syn_outcome outcome;
	uint32_t rule_index, rule_line; /* RULES_NO_INDEX and 0 for SYN_SESSION */
	/* What `mark=` rules in front of the outcome said: these bits of the packet's mark become those. */
	struct mark_value mark;
};

/* 0 or ERR_NOMEM. */
int rules_syn_create(struct rules *rules, struct rules_syn **out);
void rules_syn_destroy(struct rules_syn **syn);

/* How many rules it may have to look at. */
uint32_t rules_syn_count(const struct rules_syn *syn);

/* Of the client its address, destination, interface, trust and mark are known; it has not said HELO.  One thread at a time. */
void rules_syn_judge(struct rules_syn *syn, const struct rules_client *client, struct syn_verdict *out);

#endif
