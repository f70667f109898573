/* worker_process.h - one session worker as the master sees it: started, fed with descriptors, watched, started again.
 * States: idle (not started), starting (until READY), running, waiting (died; started again after a back-off), ended (drained).
 * Back-off: 200 ms after the first death, doubled up to 30 s, back to the beginning after a minute of life.
 * The master tells of deaths (worker_process_died) because only it may wait for children.
 */
#ifndef POSTERN_WORKER_PROCESS_H
#define POSTERN_WORKER_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "counters.h"
#include "ipc.h"
#include "listeners.h"
#include "loop.h"
#include "role_messages.h"

enum worker_state { WORKER_IDLE, WORKER_STARTING, WORKER_RUNNING, WORKER_WAITING, WORKER_ENDED };

struct worker_process;

/* What every worker is given; borrowed for as long as there are workers, the master changes it at a reload. */
struct worker_supply {
	struct role_setup setup; /* worker and generation are filled in for each */
	int chroot_fd;
	int counters_fd;
	int rules_fd, hits_fd;
	int filter_fd; /* -1: none */
	uint64_t rules_generation; /* another number for other rules or another filter */
	const struct listeners *listeners;
};

struct worker_process_events {
	void (*ready)(void *ctx, struct worker_process *worker);
	/* The first start failed: nothing will work.  why is the worker's own. */
	void (*start_failed)(void *ctx, struct worker_process *worker, const struct reason *why);
	void (*need_segment)(void *ctx, struct worker_process *worker);
	void (*need_large)(void *ctx, struct worker_process *worker, const struct spool_id *id);
	/* It took the rules that it was sent, or could not. */
	void (*rules_taken)(void *ctx, struct worker_process *worker, int err);
	void (*forwarder_lost)(void *ctx, struct worker_process *worker);
	void (*checker_lost)(void *ctx, struct worker_process *worker);
	/* connection_fd: -1 when none came, for lack of descriptors; borrowed for the call. */
	void (*client_verdict)(void *ctx, struct worker_process *worker, const struct role_client_verdict *told, int connection_fd);
	void (*list_report)(void *ctx, struct worker_process *worker, const struct role_list_report *told, int connection_fd);
	void (*need_ident)(void *ctx, struct worker_process *worker, const struct role_ident_wanted *wanted, int connection_fd);
	void (*need_origin)(void *ctx, struct worker_process *worker, const struct role_origin_wanted *wanted, int connection_fd);
	void (*need_milter)(void *ctx, struct worker_process *worker, const struct role_milter_wanted *wanted);
	void (*ended)(void *ctx, struct worker_process *worker); /* after a drain */
	void *ctx;
};

int worker_process_create(struct loop *loop, uint32_t index, const struct worker_supply *supply, struct counter_slot *counters,
			  const struct worker_process_events *events, struct worker_process **out);

/* Fork and execute.  A failure is logged and tried again after the back-off. */
void worker_process_start(struct worker_process *worker);

/* ROLE_RULES with what the supply holds now, to a running worker. */
void worker_process_send_rules(struct worker_process *worker);

/* Does it judge by the rules and the configuration of the supply? */
bool worker_process_has_rules(const struct worker_process *worker);

/* The process that had this pid is gone.  False: it was not this worker's. */
bool worker_process_died(struct worker_process *worker, pid_t pid, int wait_status);

/* Send to a running worker; ERR_EOF when there is none, other failures are logged.  Descriptors stay the caller's. */
int worker_process_send(struct worker_process *worker, enum role_message type, const void *payload, size_t len, int fd);

/* It does not take what it is sent as fast as that comes. */
bool worker_process_is_behind(const struct worker_process *worker);

/* No restart from here on; a worker that runs is asked to end. */
void worker_process_drain(struct worker_process *worker);
void worker_process_kill(struct worker_process *worker);

/* To be called every WORKER_WATCH_MS.  Rules or a configuration that did not arrive, or could not be taken, are sent again.  The
 * watchdog: a worker whose heartbeat (counters.h) has stood still for WORKER_WATCH_LIMIT calls is aborted, and killed if that does
 * not end it by the next call.  Calls are counted, not time: a master that was stopped itself blames nobody. */
#define WORKER_WATCH_MS 5000u
#define WORKER_WATCH_LIMIT 12u
void worker_process_watch(struct worker_process *worker);

uint32_t worker_process_index(const struct worker_process *worker);
uint32_t worker_process_generation(const struct worker_process *worker);
enum worker_state worker_process_state(const struct worker_process *worker);
const char *worker_state_name(enum worker_state state);
pid_t worker_process_pid(const struct worker_process *worker); /* 0: none */
uint64_t worker_process_restarts(const struct worker_process *worker);

/* Kills what still runs. */
void worker_process_destroy(struct worker_process **worker);

#endif
