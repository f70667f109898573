/* attempt.h - one try to deliver one message: what is to be sent, and what became of each recipient.
 * Knows no transport: the SMTP client and the sendmail pipe read it and settle its recipients.
 * Owns: everything it points to, until attempt_destroy.
 */
#ifndef POSTERN_ATTEMPT_H
#define POSTERN_ATTEMPT_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "envelope.h"
#include "fwd_message.h"
#include "queue_file.h"
#include "reader.h"
#include "spool_dir.h"

struct attempt_recipient {
	uint32_t index;             /* in envelope.recipients */
	enum spool_outcome outcome; /* NONE until settled: DELIVERED, FAILED or DEFERRED */
	uint16_t code;              /* of the reply; 0: none */
	char status[10];            /* "5.1.1" (RFC 3463) */
	struct span text;           /* the reply or the error, one line, in the arena */
};

struct attempt {
	struct fwd_message *message;
	struct arena arena;
	struct spool_record record;
	struct spool_envelope envelope;
	struct span envelope_lines;    /* of a journal record */
	struct spool_body_source body;
	int file_fd;                   /* of a file in queue/; -1: the segment's */
	const struct spool_recipient_state *states; /* from queue/: one a recipient of the envelope; else NULL */
	struct span last_text;         /* from queue/: the last reply or error */
	struct attempt_recipient *todo;
	size_t todo_count;
	bool is_probe;                 /* no message: only whether the next server takes each recipient (DELIVERED: it does) */
	bool has_dsn_relay;            /* the next server offered DSN: it answers for what it took */
	bool is_final;                 /* what was delivered is in the mailbox (LMTP), not just one server further */
	bool is_our_fault;             /* deferred by what is wrong on this host (a broken mail program): nobody is given up for that */
	uint64_t started_ms;
	char tls[96];                  /* tls_describe; empty: it went in clear text */
	char remote[320];              /* who answered: "mx.example.org[192.0.2.1]:25" */
};

/* Read a message from its segment or its file.  Blocks on its file: for one in queue/ use a loop job.  ERR_NOTFOUND, ERR_CORRUPT,
 * ERR_IO, ERR_NOMEM.  ERR_EOF: no recipient is left to do (then *out is set all the same). */
int attempt_load(const struct spool_dirs *dirs, struct fwd_message *message, struct attempt **out);
void attempt_destroy(struct attempt **attempt);
/* Its descriptors only: the body is not wanted. */
void attempt_close(struct attempt *a);

/* Settle one recipient, or all that are not settled yet.  code 0: the text is ours; else it is a reply with its code ("550 5.1.1
 * no such user"), whose enhanced status is kept if it fits the outcome.  The text is copied and cut; control characters become
 * spaces. */
void attempt_settle(struct attempt *a, size_t todo_index, enum spool_outcome outcome, unsigned code, struct span text);
void attempt_settle_rest(struct attempt *a, enum spool_outcome outcome, unsigned code, struct span text);

/* How many have that outcome. */
size_t attempt_count(const struct attempt *a, enum spool_outcome outcome);

#endif
