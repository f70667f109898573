/* cli_queue_files.h - the queue as the spool's files tell it, for when no posternfwd runs that could be asked.
 * Removes, cuts and saves nothing (so no spool_recovery, which tidies up); only cli_queue_files_change writes.  Answers in the form
 * of posternfwd: the same lines, handed to the same struct control_answer; a destination is where the client wanted to go.
 * A segment whose writer lives is read to its end: its last messages may not be acknowledged to their senders yet.
 * Fails: ERR_PERM, ERR_NOTFOUND, ERR_IO, ERR_CORRUPT with a reason.
 */
#ifndef POSTERN_CLI_QUEUE_FILES_H
#define POSTERN_CLI_QUEUE_FILES_H

#include <stddef.h>

#include "control.h"
#include "err.h"
#include "message_id.h"
#include "queue_filter.h"

/* damaged_out: spans and files that could not be read. */
int cli_queue_files_list(const char *spool, const struct queue_filter *filter, const struct control_answer *answer, size_t *damaged_out,
			 struct reason *why);

/* ERR_NOTFOUND: no such message waits. */
int cli_queue_files_show(const char *spool, const struct spool_id *id, const struct control_answer *answer, struct reason *why);

/* The message itself, as it would be mailed but with LF line ends. */
int cli_queue_files_cat(const char *spool, const struct spool_id *id, const struct control_answer *answer, struct reason *why);

struct cli_queue_counts {
	uint64_t matched, done, busy, failed;
	uint64_t in_journal; /* meant, but not in a file of its own */
};

/* hold, release, retry or delete the messages in queue/ and hold/ that the filter takes, or (filter NULL) those with these ids.  Holds
 * the forwarder's lock: ERR_BUSY when it runs after all. */
int cli_queue_files_change(const char *spool, const char *verb, const struct queue_filter *filter, size_t id_count, char **ids,
			   struct cli_queue_counts *out, struct reason *why);

#endif
