/* cli_daemon.h - the two daemons as `postern` sees them: a control socket each in the spool directory (lib/control.h). */
#ifndef POSTERN_CLI_DAEMON_H
#define POSTERN_CLI_DAEMON_H

#include <stdbool.h>

#include "control.h"
#include "err.h"

enum cli_daemon { CLI_POSTERND, CLI_POSTERNFWD };

#define CLI_ASK_TIMEOUT_MS 30000

/* "posternd", "posternfwd". */
const char *cli_daemon_name(enum cli_daemon daemon);

/* Put the question.  *is_running_out, always set: it listens.  Where it does not, the result is ERR_REFUSED and the reason says so in one
 * sentence; else what control_ask returns, the daemon's own "not found" included.  ERR_PERM: ask as root. */
int cli_daemon_ask(const char *spool, enum cli_daemon daemon, const char *request, const struct control_answer *answer, bool *is_running_out,
		   struct reason *why);

#endif
