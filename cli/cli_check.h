/* cli_check.h - `postern check`: is the configuration good, are the rules it names?  Changes nothing and asks no daemon.
 * Errors are what posternd would refuse to start with; what only this host lacks (a user, an interface) is a warning, since a
 * configuration may be checked elsewhere.  CLI_FAILED when there is an error.
 */
#ifndef POSTERN_CLI_CHECK_H
#define POSTERN_CLI_CHECK_H

#include "cli_options.h"

enum cli_exit cli_check(int argc, char **argv, struct cli_options *options);

#endif
