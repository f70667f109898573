/* facts.h - what is known about one session: what the connection itself says, and a table of facts that must be fetched.
 * The rule evaluator reads facts and never fetches.  What it lacks it puts into the table as FACT_NOT_ASKED and answers STEP_WAIT.
 * The owner (a session with its resolver) takes these with facts_next_unasked, marks them pending or settles them at once, and runs
 * the evaluation again whenever one was settled.
 * Owns: keys and values of the table (copied in).  Borrows: the spans of struct rules_client, for as long as they are set.
 * Lifetime: facts about the client live until facts_free; facts about an envelope until facts_reset_txn.  An id is never used again,
 * so that an answer that comes too late finds nothing (facts_get returns NULL), which is normal.
 * Limits: FACTS_MAX facts of each lifetime; lists in a value are cut at FACT_ADDRS_MAX and FACT_NAMES_MAX, texts at FACT_TEXT_MAX.
 * Fails: ERR_NOMEM or ERR_TOOLONG; a fact that can't be stored counts as unknown.
 */
#ifndef POSTERN_FACTS_H
#define POSTERN_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "arena.h"
#include "span.h"

#define FACTS_MAX 512
#define FACT_TEXT_MAX 255
#define FACT_ADDRS_MAX 500
#define FACT_NAMES_MAX 100

/* What the connection says by itself; always known. */
struct rules_client {
	struct addr addr;
	struct addr dst;   /* original destination; ADDR_NONE when not known: DST= is then unknown */
	bool trusted;      /* the listener is marked trusted */
	bool is_before_helo; /* not even asked yet: HELO= is then unknown (rules_syn.h) */
	uint32_t mark;     /* of the SYN, without postern's own bits */
	struct span iface; /* ingress interface */
	struct span helo;  /* argument of HELO or EHLO; empty before it */
};

enum fact_kind {
	FACT_NAME,      /* text: the client's reverse name, forward-confirmed; absent: none, or not confirmed */
	FACT_IDENT,     /* text: the user name of the RFC 1413 answer; absent: no answer or an error answer */
	FACT_NS_CLIENT, /* hosts: name servers and mail exchangers of the client's name, or of its reverse name when it has none */
	FACT_NS_DOMAIN, /* hosts: the same for the domain in subject */
	FACT_RBL,       /* addrs: the A records of subject (an address; empty: the client) in the list zone; absent: not listed */
	FACT_RHS,       /* addrs: the A records of the domain in subject under zone; absent: not listed */
	FACT_KIND_COUNT
};

enum fact_state { FACT_NOT_ASKED, FACT_PENDING, FACT_PRESENT, FACT_ABSENT, FACT_FAILED };

struct fact_key {
	enum fact_kind kind;
	struct span zone;    /* FACT_RBL, FACT_RHS */
	struct span subject; /* FACT_NS_DOMAIN, FACT_RHS: a domain; FACT_RBL: an address as text, or empty */
};

/* The value of a present fact.  Which members count depends on the kind. */
struct fact_value {
	struct span text;
	const struct addr *addrs;
	uint32_t addr_count;
	const struct span *names;
	uint32_t name_count;
	bool exact; /* NS facts: the name itself has an address, or NS/MX were found without removing labels (NS=KNOWN) */
};

struct fact {
	struct fact_key key;
	uint64_t id;
	enum fact_state state;
	struct fact_value value; /* FACT_PRESENT */
	struct span why;         /* FACT_FAILED: for people; FACT_ABSENT of a name: why it does not count, or empty */
	struct fact *next;
};

struct fact_table {
	struct arena arena;
	struct fact *first, *last;
	uint32_t count;
};

/* A zeroed struct is valid, holds no memory and knows nothing. */
struct rules_facts {
	struct rules_client client;
	struct fact_table session, txn;
	uint64_t last_id;
};

/* NULL when nobody has asked for it yet. */
const struct fact *facts_find(const struct rules_facts *facts, const struct fact_key *key);

/* The fact of that key, added as FACT_NOT_ASKED when it is new.  NULL when the table is full or without memory. */
const struct fact *facts_want(struct rules_facts *facts, const struct fact_key *key);

/* The first fact with an id above after_id that is still FACT_NOT_ASKED; NULL: none. */
const struct fact *facts_next_unasked(const struct rules_facts *facts, uint64_t after_id);

/* By id; NULL when it is gone. */
const struct fact *facts_get(const struct rules_facts *facts, uint64_t id);

/* Each returns ERR_NOTFOUND when the fact is gone and ERR_INVAL when it was settled before: a settled fact never changes.
 * A FACT_NAME that looks like an IP address is stored as absent with a why (an attack: the caller logs it, see facts_name_is_suspect). */
int facts_set_pending(struct rules_facts *facts, uint64_t id);
int facts_settle_present(struct rules_facts *facts, uint64_t id, const struct fact_value *value);
int facts_settle_absent(struct rules_facts *facts, uint64_t id, struct span why);
int facts_settle_failed(struct rules_facts *facts, uint64_t id, struct span why);

/* For who keeps values elsewhere (rules_syn.h): the fact is that now, whatever it was.  The value is borrowed, until the next call for it. */
void facts_lend(struct rules_facts *facts, uint64_t id, enum fact_state state, const struct fact_value *value);

/* Settles every fact that is FACT_NOT_ASKED as failed: the whole of a provider without a resolver. */
void facts_fail_unasked(struct rules_facts *facts, const char *why);

/* True for what consists of digits and dots, or holds a colon: never a host name, whatever the DNS says. */
bool facts_name_is_suspect(struct span name);

/* "name", "ident", "rbl zen.example" or the like, into a caller's array; always terminated. */
#define FACT_LABEL_CAP 256
const char *facts_label(const struct fact_key *key, char text[FACT_LABEL_CAP]);
const char *facts_kind_name(enum fact_kind kind);

/* Forget what was about the envelope. */
void facts_reset_txn(struct rules_facts *facts);

void facts_free(struct rules_facts *facts);

#endif
