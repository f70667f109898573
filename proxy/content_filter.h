/* content_filter.h - the content filter (filter_scan.h) as a check on content: allow-filter in a rule.
 * A message that matches gets 550 5.7.1, one about which it can't be known 451 4.7.0; the log has the rule and the words of Spammer Deterrent.
 * Recipients get 451 while there is no filter.
 */
#ifndef POSTERN_CONTENT_FILTER_H
#define POSTERN_CONTENT_FILTER_H

#include "content_engine.h"

extern const struct content_engine content_filter;

#endif
