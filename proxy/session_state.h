/* session_state.h - the inside of a session, shared by the session_*.c files and nobody else.
 *   session.c           the connection: reading, writing, timers, beginning and end
 *   session_reply.c     reply slots
 *   session_commands.c  the command table and the commands without an envelope
 *   session_txn.c       MAIL, RCPT and the transaction between MAIL and the end of data
 *   session_milter.c    what the milters are told of a transaction
 *   session_deterrents.c  greeting, limits, what is logged of clients that misbehave
 *   session_data.c      DATA, and the way of the body into the spool
 *   session_store.c     the end of data: faults, checks on content, the commit, the final reply
 */
#ifndef POSTERN_SESSION_STATE_H
#define POSTERN_SESSION_STATE_H

#include "arena.h"
#include "body_rewrite.h"
#include "buf.h"
#include "client_table.h"
#include "content_check.h"
#include "kernel_sets.h"
#include "kv.h"
#include "milter_chain.h"
#include "origdst.h"
#include "paranoid.h"
#include "policy.h"
#include "recipient_check.h"
#include "sender_domain.h"
#include "session.h"
#include "session_reply.h"
#include "smtp_command.h"
#include "smtp_data.h"
#include "smtp_domain.h"
#include "smtp_header.h"
#include "smtp_line.h"
#include "smtp_params.h"
#include "tarpit.h"

enum session_state {
	SESSION_FRESH,   /* greeted, no HELO and no transaction yet */
	SESSION_IDLE,    /* between transactions */
	SESSION_MAIL,    /* MAIL was accepted; recipients may follow */
	SESSION_DATA,    /* 354 was sent */
	SESSION_CHECKING, /* the final dot was seen, the checks on content have not answered yet */
	SESSION_STORING, /* the final dot was seen, the spool has not answered yet */
	SESSION_LINGER,  /* the last reply is out: reading and forgetting until the client closes */
	SESSION_DEAD,    /* closed; freed by session_reap on the next turn of the loop */
};

/* A recipient whose verdict hangs on facts that are on their way; then, where the rules let it in, on what the next server says of it,
 * and last on the milters. */
struct rcpt_waiting {
	struct rcpt_waiting *next;
	struct session *session;
	struct reply_slot *slot;
	struct span path; /* in the arena of the transaction */
	struct smtp_rcpt_params params;
	struct judgement judgement;
	struct recipient_check *check; /* the next server is asked; NULL before */
	const char *known;             /* what it said */
	bool asks_milters;
	struct rules_verdict *verdict; /* heap; of the rules, meanwhile */
};

/* From MAIL to the end of data. */
struct session_txn {
	struct arena arena;
	struct span from;
	struct smtp_mail_params mail;
	struct sender_domain *sender_check; /* under way: MAIL is not answered yet */
	struct reply_slot *mail_slot;       /* its reply */
	struct spool_recipient *recipients; /* heap array */
	size_t recipient_count, recipient_room;
	size_t refused_count;
	size_t recipient_bytes; /* what they take in the envelope, with those that wait */
	struct rcpt_waiting *waiting;
	size_t waiting_count;
	uint32_t needs; /* enum verdict_need of all recipients */
	struct milter_talk *milters; /* NULL: no recipient has asked for them */

	struct spool_id id; /* session_txn_id */

	/* DATA */
	struct spool_txn *spool; /* NULL: nothing is being stored (any more) */
	struct smtp_data data;
	struct smtp_header header;
	struct paranoid_header suspicious;
	bool is_too_big;
	size_t own_len;              /* of our Received field, at the beginning of what is stored */
	struct content_check *check; /* NULL: no recipient asked for one */
	struct content_result checked; /* what it said */
	struct body_rewrite *rewrite;
	uint64_t held_bytes; /* of the body, in memory: counted against the worker's budget */
	struct reply_slot *slot; /* of the final reply */
};

/* Ten thousand idle ones are nothing unusual: the order of the fields leaves no holes. */
struct session {
	struct session *prev, *next; /* in host->sessions, or host->dead */
	struct session_host *host;
	uint64_t sid;
	int fd;
	uint32_t listen_index;
	struct origdst where;
	uint32_t messages;
	struct client *client;   /* held in host->clients; NULL: no limits apply */
	struct loop_io *io;
	struct loop_timer *timer;
	struct buf in;   /* bytes that could not be used yet; holds no memory while empty */
	struct buf out;  /* replies that are not sent yet; likewise */
	struct smtp_line line;
	struct reply_queue replies;
	struct policy policy;
	char *helo;      /* heap; NULL before HELO, which may never come without need-helo */
	struct session_txn *txn;
	uint64_t phase_ms;       /* since when the client has been busy with its present command or its data */
	struct tarpit pit;
	uint32_t errors, junk, rcpts; /* of the whole session */
	enum session_state state : 8;
	enum smtp_helo_kind helo_kind : 8;
	enum smtp_line_result held_fault : 8; /* MORE: none */
	bool is_esmtp : 1;
	bool has_eof : 1;            /* the client sends no more */
	bool is_quitting : 1;        /* QUIT was said: nobody cares any more how the connection ends */
	bool is_spool_waiting : 1;   /* the spool wants a pause */
	bool is_check_waiting : 1;   /* the checks on content want one */
	bool is_held : 1;            /* a command, or held_fault, must wait for the replies before it */
	bool is_tarpitted : 1;       /* the reply that ends the session is to be stuttered */
	bool is_greeting : 1;        /* the greeting is held back, and the client must not talk */
	bool is_accounted : 1;       /* it has named a sender or asked for an address, or its misdeed is in the log */
	bool has_waited : 1;         /* for us, when we last looked */
	bool has_told_gate : 1;      /* what is to become of this client */
	bool is_relayed : 1;         /* a balancer is at the other end: the kernel here never sees the client's address */
	bool is_running : 1;         /* inside session_go_on: don't enter it again */
};

