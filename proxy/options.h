/* options.h - the command line of posternd: `-f postern.conf`, or the one that Obtuse smtpd had.
 */
#ifndef POSTERN_OPTIONS_H
#define POSTERN_OPTIONS_H

#include <stdbool.h>

#include "conf.h"
#include "err.h"

enum options_result { OPTIONS_RUN, OPTIONS_EXIT_OK, OPTIONS_USAGE };

struct options {
	struct conf conf;
	char conf_path[CONF_PATH_CAP]; /* empty: the seeds' command line; nothing to reload but the rules */
	bool foreground;
	bool check_only; /* -n: read configuration and rules, say what is wrong, exit */
};

/* Reads the command line and, with -f, the file.  OPTIONS_USAGE: something is wrong; it has been said on standard error, exit 2. */
enum options_result options_read(int argc, char **argv, struct options *out);

#endif
