/* paranoid.h - what paranoid mode finds suspicious in the words of a client.  Everything here is legal mail or nearly so; it is refused
 * because programs behind us have come to grief over it: shells, mail programs that read an address as a command, a file or an option, and
 * terminals.  Pure: spans in, a judgement out; each function says NULL or, for the log, what was found.
 */
#ifndef POSTERN_PARANOID_H
#define POSTERN_PARANOID_H

#include <stdbool.h>

#include "smtp_path.h"
#include "span.h"

#define PARANOID_LINE_CAP 998u /* of a header, without its CRLF: RFC 5322 section 2.1.1 */

/* Letters, digits, - . _ and what a literal needs ([ ] :) are fine, all else is not. */
const char *paranoid_helo(struct span name);

/* Characters that mean something to a shell or a mail program, and a local part that begins with - / : or |. */
const char *paranoid_path(const struct smtp_path *path);

/* A header must be printable ASCII and tabs, in lines of PARANOID_LINE_CAP at most.  Zeroed at the start of a message. */
struct paranoid_header {
	const char *found;
	unsigned line_len;
	bool is_over, is_dot; /* the empty line was seen; the line is a dot so far */
};

/* Fed with the wire form, cut anywhere; after the header it looks at nothing any more. */
void paranoid_header_push(struct paranoid_header *header, struct span wire);

#endif
