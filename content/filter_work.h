/* filter_work.h - what the filter may spend on one message, and what it could not find out.
 * A budget: FILTER_WORK_BASE_MS and FILTER_WORK_NS_PER_BYTE of processor time.  Ordinary mail takes less than a tenth of it; what goes beyond it is
 * made to be slow, or the patterns are.  Then, and where a pattern runs into the match limit, the outcome is unknown.
 */
#ifndef POSTERN_FILTER_WORK_H
#define POSTERN_FILTER_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "span.h"

#define FILTER_WORK_BASE_MS 250u
#define FILTER_WORK_NS_PER_BYTE 250u
#define FILTER_WORK_DROPPED_MAX 8u

/* A rule and what it matched. */
struct filter_match {
	uint32_t rule_line;
	struct span text;
};

struct filter_work {
	bool is_over;        /* nothing more is looked at */
	uint32_t unknown_line; /* the first rule that ran into a limit; 0: none, or all of them together */
	const char *unknown; /* why something is not known; NULL: all is known */
	uint64_t spent_ns, allowed_ns;
	uint64_t begun_ns;   /* private, as is the rest */
	unsigned checks;
	uint32_t dropped[FILTER_WORK_DROPPED_MAX]; /* rules that are not tried any more */
	unsigned dropped_count;
};

void filter_work_init(struct filter_work *work);

/* Around everything that is done with so many bytes. */
void filter_work_begin(struct filter_work *work, size_t bytes);
void filter_work_end(struct filter_work *work);

/* Before each comparison that may be long.  False: the budget is used up. */
bool filter_work_goes_on(struct filter_work *work);

/* A pattern ran into the match limit: it is not tried again with this message. */
void filter_work_drop(struct filter_work *work, uint32_t rule_line);
bool filter_work_has_dropped(const struct filter_work *work, uint32_t rule_line);

/* The message was not looked at whole. */
void filter_work_fail(struct filter_work *work, const char *why);

#endif
