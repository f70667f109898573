/* rules_keeper.h - the master's rule set: read, checked, and packed for the workers.
 * rules_keeper_read does the long part, a second and more with lists of a million entries: it touches nothing but its arguments and logs
 * nothing, so that it may run in a job.  rules_keeper_log says afterwards what was found.
 * Owns: what it made, until the caller has moved it out; drop gives back what is left, also after a failure.
 */
#ifndef POSTERN_RULES_KEEPER_H
#define POSTERN_RULES_KEEPER_H

#include "conf.h"
#include "err.h"
#include "rule_stats.h"

/* Beside the rules in force: other texts; the same texts under other options, whose hits go on; nothing new at all. */
enum rules_news { RULES_NEW, RULES_SAME_TEXTS, RULES_UNCHANGED };

struct rules_kept {
	enum rules_news news;
	int fd;                    /* the texts, in a sealed memory file; -1: RULES_UNCHANGED */
	struct rule_stats *stats;  /* new hit counters; NULL but for RULES_NEW */
	struct rules_diags diags;
	bool is_compiled;
	struct rules_size size;    /* of what was compiled */
	uint32_t rule_count;
	uint32_t needs;            /* enum verdict_need: what some rule asks for */
	uint64_t took_ms;
};

/* What is in force: the memory file, and the options that it was compiled under.  fd -1: nothing. */
struct rules_in_force {
	int fd;
	const struct conf *conf;
};

/* Read and compile the rule file, look for what is hardly meant, and pack the texts.  On failure the reason counts the errors. */
int rules_keeper_read(const struct conf *conf, size_t worker_count, const struct rules_in_force *now, struct rules_kept *out,
		      struct reason *why);

uint64_t rules_keeper_now_ms(void);

/* Every error and the first warnings, one line each.  path: of the file. */
void rules_keeper_log_diags(const struct rules_diags *diags, const char *event, const char *path);

/* These, and if something was compiled, a line about what it is. */
void rules_keeper_log(const struct rules_kept *kept, const char *path);

void rules_keeper_drop(struct rules_kept *kept);

#endif
