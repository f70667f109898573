/* list_report.h - what a block list said of a client, on its way from a worker over the master to the gate, which then knows it at the client's
 * next SYN (list_answers.h).
 * As with client_verdict.h a worker names no address but shows the client's connection, and the kernel says who that is.  So one that is taken
 * over can lie only about who has really connected to it, not about trusted clients and this host, so often a second, and for no longer than a
 * resolver keeps an answer; what it says never reaches the kernel's sets.
 */
#ifndef POSTERN_LIST_REPORT_H
#define POSTERN_LIST_REPORT_H

#include "client_verdict.h"
#include "net_rates.h"
#include "siphash.h"

/* Of one worker; more are dropped.  A report costs less than the question to the DNS that it comes from. */
#define LIST_REPORTS_PER_S 1000u

/* ---- the worker's side */

/* What was told already, so that each session of a busy client does not tell it again; but again after a minute, should the gate have lost it.
 * Who shares an entry is told more often, that is all. */
#define LIST_TOLD_ENTRIES 4096u
struct list_told {
	struct siphash_key key;
	struct {
		uint32_t tag;
		uint32_t until_s; /* of the loop's clock */
	} entries[LIST_TOLD_ENTRIES];
};

/* ERR_IO: no random key. */
int list_told_init(struct list_told *told);

/* answers: none for not listed.  Lost when the master is behind: the session knows it. */
void list_report_tell(struct list_told *told, struct ipc_channel *master, uint64_t now_ms, uint32_t listen_index, int connection_fd,
		      const struct addr *client, struct span zone, const struct addr *answers, uint32_t count, uint32_t hold_s);

/* That list is not to be believed any more.  All is told anew from here on. */
void list_report_broken(struct list_told *told, struct ipc_channel *master, struct span zone);

/* ---- the master's side */

struct list_reports {
	struct rate_bucket workers[LISTENER_MEMBERS_MAX];
};

/* What is to be said to the gate.  ERR_PROTO: it makes no sense, or as client_verdict_who; ERR_PERM: nobody to speak of; ERR_AGAIN: over the rate. */
int list_report_check(struct list_reports *reports, const struct role_conf *conf, uint32_t worker, uint64_t now_ms, const struct role_list_report *told,
		      int connection_fd, struct gate_list_report *out);

#endif
