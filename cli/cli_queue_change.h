/* cli_queue_change.h - `postern queue hold|release|retry|delete`: done by posternfwd; where it does not run, to the files of queue/ and
 * hold/ under its lock, so that it can't start meanwhile.  Says how many messages it was done to.
 */
#ifndef POSTERN_CLI_QUEUE_CHANGE_H
#define POSTERN_CLI_QUEUE_CHANGE_H

#include <stdbool.h>

#include "cli_options.h"
#include "cli_queue_select.h"

/* ids (checked), or count 0: all that the filter takes; an empty filter means every message. */
enum cli_exit cli_queue_change(const char *spool, const char *verb, int count, char **ids, const struct cli_queue_select *select, bool is_json);

#endif
