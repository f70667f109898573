/* master_assets.h - what the master holds before anything runs: rules, users, spool, listeners, shared memory, sockets, and all that a
 * worker is supplied with.  Opened at once, so that everything that can be wrong is found while an operator still looks.
 * Owns: all of it, until close; the pid file's name stays the configuration's.
 */
#ifndef POSTERN_MASTER_ASSETS_H
#define POSTERN_MASTER_ASSETS_H

#include "counters.h"
#include "filter_keeper.h"
#include "listeners.h"
#include "priv.h"
#include "rules_keeper.h"
#include "spool_keeper.h"
#include "worker_process.h"

struct master_assets {
	size_t worker_count;
	struct priv_user session_user, forward_user, gate_user, check_user;
	int check_chroot_fd; /* -1: no check command, or the checker's by now */
	struct worker_supply supply;
	struct listeners listeners;
	struct counters counters;
	struct rules_kept rules; /* what is to be logged about them, as soon as somebody reads the log */
	struct filter_kept filter; /* the same */
	uint32_t needs;          /* enum verdict_need: what some rule asks for */
	struct rule_stats *rule_stats;
	struct spool_keeper *spool;
	int pid_fd;
	int control_fd; /* -1: none, or the control server's by now */
	bool has_control;
};

/* Into a zeroed struct.  Blocks.  On failure close is still due. */
int master_assets_open_prepriv(const struct conf *conf, struct master_assets *assets, struct reason *why);

/* What was read of rules and filter, and what lacks between them. */
void master_assets_log_rules(const struct master_assets *assets, const struct conf *conf, const struct rules_kept *rules,
			     const struct filter_kept *filter);

/* After the loop has ended; removes the control socket and the pid file. */
void master_assets_close(const struct conf *conf, struct master_assets *assets);

#endif
