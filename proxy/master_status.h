/* master_status.h - the master's answers to `postern status`: daemon, workers, listeners, counters, spool space.
 */
#ifndef POSTERN_MASTER_STATUS_H
#define POSTERN_MASTER_STATUS_H

#include <stdbool.h>
#include <stddef.h>

#include "conf.h"
#include "control.h"
#include "counters.h"
#include "forwarder_links.h"
#include "gate_process.h"
#include "listeners.h"
#include "rule_stats.h"
#include "worker_crew.h"

struct master_status_sources {
	const struct conf *conf;
	const struct counters *counters;
	struct rule_stats *rule_stats;
	struct gate_process *gate; /* NULL: none is wanted */
	const struct listeners *listeners;
	const struct worker_crew *crew;
	const struct forwarder_links *links;
	const struct checker_process *checker;
	const char *reload; /* see reloader_state */
	int spool_fd;
	bool is_draining;
};

/* "status": lines that begin with what=daemon, what=worker, what=listener, what=counters, what=spool.  "rules stats": see rule_stats.h.  "set ...": handed to the gate.
 * Anything else is refused. */
void master_status_answer(const struct master_status_sources *from, struct control_client *client, struct span request);

#endif
