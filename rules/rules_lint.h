/* rules_lint.h - what is legal in a rule set, but hardly meant: for `postern rules check`, and for posternd's log.
 * Warns of a rule that can never match because an earlier one takes everything it would (only where that is certain), of an address in
 * a from or to list, of a name that ends in a number, of a file without a rule, and of DNS questions that a swap of two lines would save.
 * Promise: no false claim about a rule that never matches; time about in proportion to the rules, and where many long lists would have
 * to be compared, no more such claims after a budget of comparisons.
 */
#ifndef POSTERN_RULES_LINT_H
#define POSTERN_RULES_LINT_H

#include "rules.h"

/* ERR_NOMEM: not everything was looked at. */
int rules_lint(const struct rules *rules, struct rules_diags *diags);

#endif
