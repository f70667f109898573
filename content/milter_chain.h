/* milter_chain.h - all the filters of one message, in their order: each is told of a recipient before the next one, and at the end of the message each
 * sees what those before it have changed.  The first that refuses decides.
 * Connections are opened with the first recipient that is asked about.  What is asked queues up and is answered in order.
 * A filter that fails counts for the rest of the message as its `fail` says: MILTER_FAIL_ACCEPT leaves it out.
 * Owns: the dialogues, the message's changes.  Borrows: peers, facts and hooks until destroy; an image until its answer was given and the change was
 * taken.
 * Calls back: on the loop, never before the starting function has returned, and not after destroy (but report, from destroy itself).
 */
#ifndef POSTERN_MILTER_CHAIN_H
#define POSTERN_MILTER_CHAIN_H

#include "milter_dialogue.h"
#include "milter_opening.h"
#include "milter_spec.h"

struct milter_peer {
	const char *name;
	enum milter_fail fail;
	struct milter_times times;
};

/* What became of one filter and one message; once for each that was asked, or that failed. */
struct milter_report {
	size_t peer;
	const struct milter_answer *answer; /* the last */
	const char *edits;                  /* what it has changed; empty: nothing */
	struct span hold_reason;            /* it has quarantined the message */
	struct span rcpt;                   /* refused alone: the dialogue goes on, and another report will come */
	bool has_spoken;                    /* it was there: it has negotiated */
	bool is_abandoned;                  /* the client has not sent the message */
	uint64_t took_ms;                   /* waiting for it */
};

struct milter_hooks {
	struct milter_opener opener; /* answers by milter_chain_opened */
	/* It has taken the connection, and speaks. */
	void (*speaks)(void *ctx, size_t peer);
	void (*report)(void *ctx, const struct milter_report *report);
};

struct milter_chain;

/* deadline_ms: for everything at the end of the message, and for each filter and recipient, there 4 minutes at the most. */
int milter_chain_create(struct loop *loop, const struct milter_peer *peers, size_t count, const struct milter_facts *facts,
			const struct milter_hooks *hooks, void *ctx, uint64_t deadline_ms, struct milter_chain **out);

/* The answer to milter_hooks.open.  err 0: fd is owned from here on. */
void milter_chain_opened(struct milter_chain *chain, int err, int fd);

/* refusal: NULL: this recipient may stay; who says why not.  Both for the call only. */
typedef void (*milter_rcpt_fn)(void *ctx, const struct milter_refusal *refusal, const char *who);

/* Tell the filters of a recipient.  done NULL: what they say of it is disregarded.  rcpt is copied. */
int milter_chain_rcpt(struct milter_chain *chain, const struct milter_rcpt *rcpt, milter_rcpt_fn done, void *ctx);

/* At the end of data, when every recipient is answered.  change: NULL unless outcome is MILTER_PASS and something was changed; its descriptor goes over
 * to the receiver, the rest lives in the chain. */
typedef void (*milter_judged_fn)(void *ctx, enum milter_outcome outcome, const struct milter_refusal *refusal, const char *who,
				 const struct content_change *change);
void milter_chain_message(struct milter_chain *chain, const struct content_image *image, uint64_t body_max, milter_judged_fn done, void *ctx);

/* Accepts NULL, clears the pointer.  Says goodbye to all. */
void milter_chain_destroy(struct milter_chain **chain);

#endif
