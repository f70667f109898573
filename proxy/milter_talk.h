/* milter_talk.h - a transaction's conversation with the configured milters: who they are, what they are told of the client, their connections by way of
 * the master, the lines in the log and the counters.
 * Begins with the first recipient whose rules say allow-milter; ends with the transaction.
 * Owns: copies of all it was given, the chain.  Calls back: as milter_chain.h.
 */
#ifndef POSTERN_MILTER_TALK_H
#define POSTERN_MILTER_TALK_H

#include "content_image.h"
#include "milter_chain.h"
#include "session_host.h"

struct milter_talk;

/* facts: copied. */
int milter_talk_create(struct session_host *host, uint64_t sid, const struct milter_facts *facts, struct milter_talk **out);

/* As milter_chain_rcpt. */
int milter_talk_rcpt(struct milter_talk *talk, const struct milter_rcpt *rcpt, milter_rcpt_fn done, void *ctx);

/* As milter_chain_message. */
void milter_talk_message(struct milter_talk *talk, const struct content_image *image, milter_judged_fn done, void *ctx);

/* Accepts NULL, clears the pointer. */
void milter_talk_destroy(struct milter_talk **talk);

#endif
