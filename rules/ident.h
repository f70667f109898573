/* ident.h - asks a client's host who is behind a connection (RFC 1413).
 * The query goes to port 113 of the client, from whatever address the kernel chooses: a worker has no right to speak from another one.
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

struct ident;
typedef void (*ident_fn)(void *ctx, enum ident_result result, struct span user);

/* client_port: of the connection in question, at the client; our_port: the port that the client connected to. */
int ident_start(struct loop *loop, const struct addr *client, uint16_t client_port, uint16_t our_port, uint64_t timeout_ms, ident_fn done,
		void *ctx, struct ident **out);

/* Also to give it back behind done.  Accepts NULL, clears the pointer. */
void ident_cancel(struct ident **ident);

#endif