/* Use the bytes that wait, send what is ready, set interest and timer.  After anything that may let the session go on. */
void session_go_on(struct session *s);

/* Close now, without another word.  s stays valid until the next turn of the loop. */
void session_close(struct session *s, const char *why);

void session_set_state(struct session *s, enum session_state state);
const struct conf *session_conf(const struct session *s);
const struct conf_listen *session_listen(const struct session *s);

/* Keys that every line of a session begins with. */
void session_log_begin(const struct session *s, struct kv *kv, const char *event);

/* ---- replies; out of memory closes the session */

void session_reply(struct session *s, unsigned code, const char *enhanced, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void session_reply_const(struct session *s, const struct smtp_reply_text *reply);

/* A reply into a slot (NULL: in turn), whole: "550 5.7.1 text" without CRLF, or several such lines joined by it.  It waits for hold_ms, or longer in the tarpit. */
#define SESSION_REPLY_LINES_CAP 1022u
void session_reply_line(struct session *s, struct reply_slot *slot, struct span line, bool closes, uint64_t hold_ms);

/* The same, but never held back. */
void session_reply_at_once(struct session *s, struct reply_slot *slot, struct span line, bool closes);

/* The same as session_reply for a protocol error: counted, and too many of them end the session. */
void session_error(struct session *s, unsigned code, const char *enhanced, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void session_error_const(struct session *s, const struct smtp_reply_text *reply);

/* A reply that ends the session. */
void session_last_reply(struct session *s, unsigned code, const char *enhanced, const char *fmt, ...) __attribute__((format(printf, 4, 5)));

/* ---- commands */

/* Run one line.  False: it has to wait for the replies in front of it; offer it again. */
bool session_command(struct session *s, struct span line);

/* ---- deterrents */

/* One ev=deterred line, counted. */
void session_log_deterred(struct session *s, enum counter counter, const char *why);

/* At once, or after greet-delay. */
void session_greet(struct session *s);

/* Bytes have come while the greeting was held back. */
void session_talks_early(struct session *s);

/* How long the next reply waits in the tarpit. */
uint64_t session_tarpit_ms(struct session *s);

/* By the rule actions drop and pass: the kernel is to block the client, or to let it by, from now on. */
void session_tell_gate(struct session *s, enum kernel_set_purpose purpose);

/* Does the action tarpit mean the kernel's set (tarpit-time), and not a stuttered reply? */
bool session_goes_to_kernel_tarpit(const struct session *s);

/* The last reply is in s->out: hand it and the connection over to be stuttered.  False: send it as any other. */
bool session_stutter(struct session *s);

/* Does paranoid mode apply to this client? */
bool session_is_paranoid(const struct session *s);

/* True: suspicious; refused, logged and counted. */
bool session_refuses_helo(struct session *s, struct span name);
bool session_refuses_path(struct session *s, const struct smtp_path *path, const char *enhanced);

/* The session ends: a line if it came to nothing. */
void session_log_null(struct session *s);

/* False: its client names too many; refused, logged and counted. */
bool session_may_name_recipient(struct session *s);

/* ---- transaction */

void session_mail(struct session *s, const struct smtp_command *cmd);
void session_rcpt(struct session *s, const struct smtp_command *cmd);
void session_facts_arrived(void *ctx);

/* MAIL waits for an answer: whatever builds on it must wait, too. */
bool session_mail_waits(const struct session *s);

/* Give the transaction its id, where it has none yet. */
void session_txn_id(struct session *s);

/* The one way in which a transaction ends, whatever happened to it: the state is idle behind it. */
void session_txn_reset(struct session *s);

/* ---- milters */

/* Ask them about a recipient; done as in milter_chain.h.  The first one begins the conversation. */
int session_milters_ask(struct session *s, struct span path, const struct smtp_rcpt_params *params, milter_rcpt_fn done, void *ctx);

/* Tell them, if there is a conversation, of a recipient that they are not asked about.  refusal: the reply that it got; empty: it was accepted. */
void session_milters_tell(struct session *s, struct span path, const struct smtp_rcpt_params *params, struct span refusal);

/* Their words to the client. */
void session_milters_reply(struct session *s, struct reply_slot *slot, const struct milter_refusal *refusal);

/* ---- data */

void session_data(struct session *s, const struct smtp_command *cmd);

/* Returns how many bytes were used. */
size_t session_data_push(struct session *s, struct span bytes);

/* ---- the end of data */

void session_end_of_data(struct session *s);

/* The spool has drained while checks are under way. */
void session_go_on_checking(struct session *s);

/* One line for a message that is not taken, counted. */
void session_log_refused(struct session *s, unsigned code, const char *why);

#endif
