/* filter_keeper.h - the master's content filter: its file read, checked, and packed for the workers.
 * filter_keeper_read does the long part: it touches nothing but its arguments and logs nothing, so that it may run in a job.
 * filter_keeper_log says afterwards what was found.
 * Without a file there is no filter, and recipients whose rules ask for one get 451; but where the seeds' layout has none, there is one without
 * a pattern, which everything passes, as it was there.
 * Owns: what it made, until the caller has moved it out; drop gives back what is left, also after a failure.
 */
#ifndef POSTERN_FILTER_KEEPER_H
#define POSTERN_FILTER_KEEPER_H

#include "conf.h"
#include "err.h"
#include "filter_rule.h"
#include "rules_diag.h"

struct filter_kept {
	bool is_changed;  /* fd takes the place of what is in force */
	int fd;           /* the text, in a sealed memory file (rules_source.h); -1: no filter, or unchanged */
	bool is_lacking;  /* the seeds' file does not exist */
	struct rules_diags diags;
	bool is_compiled;
	uint64_t counts[FILTER_KINDS]; /* patterns */
	uint64_t loose;                /* of these such that are compared with every line */
	uint64_t took_ms;
};

/* now_fd: what is in force, -1: nothing.  On failure the reason counts the errors. */
int filter_keeper_read(const struct conf *conf, int now_fd, struct filter_kept *out, struct reason *why);

/* Every error and the first warnings, and if something was compiled, a line about what it is.  path: of the file. */
void filter_keeper_log(const struct filter_kept *kept, const char *path);

/* Moves the descriptor out and closes what was in force, if there is something new. */
void filter_keeper_take(struct filter_kept *kept, int *now_fd);

void filter_keeper_drop(struct filter_kept *kept);

#endif
