/* filter_set.h - the content filter, compiled from the text of its file.
 * Counted: a reload makes a new one, and messages under way keep theirs.  Immutable but for machine code that is made when a pattern is needed for the
 * first time, and for its scratch memory: one thread at a time may use it.
 * Owns: everything; of the text nothing is needed afterwards.
 */
#ifndef POSTERN_FILTER_SET_H
#define POSTERN_FILTER_SET_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "filter_matcher.h"
#include "rules_diag.h"

struct filter_set;

/* ERR_SYNTAX: every error is in diags (which may hold warnings on success, too); ERR_NOMEM.  name: of the file, for diags. */
int filter_set_compile(struct span name, struct span text, struct rules_diags *diags, struct filter_set **out);

struct filter_set *filter_set_hold(struct filter_set *set);
void filter_set_release(struct filter_set **set); /* accepts a NULL inside, clears it */

/* Does anybody but the caller hold it? */
bool filter_set_is_shared(const struct filter_set *set);

struct filter_matcher *filter_set_matcher(struct filter_set *set, enum filter_kind kind);

/* Of one kind. */
struct filter_matcher_size filter_set_measure(const struct filter_set *set, enum filter_kind kind);

/* Of all kinds. */
size_t filter_set_count(const struct filter_set *set);

#endif
