/* verify.h - verify-recipients: whether the next server knows a recipient, before a session accepts it.
 * A worker asks (verify_packet.h); the answer comes from the cache, from a question to the server (verify_probe.h) that several may wait
 * for, or is "unknown" at once, where that server is down or too much is asked.  Only a yes, or a no with 5xx to the recipient itself, is
 * an answer; it is remembered over restarts in SPOOL/cache/verify.
 * A worker is believed nothing: the section must be configured and want this, and where it names the server (forward = original) the
 * port must be 25.  Questions go out in our own name, never from a client's address.
 */
#ifndef POSTERN_VERIFY_H
#define POSTERN_VERIFY_H

#include "forwarder.h"
#include "route.h"
#include "verify_packet.h"

struct verify;

typedef void (*verify_answered_fn)(void *asker, const struct verify_answer *answer);

/* Reads the cache's file; blocks on that, so before the loop runs. */
int verify_create(struct forwarder *f, verify_answered_fn answered, struct verify **out);
/* Writes the file; blocks, so behind the loop. */
void verify_destroy(struct verify **verify);

/* STEP_DONE: *out is the answer; STEP_WAIT: `answered` follows, with that asker. */
enum step verify_ask(struct verify *verify, void *asker, const struct verify_ask *ask, struct verify_answer *out);
/* The asker is gone. */
void verify_forget(struct verify *verify, void *asker);

/* Mail to it was delivered: known without a question.  Or it failed, perhaps for another reason: asked anew the next time. */
void verify_learn(struct verify *verify, const struct route *route, struct span path, bool is_delivered);

/* No job runs. */
bool verify_is_quiet(const struct verify *verify);

struct verify_figures {
	uint64_t asked, hits, yes, no, unknown; /* yes, no, unknown: what servers said */
	uint64_t entries, connections;
};
void verify_figures(const struct verify *verify, struct verify_figures *out);

/* An administrator's wish: know nothing any more, or nothing of that recipient (path not empty).  Returns how many answers went. */
size_t verify_flush(struct verify *verify, struct span path);

#endif
