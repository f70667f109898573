/* mime_word.h - encoded words (RFC 2047) in unfolded header text, wherever they stand, to UTF-8.
 * Forgiving as mail programs are: words within quotes, without space around them, with spaces in them, longer than 75, with a language (RFC 2231 section 5), with a
 * character cut in two between words of the same charset.  White space between two of them goes, as section 6.2 wants it.
 * Linear time.  Pure but for charset.h.  Fails: as buf does; what was appended by then stays.
 */
#ifndef POSTERN_MIME_WORD_H
#define POSTERN_MIME_WORD_H

#include <stdbool.h>

#include "buf.h"
#include "span.h"

/* Whether there may be one: what has none decodes to itself. */
bool mime_word_is_in(struct span text);

/* Append the decoded text: valid UTF-8, at most 3 bytes for each of text and 16 for each word in it. */
int mime_word_decode(struct span text, struct buf *out);

#endif
