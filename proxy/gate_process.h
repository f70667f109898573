/* gate_process.h - the gate as the master sees it: started, told each second whether the workers accept, watched, started again.
 * States and back-off as in worker_process.h, but a gate that cannot be started stops nobody: it is logged, and tried again.
 * The master tells of deaths (gate_process_died) because only it may wait for children.
 */
#ifndef POSTERN_GATE_PROCESS_H
#define POSTERN_GATE_PROCESS_H

#include "control.h"
#include "gate_messages.h"
#include "worker_crew.h"

struct gate_process;

struct gate_process_parts {
	const struct worker_supply *supply; /* configuration and chroot; the master changes it at a reload */
	const struct worker_crew *crew;
	const struct counters *counters;
	struct priv_user user;
	int spool_fd; /* the directory where sets_file.h keeps the sets */
	loop_fn ended; /* after gate_process_end */
	void *ctx;
};

int gate_process_create(struct loop *loop, const struct gate_process_parts *parts, struct gate_process **out);
void gate_process_start(struct gate_process *gate);

/* The process that had this pid is gone.  False: it was not the gate's. */
bool gate_process_died(struct gate_process *gate, pid_t pid, int wait_status);

/* The supply has another configuration. */
void gate_process_reload(struct gate_process *gate);

/* A worker accepts from now on: where nobody did, the kernel hears of it at once and not at the next beat. */
void gate_process_worker_ready(struct gate_process *gate);

/* From here on nobody accepts: connections pass or are refused, as the administrator chose. */
void gate_process_close(struct gate_process *gate);

/* It keeps its sets and ends; ended(ctx) follows, also when there is none that runs. */
void gate_process_end(struct gate_process *gate);

/* "set ..." of `postern`; answered now or later. */
void gate_process_ask(struct gate_process *gate, struct control_client *client, struct span request);

/* A client that a rule says is to be blocked or let pass from now on. */
void gate_process_client(struct gate_process *gate, const struct gate_client *client);

/* What a block list said of a client. */
void gate_process_list_report(struct gate_process *gate, const struct gate_list_report *report);

/* NULL while it does not run. */
const struct gate_status *gate_process_status(const struct gate_process *gate);
enum worker_state gate_process_state(const struct gate_process *gate);
pid_t gate_process_pid(const struct gate_process *gate);
uint64_t gate_process_restarts(const struct gate_process *gate);

/* Kills what still runs. */
void gate_process_destroy(struct gate_process **gate);

#endif
