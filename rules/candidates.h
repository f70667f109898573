/* candidates.h - which rules can match at all: each rule is filed under the keys of its most telling list, and only the rules whose
 * keys the client, the sender or the recipient bring along are looked at, together with those that have no keys.
 * Promise: every rule that is true, unknown or pending is among the candidates, in file order.  Others may be, too: a walk passes over
 * rules, the evaluation alone decides.
 * Owns: memory in the arena it was built with.  Borrows: nothing; a walk borrows the index.
 * Bounds: a walk follows CANDIDATE_LISTS_MAX lists of rules; beyond that, every rule is a candidate.
 */
#ifndef POSTERN_CANDIDATES_H
#define POSTERN_CANDIDATES_H

#include "arena.h"
#include "pattern_key.h"
#include "rules.h"

#define CANDIDATE_LISTS_MAX 32u

struct rule;

struct candidate_slot {
	uint32_t tag; /* the lower half of the hash: an equal tag of another key only makes one candidate more */
	uint32_t begin, end;
};

struct candidates {
	uint32_t rule_count;
	struct key_filter filters[RULES_LIST_COUNT];
	struct candidate_slot *slots;
	uint32_t slot_count;
	uint32_t *rules; /* what the slots point into: each run in file order */
	uint32_t *keyless, *named; /* without keys; with a key of the client's name (for as long as that is not known) */
	uint32_t keyless_count, named_count;
};

/* A zeroed struct is valid for no rules.  0 or ERR_NOMEM. */
int candidates_build(struct arena *arena, const struct rule *rules, uint32_t count, struct candidates *out);

struct candidate_walk {
	struct {
		const uint32_t *at, *end;
	} lists[CANDIDATE_LISTS_MAX];
	uint32_t list_count, rule_count;
	bool takes_all;
};

/* Valid for as long as no fact is settled.  from and to as in rules_eval_start. */
void candidates_begin(const struct candidates *index, const struct rules_facts *facts, struct span from, struct span to,
		      struct candidate_walk *walk);

/* The first candidate at or after `from`, which never goes down from call to call; the number of rules when there is none. */
uint32_t candidates_next(struct candidate_walk *walk, uint32_t from);

#endif
