/* recipient_check.h - a session's question whether the next server knows a recipient (verify-recipients), asked of posternfwd.
 * Who gets no answer in time accepts the recipient: so it is without posternfwd, with a server that is down, and behind too many questions.
 * Owns: the questions that wait.  Calls back: on the loop, once, never before the start has returned, unless cancelled.
 */
#ifndef POSTERN_RECIPIENT_CHECK_H
#define POSTERN_RECIPIENT_CHECK_H

#include "addr.h"
#include "loop.h"
#include "worker_spool.h"

struct recipient_checks; /* of one worker */
struct recipient_check;

int recipient_checks_create(struct loop *loop, struct worker_spool *spool, struct recipient_checks **out);
/* Every check must be over or cancelled. */
void recipient_checks_destroy(struct recipient_checks **checks);

/* line: for VERIFY_NO the reply for the client, "550 5.1.1 no such user", printable; else empty.  For the call only. */
typedef void (*recipient_check_fn)(void *ctx, enum verify_result result, const char *line);

/* Not 0: nobody can be asked (now), or not about that path: accept. */
int recipient_check_start(struct recipient_checks *checks, const char *listener, const struct endpoint *dst, struct span path,
			  uint64_t timeout_ms, recipient_check_fn done, void *ctx, struct recipient_check **out);
void recipient_check_cancel(struct recipient_check **check);

#endif
