/* filter_work.h - what the filter may spend on one message, and what it could not find out.
 * A budget: FILTER_WORK_BASE_MS and FILTER_WORK_NS_PER_BYTE of processor time.  Ordinary mail takes less than a tenth of it; what goes beyond it is
 * made to be slow, or the patterns are.  Then, and where a pattern runs into the match limit, the outcome is unknown.
 * And slices: nobody else is served while patterns are compared, so after FILTER_SLICE_NS the rest is put off (filter_lines.h).  A slice is one
 * comparison at least.  What is found does not hang on them.
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
#define FILTER_SLICE_NS UINT64_C(4000000)

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
	uint64_t compared;   /* so often */
	uint64_t slice_ns;   /* FILTER_SLICE_NS, or less: 0 is one comparison */
	uint64_t slice_end;  /* private, as is the rest: of spent_ns, */
	bool slice_is_new;   /*   and no comparison was made in it */
	uint64_t begun_ns;
	uint64_t looked_ns;  /* of the other clock */
	uint32_t dropped[FILTER_WORK_DROPPED_MAX]; /* rules that are not tried any more */
	unsigned dropped_count;
	const void *spoiled[FILTER_WORK_DROPPED_MAX];
	unsigned spoiled_count;
};

void filter_work_init(struct filter_work *work);

/* So many bytes are going to be looked at: the budget grows. */
void filter_work_allow(struct filter_work *work, size_t bytes);

/* The next slice. */
void filter_work_next_slice(struct filter_work *work);

/* Around everything that is done in one go. */
void filter_work_begin(struct filter_work *work);
void filter_work_end(struct filter_work *work);

/* Before each comparison that may be long.  False: the slice is used up, or (is_over) the budget. */
bool filter_work_goes_on(struct filter_work *work);

/* A pattern ran into the match limit: it is not tried again with this message. */
void filter_work_drop(struct filter_work *work, uint32_t rule_line);
bool filter_work_has_dropped(const struct filter_work *work, uint32_t rule_line);

/* Something that is compared in the place of several patterns, and does not save the comparison with each of them: the same. */
void filter_work_spoil(struct filter_work *work, const void *group);
bool filter_work_has_spoiled(const struct filter_work *work, const void *group);

/* The message was not looked at whole. */
void filter_work_fail(struct filter_work *work, const char *why);

#endif
