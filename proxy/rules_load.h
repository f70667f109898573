/* rules_load.h - a worker's new rule set and content filter, from the descriptors that the master sent to what is ready for sessions.
 * rules_load_run does the long part, a second and more with lists of a million entries: it touches nothing but the load, so that it may
 * run in a job while sessions go on.
 * Owns: the descriptors from take until run, and what it made until the caller moves it out; drop gives back what is left.
 * Fails: run leaves the error and its reason in the load, with nothing made.
 */
#ifndef POSTERN_RULES_LOAD_H
#define POSTERN_RULES_LOAD_H

#include <stddef.h>

#include "err.h"
#include "filter_set.h"
#include "ipc.h"
#include "rule_hits.h"
#include "rules.h"

struct rules_load {
	int rules_fd, hits_fd, filter_fd; /* -1: none */
	size_t workers;
	uint64_t generation;   /* 0: the message was not a good one */
	struct rules_options options;
	int err;
	struct reason why;
	struct rules *rules;
	struct rule_hits hits;
	struct filter_set *filter; /* NULL: there is none */
};

/* Moves the descriptors out of a ROLE_RULES message; what is wrong with it, run will say. */
void rules_load_take(struct rules_load *load, struct ipc_message *msg, const struct conf *conf, size_t workers);

void rules_load_run(struct rules_load *load);

/* Leaves a load that is empty. */
void rules_load_drop(struct rules_load *load);

#endif
