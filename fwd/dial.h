/* dial.h - from a route to a connected socket: resolve (in a loop job), try every address in turn, each with the connect timeout.
 * With `identity = spoof` from the client's own address.  Where that can't be done (no transparent socket), or the way back does not lead
 * to us (no answer in time), the address has failed; unless `spoof-fallback` names another identity: then it is tried once more, from
 * our own.  A refusal is an answer: the way back is ours.
 * Needs nothing of SMTP.  Owns: the socket until it is handed over.
 */
#ifndef POSTERN_DIAL_H
#define POSTERN_DIAL_H

#include <stdbool.h>
#include <stdint.h>

#include "broker.h"
#include "err.h"
#include "local_addrs.h"
#include "loop.h"
#include "route.h"

struct dial;

struct dial_options {
	struct loop *loop;
	struct broker *broker;
	const struct local_addrs *local; /* our own: never spoofed */
	uint64_t connect_timeout_ms;     /* for each address */
};

struct dial_result {
	int err;
	int fd;               /* the receiver's */
	bool has_fallen_back; /* spoof-fallback counts: the server sees us */
	char remote[320];     /* "mx.example.org[192.0.2.1]:25" */
	struct reason why;    /* of the last address */
};

/* done runs on the loop, once, unless cancelled before; the dial is gone then. */
typedef void (*dial_done_fn)(void *ctx, struct dial_result *result);
int dial_start(const struct dial_options *options, const struct route *route, dial_done_fn done, void *ctx, struct dial **out);
void dial_cancel(struct dial **dial);

#endif
