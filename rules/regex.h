/* regex.h - POSIX regular expressions, extended and basic, case-insensitive.  The one home of PCRE2.
 * Owns: the compiled form, from compile to destroy.  One thread at a time may match with one regex.
 * Bounds: a match that runs into the match limit (hostile text against a bad expression) is TRI_UNKNOWN, never a hang.
 */
#ifndef POSTERN_REGEX_H
#define POSTERN_REGEX_H

#include "err.h"
#include "span.h"
#include "tri.h"

enum regex_syntax { REGEX_EXTENDED, REGEX_BASIC };

struct regex;

/* ERR_SYNTAX with a reason ("at offset 3: ..."), ERR_NOMEM. */
int regex_compile(struct span text, enum regex_syntax syntax, struct regex **out, struct reason *why);

/* Matches anywhere in the text, as in egrep -i.  Bytes, not characters. */
enum tri regex_match(struct regex *regex, struct span text);

void regex_destroy(struct regex **regex);

#endif
