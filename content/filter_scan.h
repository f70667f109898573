/* filter_scan.h - one message, looked at by the content filter as it streams.
 * Lines are compared as they were received, without the dot that SMTP puts in front (RFC 5321 section 4.5.2); decoded text and names of attachments
 * as mime_walk.h shows them.  Where rules of several kinds match, one of plain lines is told, else one of decoded text; of one kind that of
 * the first line that matches, and of that line's the first in the file.
 * It does not hang on the cuts what is found.  Time is linear in the size of the message: filter_work.h bounds it, and then the outcome is unknown.
 * On a loop that serves others each call takes one slice of it and leaves the rest to the next ones: push, finish, go_on, tell.  Who serves nobody
 * else calls push_all and end.
 * Owns: its copies, some KiB for ordinary lines, less than 1 MiB for any message, and what waits of that which was pushed; holds the set until destroy.
 */
#ifndef POSTERN_FILTER_SCAN_H
#define POSTERN_FILTER_SCAN_H

#include "filter_set.h"

#define FILTER_TEXT_CAP 200u

enum filter_outcome { FILTER_PASS, FILTER_MATCHED, FILTER_UNKNOWN };

struct filter_result {
	enum filter_outcome outcome;
	enum filter_kind kind;   /* FILTER_MATCHED */
	uint32_t rule_line;      /* of the filter's file; FILTER_UNKNOWN: of the rule that ran into a limit, or 0 */
	struct span text;        /* FILTER_MATCHED: the line, its first FILTER_TEXT_CAP bytes, as they are; lives as long as the scan */
	const char *why;         /* FILTER_UNKNOWN */
	unsigned mime_flags;     /* enum mime_flag: what was not decoded */
};

struct filter_scan;

int filter_scan_create(struct filter_set *set, struct filter_scan **out);

/* Bytes of the message in wire form.  False: not all that was pushed is done with, call filter_scan_go_on in a later turn.  More may be pushed
 * before, but is copied, and waits as well. */
bool filter_scan_push(struct filter_scan *scan, struct span wire);

/* Once, behind the last of them: the message is over.  False: as push. */
bool filter_scan_finish(struct filter_scan *scan);

/* The next slice of what waits.  True: nothing is left of it. */
bool filter_scan_go_on(struct filter_scan *scan);

/* When all is done behind finish. */
void filter_scan_tell(const struct filter_scan *scan, struct filter_result *out);

/* Push and go on to the end; finish, go on to the end, tell. */
void filter_scan_push_all(struct filter_scan *scan, struct span wire);
void filter_scan_end(struct filter_scan *scan, struct filter_result *out);

void filter_scan_destroy(struct filter_scan **scan); /* accepts a NULL inside, clears it */

#endif
