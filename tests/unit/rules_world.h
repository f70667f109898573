/* rules_world.h - a small made-up world for the rule tests: what each fact would turn out to be, and a plain evaluator to compare with. */
#ifndef POSTERN_TEST_RULES_WORLD_H
#define POSTERN_TEST_RULES_WORLD_H

#include "rules.h"

enum world_answer { WORLD_ABSENT, WORLD_PRESENT, WORLD_FAILED };

/* Name servers and mail exchangers of somebody. */
struct world_hosts {
	enum world_answer answer;
	bool exact;
	const char *name;
	struct addr addr;
};

struct world {
	enum world_answer name, ident;
	const char *name_text, *ident_text;
	enum world_answer listed[8];    /* by the last digit of the zone and the ends of the subject: see world_listed */
	struct addr answers[8];         /* what the list says then; family none: 127.0.0.2 */
	struct world_hosts hosts[4];    /* the client's, and those of domains: see world_hosts_of */
};

/* subject: empty for the client. */
enum world_answer world_listed(const struct world *world, struct span zone, struct span subject, struct addr *answer_out);
const struct world_hosts *world_hosts_of(const struct world *world, enum fact_kind kind, struct span subject);

/* Answers one fact. */
void world_settle(const struct world *world, struct rules_facts *facts, const struct fact *fact);

/* What FILE= and access: name; the array ends with a path of NULL. */
struct world_file {
	const char *path, *text;
};

/* Compiles; fails the test with the diagnostics when the text has errors.  files may be NULL. */
struct rules *world_compile(const char *text, const struct world_file *files, const struct rules_options *options);

/* Judges with every fact answered as soon as it is asked for. */
void world_judge(const struct world *world, struct rules *rules, const struct rules_client *client, const char *from, const char *to,
		 struct rules_verdict *out);

/* The plain linear evaluator that the real one is compared with.  It knows only what rules_ref.c says, reads the text anew for each
 * question, and asks the world for everything. */
struct ref_result {
	enum verdict_kind kind;
	unsigned line;              /* the deciding one, 0: none */
	unsigned debugs, dry_runs;  /* how many of these matched on the way */
};

void ref_judge(const char *text, const struct world_file *files, const struct rules_options *options, const struct world *world,
	       const struct rules_client *client, const char *from, const char *to, struct ref_result *out);

#endif
