/* rules_keeper.h - the master's rule set: read, checked, and packed for the workers.
 */
#ifndef POSTERN_RULES_KEEPER_H
#define POSTERN_RULES_KEEPER_H

#include "conf.h"
#include "err.h"
#include "rule_stats.h"

/* Read and compile the rule file, log every error and warning, and pack the texts into a sealed memory file (the caller closes it).
 * stats_out: new hit counters for these rules.  On failure the reason counts the errors. */
int rules_keeper_load(const struct conf *conf, size_t worker_count, int *fd_out, struct rule_stats **stats_out, struct reason *why);

/* Do the two memory files hold the same texts?  Then their rules have the same numbers. */
bool rules_keeper_same(int fd, int other_fd);

#endif
