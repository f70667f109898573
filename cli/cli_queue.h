/* cli_queue.h - `postern queue list|stats|show|cat|delete|retry|hold|release`: the mail that posternfwd has not delivered yet.
 * posternfwd answers; where it does not run, list, stats, show and cat read the spool's files, say so on standard error and exit
 * with CLI_NOT_RUNNING (changes: cli_queue_change.h).
 */
#ifndef POSTERN_CLI_QUEUE_H
#define POSTERN_CLI_QUEUE_H

#include "cli_options.h"

/* argv[0] is the word "queue". */
enum cli_exit cli_queue(int argc, char **argv, struct cli_options *options);

/* As the program smtpd-mailq: [-f CONF | -d SPOOL], the listing in the manner of mailq. */
enum cli_exit cli_queue_mailq(int argc, char **argv);

#endif
