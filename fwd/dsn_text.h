/* dsn_text.h - what peers wrote, made fit for a report: addresses, replies, and the header of the message that is returned.
 * Pure.  Nothing that is appended here holds a CR or LF of its own, but for quoted-printable, whose lines are ours.
 */
#ifndef POSTERN_DSN_TEXT_H
#define POSTERN_DSN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#include "buf.h"

#define DSN_LINE_CAP 998u /* RFC 5322 section 2.1.1, without CRLF */

/* One line: printable ASCII stays, every other byte becomes '?'.  At most cap bytes of it. */
int dsn_text_clean(struct buf *out, struct span text, size_t cap);

/* An address behind its type, as in `rfc822;b@example.org`.  What holds other than ASCII and is UTF-8 becomes `utf-8;...` (RFC 6533
 * section 3): as it is where is_global, else with \x{HEX} in the place of what is not ASCII, fit for any report.  What is neither is
 * cleaned. */
int dsn_text_address(struct buf *out, struct span path, bool is_global);

bool dsn_text_is_8bit(struct span text);

/* Other than ASCII, and well-formed (RFC 3629) without control characters. */
bool dsn_text_is_utf8(struct span text);

/* Does every line fit DSN_LINE_CAP? */
bool dsn_text_is_short(struct span lines);

/* RFC 2045 section 6.7.  lines: wire form, each ended by CRLF; doubled dots become single ones and then `=2E`, so that what comes out
 * needs no doubling. */
int dsn_text_quoted_printable(struct buf *out, struct span lines);

#endif
