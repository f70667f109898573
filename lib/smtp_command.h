/* smtp_command.h - the verb of a command line and what follows it.  No line is an error here: what we don't know is SMTP_UNKNOWN.
 * Verbs are read without regard to case; white space behind the line is dropped, as every server does.
 */
#ifndef POSTERN_SMTP_COMMAND_H
#define POSTERN_SMTP_COMMAND_H

#include <stdbool.h>

#include "span.h"

enum smtp_verb {
	SMTP_UNKNOWN,
	SMTP_HELO,
	SMTP_EHLO,
	SMTP_MAIL,
	SMTP_RCPT,
	SMTP_DATA,
	SMTP_RSET,
	SMTP_NOOP,
	SMTP_QUIT,
	SMTP_VRFY,
	SMTP_EXPN,
	SMTP_HELP,
	SMTP_STARTTLS,
	SMTP_AUTH,
	SMTP_BDAT,
	SMTP_XCLIENT,
	SMTP_XFORWARD,
	SMTP_ETRN,
	SMTP_TURN,
	SMTP_VERB_COUNT
};

struct smtp_command {
	enum smtp_verb verb;
	struct span verb_text; /* as the client wrote it; may be empty */
	struct span args;      /* without white space at both ends; for MAIL it begins with FROM: */
	bool is_foreign;       /* SMTP_UNKNOWN, and the client speaks HTTP: hang up, nothing good follows */
};

/* line: one line without its end.  The spans of the result lie inside it. */
void smtp_command_parse(struct span line, struct smtp_command *out);

/* Upper case; "UNKNOWN" for SMTP_UNKNOWN. */
const char *smtp_verb_name(enum smtp_verb verb);

#endif
