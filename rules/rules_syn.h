/* rules_syn.h - what a rule set says of a client before it has said a word: the part that the gate can decide at the SYN.
 * Only `drop` and `pass` can be: every other outcome holds a reply, or a message to be looked at, which needs a session.
 * Promise: an answer other than SYN_SESSION is what every recipient of that session would get.  A rule that may match, depending on a name,
 * HELO, sender, recipient, or a block list of which nothing is known, leaves the session to decide, unless all such rules in front say the same.
 * What block lists said of this client earlier comes from a struct syn_lists; it is asked only when a rule hangs on nothing else.
 * Owns: an index of its own and a hold on the rule set.  Borrows: the client, for the call.  Judging allocates nothing and waits for nobody.
 * Costs: rules behind the last one that can decide are never looked at: a file without drop and pass costs nothing here.
 */
#ifndef POSTERN_RULES_SYN_H
#define POSTERN_RULES_SYN_H

#include "mark_value.h"
#include "rules.h"

struct rules_syn;

enum syn_outcome { SYN_SESSION, SYN_DROP, SYN_PASS };

/* Why it is left to the session. */
enum syn_left {
	SYN_LEFT_NO_RULE, /* no rule that a SYN can be decided by is for this client */
	SYN_LEFT_OTHER,   /* the rule that is for it is none of those */
	SYN_LEFT_UNKNOWN  /* a rule may be for it */
};

/* What a block list says of a client: these addresses, or with none that it is not listed. */
#define SYN_LIST_ADDRS_MAX 8u
struct syn_list_answer {
	uint32_t count;
	struct addr addrs[SYN_LIST_ADDRS_MAX];
};

/* Where it is known from.  list: its place in rules_syn_lists. */
struct syn_lists {
	bool (*find)(void *ctx, uint32_t list, const struct addr *client, struct syn_list_answer *out);
	void *ctx;
};

struct syn_verdict {
	enum syn_outcome outcome;
	uint32_t rule_index, rule_line; /* RULES_NO_INDEX and 0 for SYN_SESSION */
	/* What `mark=` rules in front of the outcome said: these bits of the packet's mark become those. */
	struct mark_value mark;
	bool by_lists;      /* the outcome hangs on what struct syn_lists knew */
	enum syn_left left; /* SYN_SESSION */
	uint32_t left_line; /* by the rule in that line; 0 for SYN_LEFT_NO_RULE */
};

/* The zones of the block lists that could make a difference; they live as long as the rules. */
uint32_t rules_syn_lists(const struct rules *rules, const struct span **zones_out);
bool rules_syn_has_list(const struct rules *rules, struct span zone);

/* 0 or ERR_NOMEM. */
int rules_syn_create(struct rules *rules, struct rules_syn **out);
void rules_syn_destroy(struct rules_syn **syn);

const struct rules *rules_syn_rules(const struct rules_syn *syn);

/* How many rules it may have to look at. */
uint32_t rules_syn_count(const struct rules_syn *syn);

/* Of the client its address, destination, interface, trust and mark are known; it has not said HELO.  lists: NULL where nothing is known.
 * One thread at a time. */
void rules_syn_judge(struct rules_syn *syn, const struct rules_client *client, const struct syn_lists *lists, struct syn_verdict *out);

#endif
