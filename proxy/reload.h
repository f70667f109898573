/* reload.h - the configuration, the rules and the content filter read again: all of it, or nothing.
 * reload_run does the work and touches nothing but the reload, so that it may run in a job.
 * Owns: what it read, until the caller has moved it out; drop gives back what is left.
 * Fails: run leaves the error and its reason in the reload; errors in the rules wait there for rules_keeper_log.
 */
#ifndef POSTERN_RELOAD_H
#define POSTERN_RELOAD_H

#include "conf.h"
#include "err.h"
#include "filter_keeper.h"
#include "name_servers.h"
#include "rules_keeper.h"

struct reload {
	/* Set by the caller; what they point to stays as it is until run has returned. */
	const char *conf_path;      /* empty: the configuration stays as it is */
	struct rules_in_force now;
	int filter_fd;              /* in force; -1: none */
	size_t worker_count;

	int err;
	struct reason why;
	struct conf conf;
	struct name_servers name_servers;
	struct rules_kept rules;
	struct filter_kept filter;
};

void reload_run(struct reload *reload);
void reload_drop(struct reload *reload);

#endif
