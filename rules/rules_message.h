/* rules_message.h - the reply of a refusing rule: checked when the rules are loaded, filled in when it is sent.
 * A reply is one line of printable ASCII, at most 512 octets with its CRLF; whatever a peer supplied is made harmless and cut at
 * MESSAGE_VALUE_MAX bytes.  An enhanced status code (RFC 2034) is added where the message has none.
 */
#ifndef POSTERN_RULES_MESSAGE_H
#define POSTERN_RULES_MESSAGE_H

#include <stdbool.h>

#include "arena.h"
#include "err.h"
#include "facts.h"
#include "rules.h"
#include "span.h"

#define MESSAGE_VALUE_MAX 128u

struct rules_message {
	struct span template; /* with code, enhanced code and % codes */
	bool uses_name;       /* holds %H */
};

/* The message of a rule without one. */
#define MESSAGE_DEFAULT "550 Mail from %F to %T prohibited from your location (%U@%H ip=%I)"

/* Texts go into the arena.  On ERR_SYNTAX *at_out is the offset of what is wrong and why says what was expected. */
int rules_message_parse(struct arena *arena, struct span text, struct rules_message *out, size_t *at_out, struct reason *why);

/* from and to without <>. */
void rules_message_render(const struct rules_message *message, const struct rules_facts *facts, struct span from, struct span to,
			  char reply[VERDICT_REPLY_CAP]);

#endif
