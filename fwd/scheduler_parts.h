/* scheduler_parts.h - what scheduler.c (messages and times), destination.c (lines and back-off) and connection.c (attempts) share.
 * Only for them.
 */
#ifndef POSTERN_SCHEDULER_PARTS_H
#define POSTERN_SCHEDULER_PARTS_H

#include "attempt.h"
#include "dial.h"
#include "load_average.h"
#include "local_addrs.h"
#include "message_heap.h"
#include "route.h"
#include "scheduler.h"
#include "sendmail_pipe.h"
#include "smtp_client.h"

struct connection;

struct destination {
	struct scheduler *scheduler;
	struct destination *hash_next;
	char *key;
	struct route route;
	struct message_heap fresh, again; /* ready: never tried, tried before; taken from in turn, oldest first */
	bool is_turn_of_again;
	size_t remembered;               /* messages that point here */
	struct connection *idle;
	unsigned connections, dialing;   /* dialing: of those, not yet ready for the first time */
	unsigned window;                 /* connections it may have now */
	unsigned failures;               /* in a row; 0: it is up, or nobody knows */
	uint64_t retry_at_ms;            /* no connection before */
	bool has_worked;                 /* ever, in this process */
	bool is_held;                    /* down, and it is for an operator to mend (a mail program): its messages stay in line */
	char error[200];
	struct loop_timer *retry_timer;  /* made with the first failure */
	struct loop_task kick_task, defer_task;
	bool defers_first;               /* the next to be deferred is the one the failed connection was for */
	uint64_t clear_until_ms;         /* STARTTLS does not work there, and need not */
	bool is_hiding_logged;           /* that it does not learn who the clients are */
	bool has_answered;               /* the last connection that was dialled stood */
	bool is_starved;                 /* waits for a connection of the whole process */
	bool is_woken;                   /* and may have one now */
	struct destination *starved_next;
};

/* One connection, or one call of a program. */
struct connection {
	struct destination *destination;
	struct connection *prev, *next;           /* of all */
	struct connection *idle_prev, *idle_next; /* of its destination */
	bool is_idle;
	bool is_leaving;                          /* told to quit */
	unsigned served;                          /* messages */
	bool was_ready;
	bool way_works;                           /* a program: the calls before this one went well */
	bool is_clear;           /* the second dial, without TLS */
	struct dial *dial;
	struct smtp_client *client;
	struct sendmail_pipe *pipe;
	struct attempt *attempt;
	struct load *load;
};

#define STARVED_LINES 3

struct scheduler {
	struct forwarder *f;
	struct destination **slots; /* by key */
	size_t room, destination_count;
	struct message_heap due;
	struct loop_timer *due_timer;
	struct connection *connections;
	unsigned connection_count, connection_max, child_count;
	unsigned unproven;          /* connections to destinations that have not answered */
	unsigned active;            /* messages that are tried at the moment */
	struct starved {
		struct destination *head, **tail;
	} starved[STARVED_LINES];   /* for servers that have not answered, for those that have, for programs */
	struct load_average load;
	struct local_addrs local;
	uint64_t figures_idle, figures_ready;
	bool is_stopping;
};

/* destination.c */
int destination_get(struct scheduler *s, const struct route *route, struct destination **out);
void destination_append(struct destination *d, struct fwd_message *m);
/* The one whose turn it is; NULL: the line is empty. */
struct fwd_message *destination_first(const struct destination *d);
size_t destination_ready(const struct destination *d);
/* Is there a connection of the whole process to be had?  Half of them at most are for destinations that have not answered yet, and an
 * eighth is kept for these: a thousand dead servers don't keep out a living one, nor the busy ones a new one. */
bool destination_has_slot(const struct destination *d);
void destination_take(struct destination *d, struct fwd_message *m);
void destination_kick(struct destination *d);   /* on the next turn: start what can be started, free it when nobody needs it */
void destination_works(struct destination *d);
void destination_failed(struct destination *d, const char *why);
void destination_hold(struct destination *d, const char *why);
void destination_free(struct destination *d);

/* connection.c */
int connection_open(struct destination *d);
void connection_give(struct connection *c);      /* the first in line */
void connection_close(struct connection **c);
void connection_wake_starved(struct scheduler *s);
/* Somebody waits for a connection: one that is idle and not needed ends. */
void connection_end_idle(struct scheduler *s);

/* scheduler.c */
void scheduler_ready(struct scheduler *s, struct fwd_message *m);
/* The message can't be read; takes care of it. */
void scheduler_load_failed(struct scheduler *s, struct fwd_message *m, int err);
/* After a reload: true if it goes elsewhere now (then it is in line there). */
bool scheduler_reroutes(struct scheduler *s, struct fwd_message *m, const struct spool_envelope *envelope);

#endif
