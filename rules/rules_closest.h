/* rules_closest.h - why a list did not match: for explain only, it looks at every pattern.
 */
#ifndef POSTERN_RULES_CLOSEST_H
#define POSTERN_RULES_CLOSEST_H

#include "rules_set.h"

struct rules_closest {
	struct span pattern; /* the one that came closest, or that excepted; empty: none */
	bool is_excepted;    /* the list would have matched but for this pattern behind EXCEPT */
	char value[RULES_VALUE_CAP]; /* what it was compared with */
};

/* m: set up for the list (match_begin), which is false. */
void rules_closest_find(const struct rule_list *list, enum rules_list which, struct match *m, struct rules_closest *out);

#endif
