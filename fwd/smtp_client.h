/* smtp_client.h - the client's side of one SMTP (RFC 5321) or LMTP (RFC 2033) connection: several messages in a row.
 * Uses what the server offers: PIPELINING, SIZE, 8BITMIME, DSN, XFORWARD, XCLIENT, STARTTLS (RFC 3207).  The body goes from its
 * file to the socket by sendfile(), or through TLS.
 * Promise: a recipient is DELIVERED only after the server's 2xx to the whole message.
 * Owns: the socket.  Borrows: the attempt, from send until done or failed.
 * Calls back: on the loop, never from inside smtp_client_send.  Every wait has a deadline.  Replies are hostile: whatever a server
 * says ends in a settled attempt or a failed connection.  Requires: SIGPIPE ignored (priv_start_process), for sendfile() can not
 * say so itself.
 */
#ifndef POSTERN_SMTP_CLIENT_H
#define POSTERN_SMTP_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "attempt.h"
#include "err.h"
#include "forward_spec.h"
#include "loop.h"
#include "tls.h"

struct smtp_client;

struct smtp_client_options {
	struct loop *loop;
	const char *hostname;       /* for EHLO; copied */
	const char *remote;         /* for logs and reports; copied */
	bool is_lmtp;
	enum forward_identity identity; /* XFORWARD and XCLIENT are said here; spoof is the socket's matter */
	enum tls_level tls;         /* MAY: what fails ends in SMTP_END_NO_TLS; what is needed and not to be had in SMTP_END_REFUSED */
	const char *tls_name;       /* whom the certificate must prove; copied */
	struct tls_trust *trust;    /* held; not with TLS_NONE */
	uint64_t reply_timeout_ms;
	uint64_t idle_ms;           /* QUIT after so long without a message */
};

/* How a connection ends. */
enum smtp_end {
	SMTP_END_IDLE,    /* in peace: our QUIT, or the server hung up between two messages */
	SMTP_END_REFUSED, /* before it was ready: the server does not want us (greeting, EHLO) */
	SMTP_END_NO_TLS,  /* before it was ready: STARTTLS was offered and does not work; without it the server may still do */
	SMTP_END_STALE,   /* a message was begun, but the server had hung up before: not a word about it, send it again elsewhere */
	SMTP_END_BROKEN   /* in the middle of a message: the attempt's recipients are settled (DEFERRED) */
};

struct smtp_client_events {
	void (*ready)(void *ctx);                  /* wants a message: once after EHLO, then after each done */
	void (*done)(void *ctx, struct attempt *a); /* every recipient is settled */
	/* The connection is gone.  a: the attempt under way (STALE, BROKEN), else NULL.  Destroy the client now. */
	void (*ended)(void *ctx, enum smtp_end end, struct attempt *a, const struct reason *why);
	void *ctx;
};

int smtp_client_create(int fd, const struct smtp_client_options *options, const struct smtp_client_events *events,
		       struct smtp_client **out);
void smtp_client_destroy(struct smtp_client **client);

/* Once ready: the identity is to be told by a command, and the server does not offer it. */
bool smtp_client_hides_clients(const struct smtp_client *client);

/* Between two messages, and the server has not hung up. */
bool smtp_client_is_ready(const struct smtp_client *client);
/* Only when ready. */
void smtp_client_send(struct smtp_client *client, struct attempt *attempt);
/* Say QUIT (when ready); ended follows. */
void smtp_client_quit(struct smtp_client *client);

const char *smtp_client_state_name(const struct smtp_client *client);

#endif
