/* scheduler.h - which message is tried when, over which connection.
 * Every destination (route.h) has a line of ready messages, new ones and those tried before in turn, each oldest first, and up to `destination-connections` connections, opened slowly and kept
 * for several messages.  One that is down is probed by a single connection, with back-off, and holds up nobody else.
 * All connections together have a budget; where it is used up destinations take turns.
 * Messages that wait for their own next time are in a heap; above queue-load-average they go on waiting.
 */
#ifndef POSTERN_SCHEDULER_H
#define POSTERN_SCHEDULER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "envelope.h"
#include "forwarder.h"

struct scheduler;

int scheduler_create(struct forwarder *f, struct scheduler **out);
/* Gives up connections and children that are left. */
void scheduler_destroy(struct scheduler **scheduler);

/* A message that is new to us: into its destination's line. */
int scheduler_add(struct scheduler *s, struct fwd_message *m, const struct spool_envelope *envelope);
/* It waits until next_time. */
void scheduler_wait(struct scheduler *s, struct fwd_message *m);
/* Now, whatever its time and its destination's back-off say. */
void scheduler_retry(struct scheduler *s, struct fwd_message *m);
/* Out of line and heap: somebody else has it.  Not while it is active. */
void scheduler_take(struct scheduler *s, struct fwd_message *m);
/* It is gone, or held: its destination need not remember it. */
void scheduler_forget(struct scheduler *s, struct fwd_message *m);

/* SIGCHLD: true if the pid was a child of ours. */
bool scheduler_child_exited(struct scheduler *s, pid_t pid, int status);

/* A new configuration is in force: routes are chosen anew, and what was held for an operator is tried at once. */
void scheduler_reload(struct scheduler *s);

/* Start nothing any more; quiet once no attempt runs. */
void scheduler_stop(struct scheduler *s);
bool scheduler_is_quiet(const struct scheduler *s);

struct scheduler_figures {
	uint64_t ready, waiting, active, destinations, connections, idle_connections, children, destinations_down, connection_max;
	bool is_load_high; /* mail that was tried before waits for a lower one */
};
void scheduler_figures(const struct scheduler *s, struct scheduler_figures *out);

/* For listings.  Texts live until the next turn. */
const char *destination_key(const struct destination *d);
const char *destination_error(const struct destination *d); /* empty: it is not down */
/* Every one that only an operator can mend, as its mail program does not work; few, as there are few programs. */
void scheduler_each_held(const struct scheduler *s, void (*fn)(void *ctx, const struct destination *d), void *ctx);
/* Seconds until it is tried again; 0: it is not down. */
uint64_t destination_probe_s(const struct scheduler *s, const struct destination *d);

#endif
