/* cli_queue_files_parts.h - the walk that cli_queue_files.c (reads) and cli_queue_files_change.c (changes) share.  Only for them.
 */
#ifndef POSTERN_CLI_QUEUE_FILES_PARTS_H
#define POSTERN_CLI_QUEUE_FILES_PARTS_H

#include "cli_queue_files.h"
#include "recovery.h"

struct walk;
typedef int (*visit_fn)(struct walk *walk, const struct spool_found *found);

/* One walk over all messages.  visit returns FOUND to stop. */
enum { FOUND = 1 };

struct walk {
	struct spool_dirs dirs;
	const struct control_answer *answer;
	visit_fn visit;
	const struct queue_filter *filter; /* NULL: all */
	const struct spool_id *wanted;     /* sorted; NULL: all */
	size_t wanted_count;
	int64_t now;
	size_t damaged;
	bool is_live;                      /* the segment under way */
	bool hold_first;                   /* visit moves from queue/ to hold/, and must not meet what it has moved */
	struct reason *why;
	void *ctx;                         /* of visit */
};

/* queue/, then hold/ (or the other way round), then the journal.  0, FOUND, or an error with its reason. */
int cli_queue_files_walk(struct walk *walk, const char *spool);

#endif
