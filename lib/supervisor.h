/* supervisor.h - what systemd lends to a service: how far it has come, and whether its standard error is the journal.
 * Neither needs systemd: without its two environment variables both functions do nothing.
 */
#ifndef POSTERN_SUPERVISOR_H
#define POSTERN_SUPERVISOR_H

#include <stdbool.h>

/* Tell whoever set NOTIFY_SOCKET: "READY=1", "STOPPING=1" and the like, see sd_notify(3).  Never waits; a supervisor that can't be
 * reached is not our trouble. */
void supervisor_tell(const char *state);

/* Does descriptor 2 lead to the journal?  JOURNAL_STREAM names its device and inode, and is inherited by everything that is started from a
 * service, a shell too, wherever that one's descriptor 2 goes. */
bool supervisor_has_stderr(void);

#endif
