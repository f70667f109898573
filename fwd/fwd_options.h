/* fwd_options.h - the command line of posternfwd: `-f postern.conf`, or the one that Obtuse smtpfwdd had.
 */
#ifndef POSTERN_FWD_OPTIONS_H
#define POSTERN_FWD_OPTIONS_H

#include <stdbool.h>

#include "conf.h"

enum fwd_options_result { FWD_OPTIONS_RUN, FWD_OPTIONS_EXIT_OK, FWD_OPTIONS_USAGE, FWD_OPTIONS_FAIL };

struct fwd_options {
	struct conf conf;
	char conf_path[CONF_PATH_CAP]; /* empty: the seeds' command line; nothing to read again */
	bool is_foreground;
	bool has_pid_file;             /* conf.forward_pid_file is to be written */
	uint64_t poll_s;
};

/* What is wrong was said on standard error: exit 2 for USAGE, 1 for FAIL. */
enum fwd_options_result fwd_options_read(int argc, char **argv, struct fwd_options *out);

#endif
