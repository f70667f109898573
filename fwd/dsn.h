/* dsn.h - the report to a sender: multipart/report as RFC 6522 and RFC 3464 say, in wire form (CRLF, dot-stuffed, final dot).
 * Promise: no line over 998 bytes; ASCII but for a whole message that is returned as 8bit, and for a sender whose own address is UTF-8,
 * who gets the form of RFC 6533.  Peer text in it is cut to printable ASCII, one line each, so no reply of a server can plant a header
 * or a part.
 * Pure.  Limits: about 2 KiB a recipient, and what is returned.
 */
#ifndef POSTERN_DSN_H
#define POSTERN_DSN_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "envelope.h"
#include "message_id.h"

/* DSN_RELAYED: handed to a server that sends no such reports; DSN_DELIVERED: into the mailbox. */
enum dsn_kind { DSN_FAILED, DSN_DELAYED, DSN_RELAYED, DSN_DELIVERED };
#define DSN_KINDS 4

struct dsn_recipient {
	const struct spool_recipient *recipient;
	struct span status; /* "5.1.1" */
	struct span reply;  /* the server's words, or ours when no server spoke */
	unsigned code;      /* 0: our words, no SMTP reply */
};

struct dsn_report {
	enum dsn_kind kind;
	struct span hostname;
	struct span remote;              /* the server that spoke; may be empty */
	struct spool_id id;              /* of the report */
	struct spool_id original_id;
	const struct spool_envelope *original;
	int64_t now, expires;            /* expires: when we give up (DSN_DELAYED) */
	const struct dsn_recipient *recipients;
	size_t count;
	struct span original_body;       /* wire form, whole or cut, with or without its final dot */
	bool is_body_whole;              /* else only the header is returned, whatever RET says; so it is with lines over 998 bytes */
};

/* The value of Action: "failed", "delayed" and so on. */
const char *dsn_kind_name(enum dsn_kind kind);

int dsn_write(const struct dsn_report *report, struct buf *out);

/* Does the sender of r want this kind?  RFC 3461 section 4.1; relayed only when asked for. */
bool dsn_is_wanted(enum dsn_kind kind, const struct spool_envelope *envelope, const struct spool_recipient *r);

#endif
