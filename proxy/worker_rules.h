/* worker_rules.h - the rules and the content filter of a session worker: loaded at its start, replaced at each reload, given back when nobody holds them.
 * The long parts, compiling and giving back, run in jobs: with lists of a million entries they take a second, which sessions must not
 * wait for.
 * Of reloads that come in while one runs only the last one counts.
 * Owns: rules, hits and filter of the host, and the old sets for as long as evaluations hold them.
 * Fails: a reload that fails leaves the old rules in force and is told to events.taken.
 */
#ifndef POSTERN_WORKER_RULES_H
#define POSTERN_WORKER_RULES_H

#include "ipc.h"
#include "session_host.h"

struct worker_rules;

struct worker_rules_events {
	void (*taken)(void *ctx, uint64_t generation, int err);
	void (*idle)(void *ctx); /* no job runs */
	void *ctx;
};

/* workers: how many share the memory for hits. */
int worker_rules_create(struct session_host *host, size_t workers, const struct worker_rules_events *events,
			struct worker_rules **out);

/* Before the loop: blocks. */
int worker_rules_load(struct worker_rules *rules, struct ipc_message *msg, struct reason *why);

/* On the host's loop.  Takes the descriptors out of the message; what is wrong with it, events.taken will say. */
void worker_rules_reload(struct worker_rules *rules, struct ipc_message *msg);

/* To be called every second or so: looks after old sets that evaluations held. */
void worker_rules_tick(struct worker_rules *rules);

bool worker_rules_are_busy(const struct worker_rules *rules);

/* After the loop has ended. */
void worker_rules_destroy(struct worker_rules **rules);

#endif
