/* rules_world.h - a small made-up world for the rule tests: what each fact would turn out to be. */
#ifndef POSTERN_TEST_RULES_WORLD_H
#define POSTERN_TEST_RULES_WORLD_H

#include "rules.h"

#define WORLD_SUBJECTS 32

enum world_answer { WORLD_ABSENT, WORLD_PRESENT, WORLD_FAILED };

struct world {
	enum world_answer name, ident;
	const char *name_text, *ident_text;
	enum world_answer listed[8]; /* RBL.z0 ... RBL.z7, RHS.z0 ... : by the digit, RHS by digit and first byte of the domain */
};

enum world_answer world_listed(const struct world *world, enum fact_kind kind, struct span zone, struct span subject);

/* Answers one fact. */
void world_settle(const struct world *world, struct rules_facts *facts, const struct fact *fact);

/* Compiles; fails the test with the diagnostics when the text has errors. */
struct rules *world_compile(const char *text, const struct rules_options *options);

/* Judges with every fact answered as soon as it is asked for. */
void world_judge(const struct world *world, struct rules *rules, const struct rules_client *client, const char *from, const char *to,
		 struct rules_verdict *out);

/* The plain linear evaluator that the real one is compared with.  It knows only what rules_ref.c says, reads the text anew for each
 * question, and asks the world for everything.  *line_out: the deciding line, 0 for none. */
enum verdict_kind ref_judge(const char *text, const struct rules_options *options, const struct world *world,
			    const struct rules_client *client, const char *from, const char *to, unsigned *line_out);

#endif
