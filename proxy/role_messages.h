/* role_messages.h - what master and session workers say to each other, over one socketpair a worker (lib/ipc).
 * At its start a worker gets SETUP, COUNTERS, RULES, one LISTENER for each of its sockets, and GO, in this order; then it answers READY.
 * Everything later can come at any time.  Each type has one payload struct; the receiver checks its size and its contents.
 */
#ifndef POSTERN_ROLE_MESSAGES_H
#define POSTERN_ROLE_MESSAGES_H

#include <stdint.h>

#include "conf.h"
#include "local_addrs.h"
#include "name_servers.h"
#include "priv.h"
#include "rules_syn.h"
#include "spool_segment.h"

#define SESSION_ROLE_ARG "--role=session"
#define ROLE_CONTROL_FD 3

enum role_message {
	/* master to worker */
	ROLE_SETUP = 16,   /* struct role_setup; descriptor: the directory of its chroot */
	ROLE_COUNTERS,     /* no payload; descriptor: counters.h */
	ROLE_RULES,        /* struct role_rules; descriptors: rules_source.h, rule_hits.h (the slot behind the workers' is the gate's), and with a
			    * content filter its text.  At start and at each reload */
	ROLE_LISTENER,     /* struct role_listener; descriptor: the listening socket.  Later: in place of the one of that kind */
	ROLE_GO,           /* no payload */
	ROLE_CONF,         /* struct role_conf: at a reload, in front of ROLE_RULES */
	ROLE_SEGMENT,      /* struct role_segment; descriptor, none when err is set */
	ROLE_LARGE,        /* struct role_large; descriptor, none when err is set */
	ROLE_FORWARDER,    /* no payload; descriptor: a connection to posternfwd */
	ROLE_IDENT,        /* struct role_ident; descriptor, none when err is set: a connection that has begun (ident_broker.h) */
	ROLE_CHECKER,      /* no payload; descriptor: a channel to the checker (checker_messages.h), in the place of an earlier one */
	ROLE_ORIGIN,       /* struct role_origin */
	ROLE_MILTER,       /* struct role_milter; descriptor, none when err is set: a connection that has begun (milter_broker.h) */
	ROLE_DRAIN,        /* no payload: accept no more, end what is idle, finish the rest */

	/* worker to master */
	ROLE_READY,        /* no payload: accepting */
	ROLE_FAILED,       /* struct role_failed: the start went wrong, the process ends */
	ROLE_NEED_SEGMENT, /* no payload */
	ROLE_NEED_LARGE,   /* struct role_large_wanted */
	ROLE_RULES_TAKEN,  /* struct role_rules_taken: after a ROLE_RULES that came behind READY, if it was the last one */
	ROLE_FORWARDER_LOST, /* no payload: the connection to posternfwd is gone */
	ROLE_CHECKER_LOST, /* no payload: the channel to the checker is gone */
	ROLE_NEED_MILTER,  /* struct role_milter_wanted */
	ROLE_CLIENT_VERDICT, /* struct role_client_verdict; descriptor: the client's connection */
	ROLE_LIST_REPORT,  /* struct role_list_report; descriptor: the client's connection, none where hold_s is 0 */
	ROLE_NEED_IDENT,   /* struct role_ident_wanted; descriptor: the client's connection, of which a connection to its ident server is wanted */
	ROLE_NEED_ORIGIN,  /* struct role_origin_wanted; descriptor: the client's connection, of which the original destination is wanted */
};

/* What a worker follows from the configuration; replaced at a reload. */
struct role_conf {
	struct conf conf;
	struct local_addrs local_addrs;
	struct name_servers name_servers; /* read by the master: a worker opens no file */
};

struct role_setup {
	uint32_t worker;  /* 0 … */
	uint32_t workers;
	uint32_t generation; /* how often this worker was started: part of session ids */
	struct priv_user user;
	uint64_t log_form;
	struct role_conf conf;
};

struct role_listener {
	uint32_t listen_index; /* into conf.listen */
	uint32_t family;       /* enum addr_family */
};

struct role_rules {
	uint64_t generation;
};

struct role_rules_taken {
	uint64_t generation;
	int64_t err; /* not 0: the worker judges by the rules that it had */
};

struct role_segment {
	int32_t err;
	struct spool_segment_name name;
};

struct role_large {
	int32_t err;
	struct spool_id id;
};

struct role_large_wanted {
	struct spool_id id;
};

/* ticket: the worker's own, comes back as it is. */
struct role_ident_wanted {
	uint64_t ticket;
	uint64_t listen_index; /* into conf.listen: where the client came in */
};

/* By the rule actions drop, pass and tarpit. */
struct role_client_verdict {
	uint32_t purpose;      /* enum kernel_set_purpose: KSET_BLOCK, KSET_PASS or KSET_TARPIT */
	uint32_t listen_index; /* into conf.listen: where the client came in */
};

/* What a block list said of a client. */
#define LIST_ZONE_MAX 253
struct list_report {
	uint32_t hold_s; /* from now on; 0: the list is not to be believed, whatever it said before, of anybody */
	uint32_t zone_len;
	char zone[LIST_ZONE_MAX + 1];
	struct syn_list_answer answer;
};

struct role_list_report {
	uint32_t listen_index; /* into conf.listen: where the client came in */
	struct list_report report;
};

struct role_ident {
	uint64_t ticket;
	int64_t err;
};

/* ticket: the worker's own, comes back as it is. */
struct role_origin_wanted {
	uint64_t ticket;
	uint64_t listen_index; /* into conf.listen: where the client came in */
};

struct role_origin {
	uint64_t ticket;
	int64_t err; /* as origdst_find has it */
	struct endpoint original;
	struct reason why;
};

/* The filter is named by its place in the configuration, and by what stands there: a reload may have put another one in that place. */
struct role_milter_wanted {
	uint64_t ticket;
	uint64_t index;
	uint64_t address_hash; /* milter_spec_address_hash */
};

struct role_milter {
	uint64_t ticket;
	int64_t err; /* ERR_AGAIN: ask again a moment later */
};

struct role_failed {
	struct reason why;
};

#endif
