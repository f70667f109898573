/* cli_options.h - what every subcommand of `postern` understands, and which installation it speaks about.
 * Options may stand before the subcommand or behind it; the later one counts.
 */
#ifndef POSTERN_CLI_OPTIONS_H
#define POSTERN_CLI_OPTIONS_H

#include <stdbool.h>

#include "conf.h"

/* Exit codes.  NOT_RUNNING: the daemon that was asked does not run; what could be told without it was told.  DONE never leaves the
 * program: the options were the whole question (--help, --version) and are answered; it ends as CLI_OK. */
enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_NOT_RUNNING = 3, CLI_DONE = 4 };

#define CLI_DEFAULT_CONF POSTERN_SYSCONFDIR "/postern/postern.conf"

struct cli_options {
	const char *conf_path; /* -f; NULL: the default */
	const char *spool;     /* -d: a spool without a configuration; NULL: the configuration names it */
	bool json;
};

/* Take options off argv, which begins with the name of the program or subcommand.  is_strict: stop at the first other word (the
 * subcommand); else words and options may be mixed.  *rest_out: index of the first word.  Returns CLI_OK; CLI_USAGE with the
 * complaint printed; CLI_DONE. */
enum cli_exit cli_options_take(int argc, char **argv, bool is_strict, struct cli_options *options, int *rest_out);

/* The spool directory into path.  Reads the configuration if it has to; complains by itself.  CLI_OK or CLI_FAILED. */
enum cli_exit cli_options_spool(const struct cli_options *options, char path[CONF_PATH_CAP]);

/* How `postern` is used, to standard output. */
void cli_usage(void);

/* "postern: TEXT" on standard error, control characters made visible. */
void cli_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
