/* filter_matcher.h - many patterns, compared with every line of what is shown to it.
 * How: each pattern demands some text (filter_literal.h); one pass finds them all (filter_index.h), and only the lines in which one was
 * found are compared with the patterns whose text it is.  Patterns that demand nothing are compared with every line, in groups.
 * Promise: a match of the first line that matches, and on that line of the pattern that stands first.
 * Owns: the compiled patterns; a few hundred bytes each, and some KiB of machine code for each that was ever looked at.
 * One thread at a time may use one matcher; it keeps nothing of a message between two calls.
 */
#ifndef POSTERN_FILTER_MATCHER_H
#define POSTERN_FILTER_MATCHER_H

#include "err.h"
#include "filter_rule.h"
#include "filter_work.h"
#include "regex.h"
#include "rules_diag.h"

struct filter_matcher;

/* The rules of one kind, of a file of this name.  ERR_SYNTAX: every error is in diags. */
int filter_matcher_create(struct span file, const struct filter_rule *rules, size_t count, enum filter_kind kind, struct rules_diags *diags,
			  struct filter_matcher **out);

/* Whole lines, each with its LF or CRLF; the last one may be without, and it and the first one may be parts of longer lines. */
struct filter_block {
	struct span bytes;
	bool is_wire;                    /* the first dot of a line that begins with one does not belong to it */
	bool is_line_begin, is_line_end; /* of the first line, of the last one */
	size_t from;                     /* where a match may begin, if the first line has no beginning */
};

/* How far a run has come.  Zeroed: at the beginning. */
struct filter_place {
	bool is_loose;     /* private, as is the rest: the patterns that demand a text are done */
	bool is_in_group;
	size_t line;       /* where the line begins that is being compared, */
	uint32_t pattern;  /*   and with which of them, */
	size_t group;      /*   or of which group */
	uint32_t member;
	bool is_found;
	size_t found_line;
	uint32_t found;
};

enum filter_run {
	FILTER_RUN_OVER,   /* nothing is found, or the work is over */
	FILTER_RUN_MATCH,  /* *out says which; the span points into the block */
	FILTER_RUN_PAUSED, /* the slice is used up: call again with the same block and place in the next one */
};

/* Unknowns are the work's: they never stop it. */
enum filter_run filter_matcher_run(struct filter_matcher *matcher, const struct filter_block *block, struct filter_place *place, struct filter_work *work,
				   struct filter_match *out);

struct filter_matcher_size {
	size_t patterns;
	size_t loose;   /* that demand nothing */
	size_t bytes;   /* of the index */
};

struct filter_matcher_size filter_matcher_measure(const struct filter_matcher *matcher);

void filter_matcher_destroy(struct filter_matcher **matcher);

#endif
