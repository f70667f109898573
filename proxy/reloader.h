/* reloader.h - from SIGHUP to "in force": reads configuration and rules in a job, hands them to all workers, and waits until each has
 * them.
 * Promise: never two at once; what is asked for meanwhile is done once more afterwards.  New workers and old ones are supplied with the
 * same from the moment the job is done; what the job refuses changes nothing.  `ev=reloaded` is logged when every worker that runs judges
 * by the new rules.  A worker that could not take them gets them again every few seconds (worker_process_watch); after a minute the log
 * says so.
 * Borrows: options (whose configuration it replaces), assets (whose supply and hits it replaces), the crew, the gate and the checker, until the loop has ended.
 */
#ifndef POSTERN_RELOADER_H
#define POSTERN_RELOADER_H

#include "checker_process.h"
#include "gate_process.h"
#include "master_assets.h"
#include "milter_broker.h"
#include "options.h"
#include "worker_crew.h"

struct reloader;

/* gate: NULL where there is none. */
int reloader_create(struct loop *loop, struct options *options, struct master_assets *assets, struct worker_crew *crew,
		    struct gate_process *gate, struct checker_process *checker, struct milter_broker *milters, struct reloader **out);

void reloader_request(struct reloader *reloader);

/* What workers have has changed: one has taken its rules or could not, has become ready, or is gone. */
void reloader_look(struct reloader *reloader);

/* No further reload, and one under way comes to nothing: the workers are to end. */
void reloader_stop(struct reloader *reloader);

/* For `postern status`: "none", "reading", "handing-out", "done", "failed". */
const char *reloader_state(const struct reloader *reloader);

/* A job that runs ends in loop_destroy; options and assets must be there until then. */
void reloader_destroy(struct reloader **reloader);

#endif
