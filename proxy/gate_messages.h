/* gate_messages.h - what master and gate say to each other, over one socketpair (lib/ipc).
 * At its start the gate gets SETUP and answers READY.  Everything later can come at any time.  Each type has one payload struct; the
 * receiver checks its size and its contents.
 */
#ifndef POSTERN_GATE_MESSAGES_H
#define POSTERN_GATE_MESSAGES_H

#include <stdint.h>

#include "conf.h"
#include "kernel_sets.h"
#include "priv.h"
#include "role_messages.h"
#include "syn_gate.h"
#include "tarpit_gate.h"

#define GATE_ROLE_ARG "--role=gate"
#define GATE_BEAT_MS 1000u

enum gate_message {
	/* master to gate */
	GATE_SETUP = 96, /* struct gate_setup; descriptors: the directory of its chroot, and what sets_file.h kept if there is such */
	GATE_CONF,       /* struct role_conf: at a reload */
	GATE_RULES,      /* struct role_rules; descriptors: rules_source.h, rule_hits.h.  Behind SETUP, and at a reload behind CONF */
	GATE_BEAT,       /* struct gate_beat: each GATE_BEAT_MS */
	GATE_END,        /* no payload: nobody accepts any more; keep what is in the sets, and end */
	GATE_ASK,        /* struct gate_question */
	GATE_CLIENT,     /* struct gate_client */
	GATE_LIST_REPORT, /* struct gate_list_report */

	/* gate to master */
	GATE_READY,  /* no payload */
	GATE_FAILED, /* struct role_failed: the start went wrong, the process ends */
	GATE_STATUS, /* struct gate_status: each GATE_BEAT_MS */
	GATE_KEEP,   /* no payload; descriptor: what is in the sets, as text (set_text.h) */
	GATE_ANSWER, /* struct gate_answer; descriptor, where it has lines: a memory file with them */
};

struct gate_setup {
	struct priv_user user;
	uint64_t workers; /* the slot behind theirs is the gate's, in the memory for hits */
	uint64_t log_form;
	struct role_conf conf;
};

/* Do session workers accept, and so may the kernel divert?  In the order of conf.listen. */
struct gate_beat {
	uint8_t accepts[CONF_LISTEN_MAX];
};

/* A question of `postern set`, as it came. */
#define GATE_QUESTION_CAP 256
struct gate_question {
	uint64_t ticket;
	uint32_t len;
	char text[GATE_QUESTION_CAP];
};

struct gate_answer {
	uint64_t ticket;
	int64_t err;
	struct reason why;
};

/* By the rule actions drop, pass and tarpit. */
struct gate_client {
	uint32_t purpose; /* enum kernel_set_purpose: KSET_BLOCK, KSET_PASS or KSET_TARPIT */
	struct addr addr;
};

struct gate_list_report {
	struct addr client; /* ADDR_NONE where hold_s is 0 */
	struct list_report report;
};

/* What the kernel's rules make of our death, and of our life. */
struct gate_switch {
	uint8_t is_armed;  /* some rule asks whether we live; else connections are refused when nobody listens */
	uint8_t is_alive;  /* the rules divert */
	uint8_t is_closed; /* and when they don't, refuse */
	uint8_t has_lost_rules; /* somebody took rules of iptables away */
};

enum gate_backend { GATE_BACKEND_NONE, GATE_BACKEND_NFT, GATE_BACKEND_IPSET };

struct gate_status {
	uint32_t backend; /* enum gate_backend */
	struct gate_switch switches[CONF_LISTEN_MAX];
	uint64_t elements[KSET_COUNT];
	uint64_t put_back; /* how often, after somebody's flush */
	uint8_t has_queue; /* SYNs are judged, where a rule of the kernel queues them */
	uint64_t rules_generation; /* by these; 0: none yet */
	struct syn_gate_counts syns;
	uint8_t has_tarpit;
	struct tarpit_gate_counts tarpit;
};

#endif
