/* milter_dialogue.h - one filter and one message: the milter protocol, version 6, over a connection that somebody else opened.
 * Steps: open (negotiation, CONNECT, HELO, MAIL), then any number of recipients, then the message.  Each is answered once, by answered().
 * After an answer other than MILTER_PASS, and MILTER_REFUSE of a recipient, the dialogue is over and nothing more may be asked.
 * Owns: the connection, buffers.  Borrows: facts until destroy; what a step is given until it is answered.
 * Calls back: on the loop, never before the starting function has returned, and not after destroy.
 * Deadlines: connect_ms for the connection, command_ms for each answer and for each piece that is sent, content_ms for the last word on a message; a
 * filter that says it is busy (PROGRESS) begins anew.  The caller has one for the whole.
 */
#ifndef POSTERN_MILTER_DIALOGUE_H
#define POSTERN_MILTER_DIALOGUE_H

#include "loop.h"
#include "milter_edits.h"
#include "milter_macros.h"
#include "milter_message.h"
#include "milter_refusal.h"

enum milter_outcome {
	MILTER_PASS,     /* so far */
	MILTER_ACCEPTED, /* and it wants to hear no more of it */
	MILTER_REFUSE,
	MILTER_DROP,     /* the client is told that all is well */
	MILTER_BROKEN,   /* the filter, or the way to it, has failed */
};

struct milter_answer {
	enum milter_outcome outcome;
	bool has_negotiated;           /* the filter has said something that makes sense */
	const char *stage;             /* at which it fell: "connect", "rcpt", "end" and the like */
	struct milter_refusal refusal; /* MILTER_REFUSE */
	int err;                       /* MILTER_BROKEN */
	const char *limit;             /* MILTER_BROKEN: it wanted more than this, as milter_edits.limit; NULL: another failure */
};

typedef void (*milter_answer_fn)(void *ctx, const struct milter_answer *answer);

struct milter_times {
	uint64_t connect_ms, command_ms, content_ms;
};

struct milter_dialogue;

int milter_dialogue_create(struct loop *loop, const struct milter_facts *facts, const struct milter_times *times, milter_answer_fn answered, void *ctx,
			   struct milter_dialogue **out);

/* fd: a stream socket whose connection has begun; owned from here on. */
void milter_dialogue_open(struct milter_dialogue *dialogue, int fd);

struct milter_rcpt {
	struct span path; /* without angle brackets */
	struct span args; /* ESMTP, separated by one space */
	struct span refusal; /* the reply that it got instead of being accepted; empty: none */
};
/* A refused one is told only to filters that want to hear of them, and passes. */
void milter_dialogue_rcpt(struct milter_dialogue *dialogue, const struct milter_rcpt *rcpt, size_t accepted_count);

/* edits: from milter_edits_init; filled.  They count with MILTER_PASS and MILTER_ACCEPTED only. */
void milter_dialogue_message(struct milter_dialogue *dialogue, const struct milter_message *message, size_t rcpt_count, struct milter_edits *edits);

/* Are header values shown and taken with the blank behind the colon?  After open. */
bool milter_dialogue_has_space(const struct milter_dialogue *dialogue);

/* Says goodbye as far as that goes without waiting.  Accepts NULL, clears the pointer. */
void milter_dialogue_destroy(struct milter_dialogue **dialogue);

#endif
