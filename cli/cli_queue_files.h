/* cli_queue_files.h - the queue as the spool's files tell it, for when no posternfwd runs that could be asked.
 * Reads only: removes, cuts and saves nothing (so not spool_recover, which tidies up).  Answers in the form of posternfwd: the same
 * lines, handed to the same struct control_answer.
 * A segment whose writer lives is read to its end: its last messages may not be acknowledged to their senders yet.
 * Fails: ERR_PERM, ERR_NOTFOUND, ERR_IO, ERR_CORRUPT with a reason.
 */
#ifndef POSTERN_CLI_QUEUE_FILES_H
#define POSTERN_CLI_QUEUE_FILES_H

#include <stddef.h>

#include "control.h"
#include "err.h"
#include "message_id.h"

/* damaged_out: spans and files that could not be read. */
int cli_queue_files_list(const char *spool, const struct control_answer *answer, size_t *damaged_out, struct reason *why);

/* ERR_NOTFOUND: no such message waits. */
int cli_queue_files_show(const char *spool, const struct spool_id *id, const struct control_answer *answer, struct reason *why);

/* The message itself, as it would be mailed but with LF line ends. */
int cli_queue_files_cat(const char *spool, const struct spool_id *id, const struct control_answer *answer, struct reason *why);

#endif
