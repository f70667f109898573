/* addr.h - an IPv4 or IPv6 address, with or without a port, and CIDR prefixes.
 * An IPv4-mapped IPv6 address is an IPv4 address everywhere: it is turned into one where it enters.
 */
#ifndef POSTERN_ADDR_H
#define POSTERN_ADDR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "span.h"

enum addr_family { ADDR_NONE = 0, ADDR_V4 = 4, ADDR_V6 = 6 };

struct addr {
	uint8_t family;    /* enum addr_family */
	uint8_t bytes[16]; /* network order; IPv4 uses the first four, the others are zero */
};

struct endpoint {
	struct addr addr;
	uint16_t port; /* host order */
};

struct cidr {
	struct addr addr; /* host bits are zero */
	uint8_t bits;
};

#define ADDR_TEXT_CAP 46     /* an address with its NUL */
#define ENDPOINT_TEXT_CAP 56 /* "[2001:db8::1]:65535" with its NUL */

/* Dotted quad of four decimal octets, or RFC 4291 text without brackets and without a zone.  ERR_SYNTAX otherwise. */
int addr_parse(struct span text, struct addr *out);

/* Into text; always terminated, "none" for ADDR_NONE.  Returns text. */
const char *addr_format(const struct addr *a, char text[ADDR_TEXT_CAP]);
const char *endpoint_format(const struct endpoint *e, char text[ENDPOINT_TEXT_CAP]);

/* "192.0.2.1:25" or "[2001:db8::1]:25". */
int endpoint_parse(struct span text, struct endpoint *out);

/* From 4 or 16 bytes in network order. */
struct addr addr_from_bytes(enum addr_family family, const uint8_t *bytes);

bool addr_eq(const struct addr *a, const struct addr *b);
bool endpoint_eq(const struct endpoint *a, const struct endpoint *b);
bool addr_is_loopback(const struct addr *a);
bool addr_is_any(const struct addr *a);

/* What counts as one client where clients have limits: an IPv4 address, the /64 of an IPv6 one (who has one address there has them all). */
struct addr addr_client(const struct addr *a);

/* Number of bits of the family: 32 or 128. */
unsigned addr_bits(const struct addr *a);

/* Clears host bits.  bits over the family's width: ERR_INVAL. */
int cidr_make(const struct addr *a, unsigned bits, struct cidr *out);
bool cidr_contains(const struct cidr *c, const struct addr *a);

/* From and to the kernel's form.  Other families: ERR_UNSUPPORTED.  endpoint_to_sockaddr returns the length used. */
int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *out);
socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *out);

#endif
