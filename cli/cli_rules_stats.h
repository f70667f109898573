/* cli_rules_stats.h - `postern rules stats`: how often each rule of the running daemon has matched since it was loaded. */
#ifndef POSTERN_CLI_RULES_STATS_H
#define POSTERN_CLI_RULES_STATS_H

#include "cli_options.h"

/* argv[0] is "stats". */
enum cli_exit cli_rules_stats(int argc, char **argv, struct cli_options *options);

#endif
