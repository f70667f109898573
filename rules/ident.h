/* ident.h - asks a client's host who is behind a connection (RFC 1413).
 * The client's host looks for a connection between itself and whoever asks, so the query should come from the address that the client connected
 * to.  An ident_opener, if there is one, makes such connections; where it can't, or where nothing comes back on one by half of the time, the
 * query goes out from whatever address the kernel chooses.
 * Promise: done is called once, on a later turn of the loop, within timeout_ms, unless ident_cancel came first.
 * Bounds: IDENT_LINE_CAP bytes of answer.
 */
#ifndef POSTERN_IDENT_H
#define POSTERN_IDENT_H

#include <stdint.h>

#include "addr.h"
#include "loop.h"
#include "span.h"

#define IDENT_PORT 113
#define IDENT_LINE_CAP 1000 /* RFC 1413 section 5 */
#define IDENT_USER_CAP 128  /* of a user name: the RFC allows 512, nobody has such a one */

enum ident_result {
	IDENT_USER,   /* a user name */
	IDENT_NOBODY, /* an answer without a user name: an error answer, a refused connection, rubbish */
	IDENT_TIMEOUT /* no answer */
};

/* One answer line without its line end.  IDENT_USER: *user_out is part of line.  Never IDENT_TIMEOUT.  A user name of other than printable ASCII,
 * or of more than IDENT_USER_CAP bytes, or an answer about other ports, is IDENT_NOBODY. */
enum ident_result ident_answer_parse(struct span line, uint16_t client_port, uint16_t our_port, struct span *user_out);

/* Opens connections to port IDENT_PORT of one client that come from the address which that client connected to.
 * ask: a ticket, or 0: there is none to be had.  opened is called once, on a later turn of the loop, unless the ticket was cancelled:
 * with a socket, not blocking, whose connection has begun and which is the receiver's; or with -1.
 * Cancelling a ticket that was answered already is normal and does nothing. */
typedef void (*ident_opened_fn)(void *ctx, int fd);
struct ident_opener {
	uint64_t (*ask)(void *ctx, ident_opened_fn opened, void *opened_ctx);
	void (*cancel)(void *ctx, uint64_t ticket);
};

/* How a query went; added up by whoever wants to know. */
struct ident_stats {
	uint64_t queries;
	uint64_t from_own_address; /* of these, at last from an address of ours that the kernel chose */
	uint64_t lost;             /* of these, because nothing came back to the client's destination, though the client does answer us */
};

struct ident;
typedef void (*ident_fn)(void *ctx, enum ident_result result, struct span user);

struct ident_question {
	struct addr client;
	uint16_t client_port; /* of the connection in question */
	uint16_t our_port;    /* that the client connected to */
	uint64_t timeout_ms;
	const struct ident_opener *opener; /* NULL: none.  Borrowed until done or ident_cancel, and so are: */
	void *opener_ctx;
	struct ident_stats *stats;
};

int ident_start(struct loop *loop, const struct ident_question *question, ident_fn done, void *ctx, struct ident **out);

/* Also to give it back behind done.  Accepts NULL, clears the pointer. */
void ident_cancel(struct ident **ident);

#endif
