/* smtp_caps.h - what a server offers in its reply to EHLO (RFC 5321 section 4.1.1.1).
 * Keywords are read without regard to case; what we don't know or what is malformed counts as not offered.
 */
#ifndef POSTERN_SMTP_CAPS_H
#define POSTERN_SMTP_CAPS_H

#include <stdint.h>

#include "smtp_reply.h"

enum {
	SMTP_CAP_PIPELINING = 1 << 0,
	SMTP_CAP_SIZE = 1 << 1,
	SMTP_CAP_8BITMIME = 1 << 2,
	SMTP_CAP_ENHANCEDSTATUSCODES = 1 << 3,
	SMTP_CAP_DSN = 1 << 4,
	SMTP_CAP_STARTTLS = 1 << 5,
	SMTP_CAP_XFORWARD = 1 << 6,
	SMTP_CAP_XCLIENT = 1 << 7,
	SMTP_CAP_CHUNKING = 1 << 8,
	SMTP_CAP_SMTPUTF8 = 1 << 9
};

/* Attributes of XFORWARD and XCLIENT. */
enum {
	SMTP_ATTR_NAME = 1 << 0,
	SMTP_ATTR_ADDR = 1 << 1,
	SMTP_ATTR_PORT = 1 << 2,
	SMTP_ATTR_PROTO = 1 << 3,
	SMTP_ATTR_HELO = 1 << 4,
	SMTP_ATTR_IDENT = 1 << 5,
	SMTP_ATTR_SOURCE = 1 << 6,
	SMTP_ATTR_LOGIN = 1 << 7,
	SMTP_ATTR_DESTADDR = 1 << 8,
	SMTP_ATTR_DESTPORT = 1 << 9
};

struct smtp_caps {
	unsigned offered;       /* SMTP_CAP_* */
	uint64_t size_limit;    /* bytes; 0 = none was named */
	unsigned xforward, xclient; /* SMTP_ATTR_* */
};

/* ehlo: a complete reply with code 250.  The first line (the server's name) is skipped. */
void smtp_caps_parse(const struct smtp_reply *ehlo, struct smtp_caps *out);

#endif
