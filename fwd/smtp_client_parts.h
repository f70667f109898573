/* smtp_client_parts.h - what smtp_client.c (socket, deadlines, life) and smtp_dialogue.c (what is said and answered) share.  Only
 * for them.
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
	CLIENT_READY,    /* between messages */
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
	struct loop_task end_task;
	char hostname[256], remote[320];
	bool is_lmtp, has_xforward;
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
	struct envelope_plan plan;
	uint64_t body_sent;
	size_t result_next;      /* LMTP: whose reply comes next */
};

/* smtp_client.c */
void client_set_state(struct smtp_client *c, enum client_state state);
void client_say(struct smtp_client *c, const char *line); /* with its CRLF */
void client_end(struct smtp_client *c, enum smtp_end end, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* smtp_dialogue.c */
void dialogue_reply(struct smtp_client *c);      /* c->reply is complete */
void dialogue_begin(struct smtp_client *c);      /* c->attempt is new */
void dialogue_say_more(struct smtp_client *c);   /* room for commands */
void dialogue_broken(struct smtp_client *c, const char *what); /* closed, timed out, nonsense: settle, and end */

#endif
