/* pattern_cover.h - is one pattern, or one list, certain to match wherever another does?
 * Pure.  False means only that nothing is certain.  A true answer holds for unknown facts, too: where the covering one is not true, the
 * covered one is not true either.
 */
#ifndef POSTERN_PATTERN_COVER_H
#define POSTERN_PATTERN_COVER_H

#include "rules_set.h"

bool pattern_covers(const struct pattern *wide, const struct pattern *narrow);

/* The narrow list may have exceptions, the wide one none.  Lists of more than a few patterns are not compared.
 * *compared is raised by the patterns that were. */
bool rule_list_covers(const struct rule_list *wide, const struct rule_list *narrow, uint64_t *compared);

#endif
