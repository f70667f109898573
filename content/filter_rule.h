/* filter_rule.h - one line of the content filter's file.
 */
#ifndef POSTERN_FILTER_RULE_H
#define POSTERN_FILTER_RULE_H

#include <stdint.h>

#include "span.h"

/* What a rule is compared with: lines as they are received; decoded text and header fields; names of attachments. */
enum filter_kind { FILTER_LINE, FILTER_DECODE, FILTER_ATTACHMENT, FILTER_KINDS };

struct filter_rule {
	enum filter_kind kind;
	struct span pattern;   /* borrowed from the text of the file */
	uint32_t line, column; /* of the pattern, from 1 */
};

const char *filter_kind_name(enum filter_kind kind); /* "line", "decode", "attachment" */

#endif
