/* rules.h - a compiled rule set, and the judgement of one recipient by it.
 * A rule set is immutable and counted: a reload compiles a new one, running sessions keep theirs until their last evaluation is done.
 * Judgement is resumable: rules_eval_run answers STEP_DONE with the verdict, or STEP_WAIT when facts are lacking.  These are then in the
 * fact table (facts_next_unasked); the owner fetches them and calls again.  What was decided is not decided again.
 * Promise: first match wins; an unknown fact ends in VERDICT_TEMPFAIL only when the outcome hangs on it (postern-rules(5)); the order in
 * which facts arrive never changes the verdict.
 * Owns: nothing in struct rules_eval that needs to be freed but the hold on the rule set: rules_eval_end, also after STEP_DONE.
 * Borrows: facts, from, to and hooks, until rules_eval_end.  Calls back: hooks, during rules_eval_run.
 * Bounds: one call looks at each rule at most once; no recursion.  One thread at a time may evaluate with one rule set.
 */
#ifndef POSTERN_RULES_H
#define POSTERN_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"
#include "err.h"
#include "facts.h"
#include "rules_diag.h"
#include "rules_source.h"
#include "span.h"
#include "tri.h"

struct access_value;
struct rules;

struct rules_options {
	enum no_match no_match;
	enum on_unknown on_unknown;
	uint64_t deny_delay_s, noto_delay_s;
};

/* The defaults of the language: noto, tempfail, 60 s, 60 s. */
void rules_options_defaults(struct rules_options *options);

/* ERR_SYNTAX when the source has errors: all of them are in diags (which may hold warnings on success, too).  No I/O.
 * The rule set holds on to the source, whose texts it points into. */
int rules_compile(struct rules_source *source, const struct rules_options *options, struct rules_diags *diags, struct rules **out);

struct rules *rules_hold(struct rules *rules);
void rules_release(struct rules **rules); /* accepts a NULL inside, clears it */

/* Rules are numbered from 0 in file order: callers count hits in an array of rules_count(). */
uint32_t rules_count(const struct rules *rules);
uint32_t rules_line(const struct rules *rules, uint32_t index);
struct span rules_action_text(const struct rules *rules, uint32_t index); /* as written; lives as long as the rule set */

/* enum verdict_need bits: what some rule asks for. */
uint32_t rules_needs(const struct rules *rules);

/* What a rule set is made of, and about what it costs. */
struct rules_size {
	uint32_t files;       /* the rule file and all that it names */
	uint64_t entries;     /* of lists and access tables; a list in two kinds of places counts twice, as it is kept twice */
	uint64_t text_bytes;  /* of all files; workers share them */
	uint64_t index_bytes; /* what each worker holds beside; without compiled regexes */
};

void rules_measure(const struct rules *rules, struct rules_size *out);

/* Does anybody but the caller hold it?  If not, the caller's release would give all of it back: with large lists that takes a while. */
bool rules_is_shared(const struct rules *rules);

/* At connect: puts every fact about the client that some rule may need into the table as FACT_NOT_ASKED, so that all can be fetched
 * in parallel.  Ident is left out: it is asked only when a rule hangs on it. */
void rules_prefetch(const struct rules *rules, struct rules_facts *facts);

enum verdict_kind { VERDICT_ALLOW, VERDICT_DENY, VERDICT_NOTO, VERDICT_TEMPFAIL };

/* What an accepted message must still pass; recipients' needs are united. */
enum verdict_need { NEED_FILTER = 1u << 0, NEED_EXTCHK = 1u << 1, NEED_MILTER = 1u << 2 };

#define VERDICT_REPLY_CAP 511  /* an SMTP reply line of 512 octets without its CRLF, with a NUL */
#define VERDICT_REASON_CAP 256
#define RULES_NO_INDEX UINT32_MAX

