/* cli_filter.h - `postern filter check|try`: what is wrong with a file of the content filter, and what it would do with a message.
 * The arguments begin with the word "filter" itself.  Results go to standard output, problems to standard error.
 */
#ifndef POSTERN_CLI_FILTER_H
#define POSTERN_CLI_FILTER_H

#include <stdbool.h>

#include "cli_options.h"
#include "filter_set.h"

enum cli_exit cli_filter(int argc, char **argv, struct cli_options *options);

/* NULL with errors in diags, or with the reason printed, which is in no diag. */
struct filter_set *cli_filter_load(const char *path, struct rules_diags *diags);

#endif
