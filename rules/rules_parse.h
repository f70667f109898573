/* rules_parse.h - a rule file's text into its syntax tree.
 * Promise: every error of the file is reported, each with its place; what stands right in a wrong line is still there.
 * Bounds: no recursion; at most RULES_EXCEPT_MAX parts in a list.
 */
#ifndef POSTERN_RULES_PARSE_H
#define POSTERN_RULES_PARSE_H

#include "rules_ast.h"

#define RULES_EXCEPT_MAX 32u

/* 0 also with errors in the file (see diags, which may be NULL); ERR_NOMEM.  The tree borrows name and text. */
int rules_parse(struct span name, struct span text, struct rules_diags *diags, struct rules_ast *out);

#endif