struct rules_verdict {
	enum verdict_kind kind;
	uint32_t rule_index; /* RULES_NO_INDEX: no rule matched */
	uint32_t rule_line;  /* 0: no rule matched.  VERDICT_TEMPFAIL: the first rule that hangs on an unknown */
	uint64_t delay_s;    /* wait so long before the reply, holding up nobody else */
	uint32_t needs;      /* enum verdict_need bits */
	bool close_session;  /* after the reply */
	bool is_tarpit;      /* which leaves a character at a time */
	bool is_drop;        /* and the client is to be dropped from now on, before it gets a session */
	bool is_pass;        /* VERDICT_ALLOW: and the client needs no session from now on */
	char reply[VERDICT_REPLY_CAP];           /* "550 5.7.1 text", printable ASCII, no CRLF; empty for VERDICT_ALLOW */
	char unknown_reason[VERDICT_REASON_CAP]; /* VERDICT_TEMPFAIL: which pattern, which fact, why */
};

const char *verdict_kind_name(enum verdict_kind kind); /* "allow", "deny", "noto", "tempfail" */
const char *verdict_need_name(enum verdict_need need); /* "filter", "extchk"; NULL for an unknown bit */

enum rules_list { RULES_LIST_SOURCE, RULES_LIST_FROM, RULES_LIST_TO, RULES_LIST_COUNT };
const char *rules_list_name(enum rules_list list);

#define RULES_VALUE_CAP 160

/* One rule that was looked at, for explain. */
struct rules_trace {
	uint32_t rule_index, rule_line;
	struct span action;                /* as written */
	enum tri result;                   /* TRI_TRUE, TRI_FALSE or TRI_UNKNOWN */
	enum rules_list decided_by;        /* TRI_FALSE: the list that did not match; TRI_UNKNOWN: the list that hangs */
	struct span pattern;               /* TRI_UNKNOWN: the pattern that hangs; else empty */
	const char *why;                   /* TRI_UNKNOWN: "rbl zen.example: time-out"; else "" */
	struct span closest;               /* TRI_FALSE: the pattern of that list that came closest, or that excepted; may be empty */
	bool is_excepted;                  /* TRI_FALSE: the list would have matched but for closest, behind EXCEPT */
	const char *value;                 /* TRI_FALSE: what it was compared with; else "" */
};

/* Each may be NULL. */
struct rules_hooks {
	void *ctx;
	void (*debug)(void *ctx, uint32_t rule_index, uint32_t rule_line); /* a `debug` rule matched */
	void (*trace)(void *ctx, const struct rules_trace *trace);         /* every rule looked at, in order */
	void (*dry_run)(void *ctx, const struct rules_verdict *verdict);   /* what a `dry-run` rule that matched would have decided */
};

/* Everything in here is private to rules_eval.c. */
struct rules_eval {
	struct rules *rules;
	struct rules_facts *facts;
	const struct rules_hooks *hooks;
	struct span from, to;
	uint32_t next;                         /* the rule to look at */
	enum tri lists[RULES_LIST_COUNT];      /* of that rule; TRI_PENDING: not decided yet */
	bool has_outcome;                      /* next is the outcome; only its reply is lacking */
	bool hangs;                            /* an unknown rule was passed: */
	uint32_t hanging;                      /*   the first such rule */
	const struct access_value *access;     /* what an access table said, when `next` is its rule */
	char unknown_reason[VERDICT_REASON_CAP];
};

/* from and to: the paths without or with <>; an empty from (or "<>") is the null sender.  hooks may be NULL. */
void rules_eval_start(struct rules_eval *eval, struct rules *rules, struct rules_facts *facts, struct span from, struct span to,
		      const struct rules_hooks *hooks);

/* STEP_DONE: *out is filled.  STEP_WAIT: a fact is lacking (see above).  Never STEP_FAIL. */
enum step rules_eval_run(struct rules_eval *eval, struct rules_verdict *out);

/* Drops the hold on the rule set; also to abandon an evaluation that waits.  May be called twice. */
void rules_eval_end(struct rules_eval *eval);

#endif
