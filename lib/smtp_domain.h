/* smtp_domain.h - domain names, address literals and the argument of HELO and EHLO (RFC 5321 sections 4.1.2 and 4.1.3).
 * Syntax only: nothing is looked up.
 */
#ifndef POSTERN_SMTP_DOMAIN_H
#define POSTERN_SMTP_DOMAIN_H

#include <stdbool.h>

#include "addr.h"
#include "span.h"

#define SMTP_DOMAIN_CAP 255u /* octets; RFC 5321 section 4.5.3.1.2 */

/* Labels of letters, digits, hyphens (not at their ends) and underscores, 1 to 63 octets each, separated by single dots.  strict:
 * no underscores.  A single label is a domain here. */
bool smtp_domain_is_valid(struct span name, bool strict);

/* "[192.0.2.1]" or "[IPv6:2001:db8::1]", brackets included.  ERR_SYNTAX for everything else. */
int smtp_literal_parse(struct span text, struct addr *out);

enum smtp_helo_kind {
	SMTP_HELO_EMPTY,
	SMTP_HELO_DOMAIN,
	SMTP_HELO_LITERAL,
	SMTP_HELO_ODD /* neither; whether that is refused is the session's decision */
};

struct smtp_helo {
	enum smtp_helo_kind kind;
	struct span name;    /* the first word, cut to SMTP_DOMAIN_CAP; any bytes if the kind is ODD */
	struct addr literal; /* ADDR_NONE unless the kind is LITERAL */
};

void smtp_helo_parse(struct span args, struct smtp_helo *out);

#endif
