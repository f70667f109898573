/* policy.h - session facts in, verdict out: the rule set applied to the recipients of one session.
 * Owns: the facts, from policy_open to policy_close; each judgement holds its rule set until it is done or abandoned.
 * Facts that must be fetched (names, block lists, ident) are asked for as soon as some rule could need them, all at once, and arrive on a
 * later turn of the loop (fact_finder.h).  With `resolver = none` those of the DNS are unknown.
 * In paranoid mode every judgement waits for the client's name first, and a false one denies whatever the rules say.
 * Calls back: arrived(ctx) when facts were settled: judgements that wait may go on.
 */
#ifndef POSTERN_POLICY_H
#define POSTERN_POLICY_H

#include "fact_finder.h"
#include "origdst.h"
#include "rules.h"
#include "session_host.h"

struct policy {
	struct session_host *host;
	struct rules_facts facts;
	struct fact_finder finder;
	uint64_t sid;
	int fd;
	uint32_t listen_index;
	bool is_paranoid;     /* the client's name must be its own */
	bool has_false_name;  /* it is not */
	loop_fn arrived;
	void *ctx;
};

/* sid: for the log.  fd: the client's connection, borrowed until the policy is closed; -1: a balancer's, so that ident would ask the wrong host,
 * and the client gave no ident answer.  The policy must not be moved in memory while it is open. */
void policy_open(struct policy *policy, struct session_host *host, uint64_t sid, int fd, uint32_t listen_index, const struct origdst *where,
		 loop_fn arrived, void *ctx);

/* helo: borrowed until the next call or close. */
void policy_helo(struct policy *policy, struct span helo);

/* A transaction ended: forget what was known about its addresses. */
void policy_reset(struct policy *policy);
void policy_close(struct policy *policy);

/* The confirmed name of the client, or an empty span. */
struct span policy_client_name(const struct policy *policy);

struct judgement {
	struct policy *policy;
	struct rules_eval eval;
	struct rules_hooks hooks;
	uint64_t sid;
};

/* from and to are borrowed until judgement_end. */
void judgement_start(struct judgement *j, struct policy *policy, uint64_t sid, struct span from, struct span to);

/* STEP_DONE with the verdict, or STEP_WAIT: call again after arrived. */
enum step judgement_run(struct judgement *j, struct rules_verdict *out);
void judgement_end(struct judgement *j);

#endif
