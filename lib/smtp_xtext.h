/* smtp_xtext.h - xtext (RFC 3461 section 4): printable ASCII without '+', '=' and space, where "+HH" stands for any byte.
 */
#ifndef POSTERN_SMTP_XTEXT_H
#define POSTERN_SMTP_XTEXT_H

#include <stdbool.h>

#include "buf.h"
#include "span.h"

/* Hexadecimal digits are upper case, as the RFC says; lower case is taken too.  Empty is valid. */
bool smtp_xtext_is_valid(struct span xtext);

/* Valid, and what it stands for is printable ASCII or space: fit for a line of a report (RFC 3461 sections 4.2 and 4.4). */
bool smtp_xtext_is_printable(struct span xtext);

/* Append the decoded, encoded bytes.  ERR_SYNTAX (decode only) or what buf says; then nothing was appended. */
int smtp_xtext_decode(struct span xtext, struct buf *out);
int smtp_xtext_encode(struct span bytes, struct buf *out);

#endif
