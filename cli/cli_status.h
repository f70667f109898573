/* cli_status.h - `postern status`: what posternd and posternfwd say of themselves, in groups, or as one JSON object
 * {"daemon": {} | null, "workers": [], "listeners": [], "counters": {}, "spool": {}, "forwarder": {} | null}.
 * One daemon that does not run is said in a line on standard error, and the other is shown all the same.
 * Exit code CLI_NOT_RUNNING when posternd does not run: it is the one that takes the mail.
 */
#ifndef POSTERN_CLI_STATUS_H
#define POSTERN_CLI_STATUS_H

#include "cli_options.h"

enum cli_exit cli_status(int argc, char **argv, struct cli_options *options);

#endif
