/* ident_broker.h - the master's side of ident (RFC 1413): opens connections to the ident servers of clients, for the session workers.
 * The query must come from the address that the client connected to, mostly not one of this host: only the master may speak from it.
 * A worker names no address: it shows a client's connection, and the kernel says who is at its ends.  So a worker that is taken over gets
 * connections between such pairs only, to port IDENT_PORT, and by the interface that the client came in by; nor can it make other ones of
 * them (outgoing.h).
 * Promise: never waits.  Bounds: IDENT_BROKER_RATE a second for each worker, as many at once.
 */
#ifndef POSTERN_IDENT_BROKER_H
#define POSTERN_IDENT_BROKER_H

#include <stdbool.h>
#include <stdint.h>

#include "listener.h"
#include "origin_broker.h"
#include "role_messages.h"

#define IDENT_BROKER_RATE 1000u

struct ident_broker {
	struct origin_broker *origins; /* borrowed */
	struct {
		uint64_t used; /* of IDENT_BROKER_RATE, in thousandths; goes down with time */
		uint64_t at_ms;
	} workers[LISTENER_MEMBERS_MAX];
	bool has_complained; /* that this host cannot do it: once */
};

/* connection_fd: of the message, -1 if it had none; stays the caller's.  Returns the descriptor to send with the answer, the caller's to close,
 * or -1 where answer_out->err says why there is none. */
int ident_broker_answer(struct ident_broker *broker, const struct conf *conf, uint32_t worker, uint64_t now_ms,
			const struct role_ident_wanted *wanted, int connection_fd, struct role_ident *answer_out);

#endif
