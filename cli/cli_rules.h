/* cli_rules.h - `postern rules check|explain`: what is wrong with a rule file, and what it would decide and why.
 * The arguments begin with the word "rules" itself.  Results go to standard output, problems to standard error.
 * Returns the exit code: 0 fine, 1 problems were found (or the file can't be read), 2 wrong usage.
 */
#ifndef POSTERN_CLI_RULES_H
#define POSTERN_CLI_RULES_H

#include <stdbool.h>
#include <stdint.h>

int cli_rules(int argc, char **argv);

struct rules_diags;

/* The rules in path, and the content filter (NULL: none is known) whose file they need.  lacking: enum verdict_need bits of what is not configured:
 * rules that ask for it are told. */
int cli_rules_check(const char *path, const char *filter, uint32_t lacking, bool json);

void cli_rules_print_diags(const struct rules_diags *diags);

#endif
