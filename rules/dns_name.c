#include "dns_name.h"

#include <stdio.h>
#include <string.h>

#include "err.h"
#include "smtp_domain.h"

#define NIBBLES_CAP 65 /* 32 of them with their dots, and a NUL */

bool dns_name_is_askable(struct span name)
{
	return name.len <= DNS_NAME_MAX && smtp_domain_is_valid(name, false);
}

static void reverse(const struct addr *addr, char out[NIBBLES_CAP])
{
	static const char hex[] = "0123456789abcdef";
	const uint8_t *b = addr->bytes;
	if (addr->family == ADDR_V4) {
		(void)snprintf(out, NIBBLES_CAP, "%u.%u.%u.%u", b[3], b[2], b[1], b[0]);
		return;
	}
	for (size_t i = 0; i < 16; i++) {
		char *at = out + 4 * i;
		at[0] = hex[b[15 - i] & 15];
		at[2] = hex[b[15 - i] >> 4];
		at[1] = at[3] = '.';
	}
	out[63] = '\0';
}

int dns_name_below(struct span subject, struct span zone, char out[DNS_NAME_CAP])
{
	if (subject.len + 1 + zone.len > DNS_NAME_MAX)
		return ERR_TOOLONG;
	(void)snprintf(out, DNS_NAME_CAP, "%.*s.%.*s", SPAN_FMT(subject), SPAN_FMT(zone));
	return 0;
}

int dns_name_reversed(const struct addr *addr, struct span zone, char out[DNS_NAME_CAP])
{
	char text[NIBBLES_CAP];
	reverse(addr, text);
	return dns_name_below(span_of(text), zone, out);
}

int dns_name_of_addr(const struct addr *addr, char out[DNS_NAME_CAP])
{
	return dns_name_reversed(addr, addr->family == ADDR_V4 ? SPAN_LIT("in-addr.arpa") : SPAN_LIT("ip6.arpa"), out);
}

bool dns_name_up(struct span *name)
{
	struct span up = span_sub(*name, span_find(*name, '.', 0) + 1, name->len);
	if (span_find(up, '.', 0) == up.len)
		return false;
	*name = up;
	return true;
}
