/* envelope.h - what SMTP said about a message, as text lines: the middle part of a record.
 * One `KEY value` a line, LF.  FROM comes first, then every RCPT, then the circumstances; docs/spool-format.md lists them.  Bytes that
 * are not printable ASCII, the backslash, and in tokens also space, < and >, are written \xNN, so no peer byte breaks a line.
 * Owns: nothing; decode copies every text into the caller's arena.  Decoding treats the bytes as hostile.
 * Lines with an unknown key, and unknown parameters of a RCPT, are kept and written again: a later version may have put them there.
 */
#ifndef POSTERN_ENVELOPE_H
#define POSTERN_ENVELOPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "arena.h"
#include "buf.h"
#include "span.h"

#define SPOOL_ENVELOPE_CAP (4u << 20)  /* bytes of all lines */
#define SPOOL_ENVELOPE_RCPT_CAP (SPOOL_ENVELOPE_CAP - (512u << 10)) /* of these the RCPT lines: the others, all at their caps, fit behind */
#define SPOOL_RECIPIENTS_CAP 10000u
#define SPOOL_VALUE_CAP 1024u          /* bytes of one value before escaping */
#define SPOOL_EXTRAS_CAP 64u           /* unknown lines */

/* RFC 3461 section 4.1; 0 = the client gave no NOTIFY. */
enum { SPOOL_NOTIFY_NEVER = 1, SPOOL_NOTIFY_SUCCESS = 2, SPOOL_NOTIFY_FAILURE = 4, SPOOL_NOTIFY_DELAY = 8 };

enum spool_body { SPOOL_BODY_NONE, SPOOL_BODY_7BIT, SPOOL_BODY_8BITMIME };
enum spool_ret { SPOOL_RET_NONE, SPOOL_RET_FULL, SPOOL_RET_HDRS };

struct spool_recipient {
	struct span path;  /* forward-path without its angle brackets, never empty */
	unsigned notify;   /* SPOOL_NOTIFY_* */
	struct span orcpt; /* as the client sent it: addr-type;xtext.  Empty = not given */
	struct span extra; /* unknown KEY=value parameters, separated by one space, as they stand in the file */
};

struct spool_extra {
	struct span key;   /* A-Z, 0-9 and '-' */
	struct span value;
};

/* Empty spans, ADDR_NONE and 0 mean "not known"; such lines are not written. */
struct spool_envelope {
	struct span from; /* reverse-path without its angle brackets; empty = null sender */
	struct spool_recipient *recipients;
	size_t recipient_count;

	struct endpoint client;
	struct endpoint dst;     /* where the client wanted to go */
	struct span hold;        /* why it is to be held back until somebody releases it (quarantine); empty: it is not */
	struct span iface;       /* network interface it came in by */
	struct span listener;    /* name of the listen section */
	struct span client_name; /* confirmed name of the client */
	struct span helo;
	struct span proto;       /* SMTP, ESMTP, ESMTPS */
	struct span tls;         /* version and cipher */
	struct span ident;
	bool is_trusted;
	int64_t time;            /* accepted, seconds since 1970 */
	enum spool_body body;
	enum spool_ret ret;
	struct span envid;       /* xtext as the client sent it */

	struct spool_extra *extras;
	size_t extra_count;
};

/* Append the lines to out.  ERR_INVAL: no recipient, or an extra whose key is one of ours or malformed; ERR_TOOLONG: over a cap.
 * On failure out is as before. */
int spool_envelope_encode(const struct spool_envelope *e, struct buf *out);

/* The bytes that encode needs for one recipient.  While the sum over all of them stays within SPOOL_ENVELOPE_RCPT_CAP, encode does not
 * fail with ERR_TOOLONG: a session that counts them can answer 452 to the RCPT that goes beyond. */
size_t spool_envelope_recipient_len(const struct spool_recipient *r);

/* Read lines.  ERR_CORRUPT: not what encode writes (or a later version of it); ERR_TOOLONG; ERR_NOMEM. */
int spool_envelope_decode(struct span lines, struct arena *arena, struct spool_envelope *out);

#endif
