/* content_verdict.h - what a check on content says of a whole message, and what it has changed in it.
 */
#ifndef POSTERN_CONTENT_VERDICT_H
#define POSTERN_CONTENT_VERDICT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "span.h"

enum content_outcome {
	CONTENT_PASS,
	CONTENT_REFUSE,  /* with the reply, 4xx or 5xx */
	CONTENT_DISCARD, /* the client is told that all is well, and nothing is kept */
};

#define CONTENT_REPLY_CAP 1024u
#define CONTENT_WHY_CAP 256u

/* Holds no pointers. */
struct content_verdict {
	enum content_outcome outcome;
	unsigned code;                /* CONTENT_REFUSE: 400 to 599 */
	char enhanced[12];            /* of the code's class; "": none */
	char text[CONTENT_REPLY_CAP]; /* of the reply; a newline parts its lines */
	char why[CONTENT_WHY_CAP];    /* for the log: who said so and for what reason; not escaped */
};

struct content_recipient {
	struct span path;  /* forward-path without its brackets */
	unsigned notify;   /* SMTP_NOTIFY_* */
	struct span orcpt; /* empty: none */
	const char *by;    /* who wants it, for the log; not NULL */
};

/* Of a message that passes.  Zeroed but for fd -1: nothing was changed. */
struct content_change {
	int fd;            /* not -1: the whole message as it is now, in wire form, from offset 0: a memfd, which goes over to the receiver */
	uint64_t len;
	bool has_sender;
	struct span sender;         /* reverse-path without its brackets */
	const struct content_recipient *added; /* who is there already is not added again */
	size_t added_count;
	const struct span *removed; /* forward-paths without their brackets */
	size_t removed_count;
	struct span hold_reason;    /* ptr not NULL: stored, and held back (quarantine) */
};

#endif
