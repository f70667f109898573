/* smtp_path.h - reverse-paths and forward-paths (RFC 5321 section 4.1.2).
 * Tolerant, as everybody is, unless strict: space after the colon, missing angle brackets, a path without a domain, dots anywhere
 * in a local part, underscores in a domain, and local parts over 64 octets (VERP and SRS write them, and the server behind us may
 * well take them).  Never tolerated: control bytes, bytes over 127 (we don't offer SMTPUTF8), specials outside quotes.
 * Source routes are accepted and stripped.  Borrows: every span lies inside the parsed text.
 */
#ifndef POSTERN_SMTP_PATH_H
#define POSTERN_SMTP_PATH_H

#include <stdbool.h>

#include "smtp_reply_text.h"
#include "span.h"

#define SMTP_LOCAL_STRICT_CAP 64u /* RFC 5321 section 4.5.3.1.1 */
#define SMTP_PATH_STRICT_CAP 256u /* section 4.5.3.1.3, with the angle brackets */
#define SMTP_LOCAL_CAP 255u
#define SMTP_PATH_CAP 513u        /* with the angle brackets; a stripped route does not count */

enum smtp_path_kind { SMTP_REVERSE_PATH, SMTP_FORWARD_PATH };

struct smtp_path {
	struct span path;   /* without angle brackets and route; empty for the null reverse-path */
	struct span local;  /* with its quotes, if it has any */
	struct span domain; /* a name, or a literal with its brackets; empty: `<postmaster>` and, unless strict, any local part */
	bool is_null;       /* `<>` */
};

/* Read "FROM:<path>" or "TO:<path>" at the start of args (the keyword follows from kind).  *rest_out is what follows, from the
 * first space on.  ERR_SYNTAX, ERR_TOOLONG or ERR_UNSUPPORTED (8-bit), with *why_out, which only then is written. */
int smtp_path_parse(struct span args, enum smtp_path_kind kind, bool strict, struct smtp_path *out, struct span *rest_out,
		    const struct smtp_reply_text **why_out);

/* A bare mailbox ("user@example.org", quoted or not), the whole span, no brackets, no route.  ERR_SYNTAX, ERR_TOOLONG or
 * ERR_UNSUPPORTED (8-bit). */
int smtp_mailbox_parse(struct span text, bool strict, struct smtp_path *out);

#endif
