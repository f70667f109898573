/* checker_process.h - the checker as the master sees it: started where a check command is configured, watched, started again, and joined to the workers.
 * A checker that dies is started again with the back-off of workers (worker_process.h).  Each start gives every worker a new channel to it; what was under
 * way gets 451.  One that shows no sign of life for a minute is killed.
 * NULL is the checker of a configuration without a check command: every function takes it.
 * The master tells of deaths (checker_process_died) because only it may wait for children.
 */
#ifndef POSTERN_CHECKER_PROCESS_H
#define POSTERN_CHECKER_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "worker_crew.h"

struct checker_process;

struct checker_process_events {
	void (*ready)(void *ctx);
	/* The first start failed: the administrator is to mend it before mail is taken. */
	void (*start_failed)(void *ctx, const struct reason *why);
	void *ctx;
};

/* chroot_fd: check-chroot, given over on success.  Borrows the crew. */
int checker_process_create(struct loop *loop, const struct conf *conf, const struct priv_user *user, int chroot_fd, struct worker_crew *crew,
			   const struct checker_process_events *events, struct checker_process **out);

/* Failures are logged and tried again after the back-off. */
void checker_process_start(struct checker_process *checker);

/* After a reload: what runs from here on runs under these options. */
void checker_process_set_conf(struct checker_process *checker, const struct conf *conf);

/* This worker is a new process, which has no channel to the checker. */
void checker_process_link(struct checker_process *checker, struct worker_process *worker);

/* This worker has lost it.  It gets another, by a new checker's start or the next look (watch): something is wrong. */
void checker_process_lost(struct checker_process *checker, struct worker_process *worker);

/* The process that had this pid is gone.  False: it was not the checker. */
bool checker_process_died(struct checker_process *checker, pid_t pid, int wait_status);

/* To be called every WORKER_WATCH_MS. */
void checker_process_watch(struct checker_process *checker);

/* Running, or not configured. */
bool checker_process_is_in_order(const struct checker_process *checker);

enum worker_state checker_process_state(const struct checker_process *checker); /* WORKER_IDLE: not configured */
pid_t checker_process_pid(const struct checker_process *checker); /* 0: none */
uint64_t checker_process_restarts(const struct checker_process *checker);

/* Kills what still runs. */
void checker_process_destroy(struct checker_process **checker);

#endif
