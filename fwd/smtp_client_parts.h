/* smtp_client_parts.h - what smtp_client.c (socket, deadlines, life), smtp_hello.c (who we are, and for whom we speak) and
 * smtp_dialogue.c (messages) share.  Only for them.
 */
#ifndef POSTERN_SMTP_CLIENT_PARTS_H
#define POSTERN_SMTP_CLIENT_PARTS_H

#include "buf.h"
#include "smtp_caps.h"
#include "smtp_client.h"
#include "smtp_reply.h"

enum client_state {
	CLIENT_GREETING, /* waits for 220 */
	CLIENT_EHLO,     /* EHLO or LHLO was said */
	CLIENT_HELO,     /* EHLO was refused */
	CLIENT_STARTTLS, /* STARTTLS was said */
	CLIENT_TLS,      /* the handshake; then EHLO again */
	CLIENT_READY,    /* between messages */
	CLIENT_XCLIENT,  /* a message was given; XCLIENT was said for its client */
	CLIENT_XHELO,    /* EHLO or LHLO was said behind it */
	CLIENT_ENVELOPE, /* XFORWARD, MAIL, RCPT, DATA and their replies */
	CLIENT_BODY,     /* the message streams out */
	CLIENT_RESULT,   /* the final dot was sent */
	CLIENT_RESET,    /* RSET was said */
	CLIENT_QUIT,     /* QUIT was said */
	CLIENT_ENDED     /* silent; ended is about to be called */
};

/* The commands of one message in the order of their replies. */
struct envelope_plan {
	unsigned xforward_count;
	unsigned total;       /* XFORWARDs, MAIL, one RCPT a recipient, DATA */
	unsigned next_command, next_reply;
	unsigned accepted;    /* RCPTs with 2xx */
	bool is_refused;      /* MAIL was refused: nothing more is to be said */
	struct buf xforward;  /* its lines */
	size_t xforward_at;
};

struct smtp_client {
	struct loop *loop;
	struct smtp_client_events events;
	int fd;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_task end_task, read_task; /* read_task: bytes lie in tls, and the socket will not tell */
	char hostname[256], remote[320];
	bool is_lmtp;
	enum forward_identity identity;
	enum tls_level tls_level;
	char tls_name[256];
	struct tls_trust *trust;
	struct tls *tls;         /* NULL: clear text */
	char tls_text[TLS_TEXT_CAP]; /* empty: clear text */
	uint64_t reply_timeout_ms, idle_ms;

	enum client_state state;
	enum smtp_end end;
	struct reason why;
	struct smtp_caps caps;
	struct smtp_reply reply;
	struct buf out;          /* said, not yet sent */
	struct attempt *attempt;
	uint64_t messages;       /* finished */
	bool is_answered;        /* the server has said something about this attempt */
	bool is_dot_only;        /* 354 though no recipient was taken: an empty message ends it */
	unsigned xclient_offer;  /* what the server offered when it last did: the lines are made from that */
	struct buf xclient;      /* lines for this attempt's client, then the name for EHLO */
	size_t xclient_len;      /* of the lines */
	size_t xclient_at;       /* of the next to be said */
	struct buf introduced;   /* what of that the server has taken: for that client it takes us now */
	bool is_introducing;     /* it has taken one: without the others, or with those of another client, no message may be sent */
	struct envelope_plan plan;
	uint64_t body_sent;
	size_t result_next;      /* LMTP: whose reply comes next */
};

/* smtp_client.c */
void client_set_state(struct smtp_client *c, enum client_state state);
void client_say(struct smtp_client *c, const char *line); /* with its CRLF */
void client_flush(struct smtp_client *c);                 /* as much as goes now */
void client_end(struct smtp_client *c, enum smtp_end end, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* smtp_hello.c */
void hello_encrypted(struct smtp_client *c);     /* the handshake is done: all over again, nothing said before counts */
void hello_reply(struct smtp_client *c);         /* in one of its states: those before READY, and XCLIENT, XHELO */
/* For whom the new attempt is.  True: that is being said, and dialogue_envelope follows (or the connection has ended). */
bool hello_introduce(struct smtp_client *c);

/* smtp_dialogue.c */
#define DIALOGUE_TEXT_CAP 600
struct span dialogue_text(const struct smtp_client *c, char out[DIALOGUE_TEXT_CAP]); /* the reply, in one line */
void dialogue_reply(struct smtp_client *c);      /* c->reply is complete */
void dialogue_begin(struct smtp_client *c);      /* c->attempt is new */
void dialogue_envelope(struct smtp_client *c);   /* the server knows for whom: MAIL */
void dialogue_ready(struct smtp_client *c);      /* for a message */
bool dialogue_is_closing(struct smtp_client *c); /* the reply is a 421: then the connection has ended */
/* All recipients that are open are settled with the reply, and the connection ends. */
void dialogue_broken_by_reply(struct smtp_client *c);
void dialogue_say_more(struct smtp_client *c);   /* room for commands */
void dialogue_broken(struct smtp_client *c, const char *what); /* closed, timed out, nonsense: settle, and end */

#endif
