/* rules_set.h - what a compiled rule set looks like inside; for rules_compile.c, rules_set.c and rules_eval.c only. */
#ifndef POSTERN_RULES_SET_H
#define POSTERN_RULES_SET_H

#include <stdatomic.h>

#include "access.h"
#include "candidates.h"
#include "rules.h"
#include "rules_action.h"
#include "rules_message.h"
#include "rules_pattern.h"
#include "rules_pattern_file.h"

/* `A EXCEPT B EXCEPT C`. */
struct rule_list {
	struct pattern_set *parts;
	uint32_t part_count;
	uint32_t facts;
};

struct rule {
	uint32_t line;
	struct span action_text;
	struct rules_action action;
	struct rule_list lists[RULES_LIST_COUNT];
	const struct rules_message *message; /* deny and noto rules */
	const struct access_table *access;   /* access rules */
};

struct rules_access_file {
	struct rules_access_file *next;
	struct span path;
	struct access_table *table; /* NULL: has errors, which were reported */
};

struct rules {
	atomic_uint holders;
	struct rules_source *source;
	struct rules_options options;
	struct arena arena;
	struct rule *items;
	uint32_t count;
	uint32_t facts;
	const struct fact_key *prefetch; /* facts about the client that some rule may need */
	uint32_t prefetch_count;
	const struct span *syn_lists; /* block lists that rules_syn.h could make use of, each once */
	uint32_t syn_list_count;
	struct rules_message default_message;
	struct pattern_regexes regexes;
	struct pattern_files files;
	struct candidates candidates;
	struct rules_access_file *access_files; /* each table is built once, however many rules name it */
};

/* Once, when all rules are there: collects what rules_prefetch will ask for.  ERR_NOMEM. */
int rules_prefetch_build(struct rules *rules);

/* The same for syn_lists.  ERR_NOMEM. */
int rules_syn_lists_build(struct rules *rules);

enum tri rule_list_match(const struct rule_list *list, struct match *m);

#endif
