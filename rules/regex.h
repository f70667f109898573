/* regex.h - POSIX regular expressions, extended and basic (bre.h), case-insensitive.  The one home of PCRE2.
 * Owns: the compiled form, from compile to destroy.  One thread at a time may match with one regex.
 * Bounds: a match that runs into the match limit (hostile text against a bad expression) is TRI_UNKNOWN, never a hang.
 */
#ifndef POSTERN_REGEX_H
#define POSTERN_REGEX_H

#include <stdbool.h>

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

/* ---- many expressions for long lines
 * What thousands of them share: memory for a match, a stack, and limits that ordinary long lines do not reach (20 ms of processor time).  One
 * thread at a time may match with all that share it.  Machine code is made when an expression is matched for the first time: most of
 * thousands never are. */
struct regex_scratch;

int regex_scratch_create(struct regex_scratch **out);
void regex_scratch_destroy(struct regex_scratch **scratch); /* behind everything that was compiled with it */

enum { REGEX_UTF = 1 }; /* text and expression are UTF-8, case is Unicode's; what is not UTF-8 in the text matches nothing */

/* One expression, or any of several.  Several: each has to be one that compiles alone, and none may have a back-reference.
 * ERR_SYNTAX: *at_out is the offset in the first text. */
int regex_compile_basic(struct regex_scratch *scratch, const struct span *texts, size_t count, unsigned flags, struct regex **out,
			size_t *at_out, struct reason *why);

bool regex_has_backref(const struct regex *regex);

/* A piece of a line: where a match may begin (what is in front only says what it follows), and whether the ends are the line's own. */
struct regex_piece {
	struct span text;
	size_t from;
	bool is_line_begin, is_line_end;
};

/* Only for those with a scratch. */
enum tri regex_match_piece(struct regex *regex, const struct regex_piece *piece);

#endif
