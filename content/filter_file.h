/* filter_file.h - the file of the content filter (postern-filter(5)), read into rules.
 * One pattern a line, as it stands, blanks included.  A line that begins with # and a blank one are none.  `decode:` and `attachment:` in front
 * say what the pattern is compared with; blanks behind them do not belong to it.  A pattern that begins with such a word is written with a backslash
 * in front of it: \decode: (a backslash in front of a letter that means nothing special stands for the letter).
 * Limits: FILTER_FILE_MAX bytes, FILTER_RULES_MAX patterns, FILTER_PATTERN_MAX bytes each.
 * Pure: the rules borrow the text.
 */
#ifndef POSTERN_FILTER_FILE_H
#define POSTERN_FILTER_FILE_H

#include <stddef.h>

#include "err.h"
#include "filter_rule.h"
#include "rules_diag.h"

#define FILTER_FILE_MAX (16u << 20)
#define FILTER_RULES_MAX 65536u
#define FILTER_PATTERN_MAX 4096u

struct filter_file {
	struct filter_rule *rules; /* NULL: none */
	size_t count;
};

/* name: for diags.  ERR_SYNTAX: every error is in diags (which may hold warnings on success, too), and the lines that are good are in out; ERR_NOMEM.
 * What the patterns mean is not looked at. */
int filter_file_parse(struct span name, struct span text, struct rules_diags *diags, struct filter_file *out);

void filter_file_free(struct filter_file *file);

#endif
