/* cli_queue_select.h - the options by which `postern queue` knows which messages are meant, and how to show them.
 * --from --to --client --destination --error --state PATTERN, --older --younger AGE, --larger --smaller SIZE, --all, --dry-run,
 * --by destination|sender|client.
 */
#ifndef POSTERN_CLI_QUEUE_SELECT_H
#define POSTERN_CLI_QUEUE_SELECT_H

#include <stdbool.h>

#include "buf.h"
#include "cli_options.h"

enum cli_queue_by { CLI_BY_DESTINATION, CLI_BY_SENDER, CLI_BY_CLIENT };

struct cli_queue_select {
	struct buf filter; /* key=value pairs (queue_filter.h), without end; empty: none was given */
	bool all, is_dry_run, has_by;
	enum cli_queue_by by;
};

/* Take them off argv; *argc is then less, and the order of the rest is as it was.  What is wrong was said: CLI_USAGE.  The caller frees
 * the filter. */
enum cli_exit cli_queue_select_take(int *argc, char **argv, struct cli_queue_select *out);

#endif
