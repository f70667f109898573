/* reload.h - the configuration and the rules read again: all of it, or nothing.
 * Owns: what it read, until the caller has moved it out; drop gives back what is left.
 */
#ifndef POSTERN_RELOAD_H
#define POSTERN_RELOAD_H

#include "conf.h"
#include "err.h"
#include "name_servers.h"
#include "rule_stats.h"

struct reload {
	struct conf conf;
	struct name_servers name_servers;
	int rules_fd; /* -1: none */
	struct rule_stats *stats;
};

/* conf_path: empty: the configuration stays as it is.  now: what is in force.  Blocks.  Nothing is held on failure. */
int reload_read(const char *conf_path, const struct conf *now, size_t worker_count, struct reload *out, struct reason *why);

void reload_drop(struct reload *reload);

#endif
