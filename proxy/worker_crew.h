/* worker_crew.h - all session workers as one: what is done to each of them, and what is asked about all.
 * Owns: its worker_process, from create until destroy.  Borrows: supply, counters and the context of events, as worker_process.h says.
 * Limits: LISTENER_MEMBERS_MAX workers.
 */
#ifndef POSTERN_WORKER_CREW_H
#define POSTERN_WORKER_CREW_H

#include <stddef.h>

#include "worker_process.h"

struct worker_crew {
	struct worker_process *workers[LISTENER_MEMBERS_MAX]; /* NULL behind count, and where create failed */
	size_t count;
};

/* Into a zeroed struct.  On failure destroy is still due. */
int worker_crew_create(struct loop *loop, size_t count, const struct worker_supply *supply, const struct counters *counters,
		       const struct worker_process_events *events, struct worker_crew *crew);
void worker_crew_start(struct worker_crew *crew);

/* To each that runs or starts; who is away gets it with its next start. */
void worker_crew_send(struct worker_crew *crew, enum role_message type, const void *payload, size_t len);
void worker_crew_send_rules(struct worker_crew *crew);

/* Does each that runs or starts judge by the rules of the supply?  Who is away will. */
bool worker_crew_has_rules(const struct worker_crew *crew);

void worker_crew_drain(struct worker_crew *crew);
void worker_crew_kill(struct worker_crew *crew);
void worker_crew_watch(struct worker_crew *crew); /* see worker_process_watch */

/* False: no worker had this pid. */
bool worker_crew_died(struct worker_crew *crew, pid_t pid, int wait_status);

bool worker_crew_all_in(const struct worker_crew *crew, enum worker_state state);

void worker_crew_destroy(struct worker_crew *crew);

#endif
