/* cli_rules.h - `postern rules check|explain`: what is wrong with a rule file, and what it would decide and why.
 * The arguments begin with the word "rules" itself.  Results go to standard output, problems to standard error.
 * Returns the exit code: 0 fine, 1 problems were found (or the file can't be read), 2 wrong usage.
 */
#ifndef POSTERN_CLI_RULES_H
#define POSTERN_CLI_RULES_H

int cli_rules(int argc, char **argv);

#endif
