/* cli_rules.h - `postern rules check|explain`: what is wrong with a rule file, and what it would decide and why.
 * The arguments begin with the word "rules" itself.  Results go to standard output, problems to standard error.
 * Returns the exit code: 0 fine, 1 problems were found (or the file can't be read), 2 wrong usage.
 */
#ifndef POSTERN_CLI_RULES_H
#define POSTERN_CLI_RULES_H

#include <stdbool.h>

int cli_rules(int argc, char **argv);

struct rules_diags;

/* The rules in path, and the content filter (NULL: none is known) whose file they need.  has_filter: whether there is one; false: rules that
 * ask for it are told. */
int cli_rules_check(const char *path, const char *filter, bool has_filter, bool json);

void cli_rules_print_diags(const struct rules_diags *diags);

#endif
