/* rule_stats.h - the master's side of counting hits: the shared memory of one rule set, and what its rules are called.
 * Counted, because an answer to a slow asker may outlast the rule set.
 */
#ifndef POSTERN_RULE_STATS_H
#define POSTERN_RULE_STATS_H

#include "control.h"
#include "rules.h"

struct rule_stats;

int rule_stats_create(const struct rules *rules, size_t worker_count, struct rule_stats **out);
void rule_stats_release(struct rule_stats **stats); /* accepts a NULL inside, clears it */

/* For ROLE_RULES; stays the stats' own. */
int rule_stats_fd(const struct rule_stats *stats);

/* `rules stats`: a line what=rule line= hits= action= for each rule, at the pace of the asker, and the end. */
void rule_stats_answer(struct rule_stats *stats, struct control_client *client);

#endif
