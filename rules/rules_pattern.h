/* rules_pattern.h - the patterns of the rule language: one closed enum, one table (rules_pattern.c).
 * A line of the table says how a pattern is recognised, in which lists it may stand, which facts it may need, how it is parsed and how
 * it is matched (rules_match.c).  The first line that recognises a word takes it.
 * Owns: regexes are owned by the builder's list (pattern_regexes_free); all else lives in the builder's arena.
 * Borrows: words are spans into the rule source, which must outlive the patterns.
 */
#ifndef POSTERN_RULES_PATTERN_H
#define POSTERN_RULES_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "arena.h"
#include "facts.h"
#include "mark_value.h"
#include "regex.h"
#include "rules.h"
#include "rules_diag.h"
#include "rules_source.h"
#include "span.h"
#include "tri.h"

enum pattern_kind {
	PATTERN_ALL,
	PATTERN_KNOWN,
	PATTERN_UNKNOWN,
	PATTERN_TRUSTED,
	PATTERN_UNTRUSTED,
	PATTERN_NULL_SENDER,
	PATTERN_FILE,
	PATTERN_IFACE,
	PATTERN_DST,
	PATTERN_HELO,
	PATTERN_MARK,
	PATTERN_RBL,
	PATTERN_RHS,
	PATTERN_NS_CLIENT,
	PATTERN_NS_DOMAIN,
	PATTERN_IDENT,
	PATTERN_MAILBOX,
	PATTERN_HOST_REGEX,
	PATTERN_ADDRESS_REGEX,
	PATTERN_CIDR,
	PATTERN_ADDR_GLOB,
	PATTERN_HOST_DOMAIN, /* in a source FILE= list only: a name and all below it; with a dot in front only those below */
	PATTERN_HOST_GLOB,
	PATTERN_ADDRESS_GLOB
};

/* Where a pattern may stand.  The first three are the lists, the others are inside another pattern. */
enum pattern_where {
	WHERE_SOURCE = 1u << 0,
	WHERE_FROM = 1u << 1,
	WHERE_TO = 1u << 2,
	WHERE_IDENT_HOST = 1u << 3, /* behind user@ */
	WHERE_NS = 1u << 4          /* behind NS= */
};

/* A text compared by wildcard, or by regex when there is one. */
struct text_pattern {
	struct span glob;
	struct regex *regex;
};

enum side_kind { SIDE_TEXT, SIDE_ALL, SIDE_USER, SIDE_KNOWN, SIDE_UNKNOWN, SIDE_PATTERN };

/* One side of an @. */
struct pattern_side {
	enum side_kind kind;
	struct text_pattern text;      /* SIDE_TEXT */
	const struct pattern *pattern; /* SIDE_PATTERN: a host pattern, or NS= */
};

struct pattern_pair {
	struct pattern_side left, right;
};

struct rbl_pattern {
	struct span zone;
	uint32_t first, last; /* answers that count, host order; 0 and 0: all proper ones */
};

struct pattern {
	enum pattern_kind kind;
	uint32_t facts; /* bits of enum fact_kind that it may need */
	struct span word;
	union {
		struct cidr cidr;
		struct mark_value mark;
		struct text_pattern text;
		const struct pattern_pair *pair;
		const struct rbl_pattern *rbl;
		const struct pattern *inner;   /* NS= */
		const struct pattern_set *set; /* FILE= */
	} u;
};

struct list_index;

/* Patterns of which one must match.  Those that need no fact come first. */
struct pattern_set {
	struct pattern *items;
	const struct list_index *index; /* FILE= lists: holds the patterns that are not in items; may be NULL */
	uint32_t count, free_count; /* the first free_count need no fact */
	uint32_t facts;
};

struct pattern_regexes {
	struct regex **items;
	size_t count, room;
};

struct pattern_files; /* FILE= lists that were built already */

struct pattern_builder {
	struct arena *arena;
	struct rules_source *source;
	struct rules_diags *diags;
	struct pattern_regexes *regexes;
	struct pattern_files *files;
	bool in_file; /* inside a FILE= list */
};

/* One word of a list.  ERR_SYNTAX: reported to diags already; ERR_NOMEM. */
int pattern_parse(struct pattern_builder *b, enum pattern_where where, struct span word, const struct rules_place *place,
		  struct pattern *out);

/* Sorts the facts-free patterns to the front and sums up the facts. */
void pattern_set_finish(struct pattern_set *set);

void pattern_regexes_free(struct pattern_regexes *regexes);

/* What a list is compared with. */
struct match {
	struct rules_facts *facts;
	bool collect;       /* put facts that lack into the table */
	struct span whole;  /* from and to lists: the address without <> */
	struct span local, domain;
	bool has_at;
	/* The first pattern that was unknown, and why. */
	const struct pattern *unknown;
	char why[VERDICT_REASON_CAP];
};

/* Sets what the list is compared with; forgets unknown and why. */
void match_begin(struct match *m, struct span address);

enum tri pattern_match(const struct pattern *pattern, struct match *m);
enum tri pattern_set_match(const struct pattern_set *set, struct match *m);

#endif
