/* content_milter.h - the milters (milter_talk.h) as a check on content: allow-milter in a rule.
 * They were told of the recipients before DATA; here they judge the message, and may change it.
 */
#ifndef POSTERN_CONTENT_MILTER_H
#define POSTERN_CONTENT_MILTER_H

#include "content_engine.h"

extern const struct content_engine content_milter;

#endif
