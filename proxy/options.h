/* options.h - the command line of posternd: `-f postern.conf`, or the one that Obtuse smtpd had.
 */
#ifndef POSTERN_OPTIONS_H
#define POSTERN_OPTIONS_H

#include <stdbool.h>

#include "conf.h"
#include "err.h"

enum options_result { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_USAGE, OPTIONS_FAILED };

struct options {
	struct conf conf;
	char conf_path[CONF_PATH_CAP]; /* empty: the seeds' command line; nothing to reload but the rules */
	bool foreground;
	bool check_only; /* -n: read configuration and rules, say what is wrong, exit */
};

/* Reads the command line and, with -f, the file.  OPTIONS_USAGE: the command line is wrong, exit 2; OPTIONS_FAILED:
 * the file is, exit 1.  Either has been said on standard error. */
enum options_result options_read(int argc, char **argv, struct options *out);

#endif
