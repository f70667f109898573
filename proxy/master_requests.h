/* master_requests.h - what a worker has asked the master for and waits for: one table for each kind of question.
 * A question and its answer are structs of role_messages.h that begin with a ticket: a number of this table's, never used again, which the
 * master gives back as it is.
 * Promise: an asker is told once, or not at all after a cancel; an answer that nobody waits for any more (late, repeated, or with a ticket that
 * was never given) is closed and forgotten.
 * Owns: its copy of what describes an asker.  Borrows: the channel, until destroy.
 * Calls back: kind->answered, on the loop, from master_requests_take and from the deadline; it may ask again and cancel others, and must not
 * destroy the table.  Limits: kind->max at once; nothing queues behind a master that hangs, for what the spool asks for comes first, and a
 * queued descriptor keeps a client's connection open.
 */
#ifndef POSTERN_MASTER_REQUESTS_H
#define POSTERN_MASTER_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ipc.h"
#include "loop.h"

struct master_requests;

struct master_request_kind {
	uint32_t type;        /* of the question: ROLE_NEED_* */
	size_t max;
	size_t asker_size;    /* of what describes an asker */
	uint64_t deadline_ms; /* 0: none, the askers have their own and cancel */
	/* answer: what the master said, valid for the call, and fd with it, owned from here on (-1: none).  NULL: nothing within the deadline. */
	void (*answered)(const void *asker, const void *answer, int fd);
};

/* kind: lives as long as the table. */
int master_requests_create(struct loop *loop, struct ipc_channel *master, const struct master_request_kind *kind, struct master_requests **out);

/* Nobody is told.  Accepts NULL, clears the pointer. */
void master_requests_destroy(struct master_requests **requests);

/* question: its first member is the ticket (uint64_t), written here.  fd: travels with it, borrowed for the call; -1: none.
 * ERR_BUSY: too many, or the master is behind; ERR_NOMEM; as ipc_channel_send. */
int master_requests_ask(struct master_requests *requests, void *question, size_t len, int fd, const void *asker);

/* Whoever asked is not told.  A ticket that is gone, or 0, does nothing. */
void master_requests_cancel(struct master_requests *requests, uint64_t ticket);

/* Likewise for the first asker that is the one meant; what described it goes to asker_out.  False: there is none (any more). */
bool master_requests_cancel_one(struct master_requests *requests, bool (*is_meant)(const void *asker, const void *ctx), const void *ctx,
				void *asker_out);

/* The master's answer.  fd: owned from here on; -1 where the message carried none. */
void master_requests_take(struct master_requests *requests, uint64_t ticket, const void *answer, int fd);

size_t master_requests_count(const struct master_requests *requests);

#endif
