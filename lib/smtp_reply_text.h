/* smtp_reply_text.h - what to answer, as a constant: the parsers of commands and framing point at one of these when they refuse.
 * The strings are literals: they live forever and hold no line break.
 */
#ifndef POSTERN_SMTP_REPLY_TEXT_H
#define POSTERN_SMTP_REPLY_TEXT_H

#include <stdint.h>

struct smtp_reply_text {
	uint16_t code;
	const char *enhanced; /* RFC 3463 status, or NULL */
	const char *text;
};

#endif
