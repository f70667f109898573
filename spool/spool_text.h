/* spool_text.h - peer bytes inside the spool's text lines.
 * Written as \xNN: everything outside printable ASCII, the backslash, and in a token also space, < and >.  NUL, CR and LF are refused both
 * ways: no value has them, and a forwarder that trusted one would speak a line it never meant to.
 * Pure.  Only for spool/.
 */
#ifndef POSTERN_SPOOL_TEXT_H
#define POSTERN_SPOOL_TEXT_H

#include <stdbool.h>

#include "arena.h"
#include "buf.h"
#include "span.h"

/* Append the escaped bytes.  ERR_INVAL (NUL, CR, LF), ERR_TOOLONG (more than cap bytes before escaping, or out is full), ERR_NOMEM. */
int spool_text_put(struct buf *out, struct span value, bool is_token, size_t cap);

/* How many bytes put would append. */
size_t spool_text_len(struct span value, bool is_token);

/* Back again, into the arena.  ERR_CORRUPT: not what put writes; ERR_TOOLONG: over cap after unescaping; ERR_NOMEM. */
int spool_text_get(struct span text, bool is_token, size_t cap, struct arena *arena, struct span *out);

/* Cut the part of *rest before the next space: a token. */
struct span spool_text_word(struct span *rest);

#endif
