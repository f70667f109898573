#include "addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "err.h"

static void unmap(struct addr *a)
{
	static const uint8_t prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	if (a->family != ADDR_V6 || memcmp(a->bytes, prefix, sizeof prefix) != 0)
		return;
	a->family = ADDR_V4;
	memmove(a->bytes, a->bytes + 12, 4);
	memset(a->bytes + 4, 0, 12);
}

struct addr addr_from_bytes(enum addr_family family, const uint8_t *bytes)
{
	struct addr a = { .family = (uint8_t)family };
	memcpy(a.bytes, bytes, family == ADDR_V4 ? 4 : 16);
	unmap(&a);
	return a;
}

int addr_parse(struct span text, struct addr *out)
{
	char cstr[ADDR_TEXT_CAP];
	struct addr a = { 0 };
	if (span_to_cstr(text, cstr, sizeof cstr))
		return ERR_SYNTAX;
	if (inet_pton(AF_INET, cstr, a.bytes) == 1)
		a.family = ADDR_V4;
	else if (inet_pton(AF_INET6, cstr, a.bytes) == 1)
		a.family = ADDR_V6;
	else
		return ERR_SYNTAX;
	unmap(&a);
	*out = a;
	return 0;
}

const char *addr_format(const struct addr *a, char text[ADDR_TEXT_CAP])
{
	int family = a->family == ADDR_V4 ? AF_INET : AF_INET6;
	if (a->family == ADDR_NONE || !inet_ntop(family, a->bytes, text, ADDR_TEXT_CAP))
		memcpy(text, "none", 5);
	return text;
}

const char *endpoint_format(const struct endpoint *e, char text[ENDPOINT_TEXT_CAP])
{
	char digits[SPAN_DIGITS_CAP];
	struct span port = span_of_u64(e->port, 10, digits);
	bool v6 = e->addr.family == ADDR_V6;
	if (v6)
		text[0] = '[';
	char *at = text + v6;
	at += strlen(addr_format(&e->addr, at));
	if (v6)
		*at++ = ']';
	*at++ = ':';
	memcpy(at, port.ptr, port.len);
	at[port.len] = '\0';
	return text;
}

int endpoint_parse(struct span text, struct endpoint *out)
{
	struct endpoint e = { 0 };
	uint64_t port = 0;
	size_t colon = span_rfind(text, ':');
	if (colon == text.len)
		return ERR_SYNTAX;
	struct span host = span_sub(text, 0, colon);
	bool bracketed = host.len >= 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';
	if (bracketed)
		host = span_sub(host, 1, host.len - 1);
	if (addr_parse(host, &e.addr) || span_to_u64(span_sub(text, colon + 1, text.len), 65535, &port))
		return ERR_SYNTAX;
	if (bracketed == (memchr(host.ptr, ':', host.len) == NULL))
		return ERR_SYNTAX;
	e.port = (uint16_t)port;
	*out = e;
	return 0;
}

bool addr_eq(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool endpoint_eq(const struct endpoint *a, const struct endpoint *b)
{
	return a->port == b->port && addr_eq(&a->addr, &b->addr);
}

bool addr_is_loopback(const struct addr *a)
{
	static const uint8_t v6[16] = { [15] = 1 };
	return a->family == ADDR_V4 ? a->bytes[0] == 127 : a->family == ADDR_V6 && memcmp(a->bytes, v6, 16) == 0;
}

bool addr_is_any(const struct addr *a)
{
	static const uint8_t zero[16];
	return a->family != ADDR_NONE && memcmp(a->bytes, zero, 16) == 0;
}

struct addr addr_client(const struct addr *a)
{
	struct addr client = *a;
	if (client.family == ADDR_V6)
		memset(client.bytes + 8, 0, 8);
	return client;
}

unsigned addr_bits(const struct addr *a)
{
	return a->family == ADDR_V4 ? 32 : 128;
}

int cidr_make(const struct addr *a, unsigned bits, struct cidr *out)
{
	if (a->family == ADDR_NONE || bits > addr_bits(a))
		return ERR_INVAL;
	struct cidr c = { .addr = *a, .bits = (uint8_t)bits };
	for (unsigned i = 0; i < 16; i++) {
		unsigned keep = bits > i * 8 ? bits - i * 8 : 0;
		if (keep < 8)
			c.addr.bytes[i] = (uint8_t)(c.addr.bytes[i] & (0xff00u >> keep));
	}
	*out = c;
	return 0;
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
	if (c->addr.family != a->family)
		return false;
	unsigned whole = c->bits / 8;
	unsigned rest = c->bits % 8;
	if (memcmp(c->addr.bytes, a->bytes, whole) != 0)
		return false;
	return rest == 0 || ((c->addr.bytes[whole] ^ a->bytes[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

int endpoint_from_sockaddr(const struct sockaddr *sa, struct endpoint *out)
{
	struct endpoint e = { 0 };
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof in);
		e.addr.family = ADDR_V4;
		memcpy(e.addr.bytes, &in.sin_addr, 4);
		e.port = ntohs(in.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof in6);
		e.addr.family = ADDR_V6;
		memcpy(e.addr.bytes, &in6.sin6_addr, 16);
		e.port = ntohs(in6.sin6_port);
		unmap(&e.addr);
	} else {
		return ERR_UNSUPPORTED;
	}
	*out = e;
	return 0;
}

socklen_t endpoint_to_sockaddr(const struct endpoint *e, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (e->addr.family == ADDR_V4) {
		struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(e->port) };
		memcpy(&in.sin_addr, e->addr.bytes, 4);
		memcpy(out, &in, sizeof in);
		return sizeof in;
	}
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(e->port) };
	memcpy(&in6.sin6_addr, e->addr.bytes, 16);
	memcpy(out, &in6, sizeof in6);
	return sizeof in6;
}
