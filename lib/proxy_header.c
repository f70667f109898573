#include "proxy_header.h"

#include <string.h>

static const char v1_start[] = "PROXY ";
static const char v2_signature[12] = { '\r', '\n', '\r', '\n', '\0', '\r', '\n', 'Q', 'U', 'I', 'T', '\n' };

/* Version 2: its fixed head; command; family and transport. */
enum { V2_HEAD = 16, V2_LOCAL = 0x20, V2_PROXY = 0x21, V2_UNSPEC = 0x00, V2_TCP4 = 0x11, V2_TCP6 = 0x21, V2_UNIX = 0x31, V2_UNIX_LEN = 216 };

/* No client has the address of nobody. */
static enum proxy_header_result told(struct proxy_header *h, const struct endpoint *client, const struct endpoint *dst)
{
	if (addr_is_any(&client->addr))
		return PROXY_HEADER_BAD;
	h->client = *client;
	h->dst = *dst;
	return PROXY_HEADER_RELAYED;
}

/* ---- version 1 */

/* Without leading zeros. */
static bool parse_port(struct span text, uint16_t *out)
{
	uint64_t port;
	if (span_to_u64(text, 65535, &port) || (text.len > 1 && text.ptr[0] == '0'))
		return false;
	*out = (uint16_t)port;
	return true;
}

static bool parse_addr(struct span text, bool is_v6, struct addr *out)
{
	return addr_parse(text, out) == 0 && (span_find(text, ':', 0) < text.len) == is_v6;
}

/* line: behind "PROXY ", without CRLF. */
static enum proxy_header_result parse_v1(struct proxy_header *h, struct span line)
{
	struct span words[5], rest = line, more;
	struct endpoint client, dst;
	if (span_eq(line, SPAN_LIT("UNKNOWN")) || (line.len > 7 && span_eq(span_sub(line, 0, 8), SPAN_LIT("UNKNOWN "))))
		return PROXY_HEADER_OWN;
	for (size_t i = 0; i < 5; i++)
		if (!span_cut(&rest, ' ', &words[i]))
			return PROXY_HEADER_BAD;
	bool is_v6 = span_eq(words[0], SPAN_LIT("TCP6"));
	if (span_cut(&rest, ' ', &more) || (!is_v6 && !span_eq(words[0], SPAN_LIT("TCP4"))))
		return PROXY_HEADER_BAD;
	if (!parse_addr(words[1], is_v6, &client.addr) || !parse_addr(words[2], is_v6, &dst.addr) || !parse_port(words[3], &client.port) ||
	    !parse_port(words[4], &dst.port))
		return PROXY_HEADER_BAD;
	return told(h, &client, &dst);
}

static enum proxy_header_result push_v1(struct proxy_header *h, uint8_t byte)
{
	const size_t start = sizeof v1_start - 1;
	uint8_t before = h->have ? h->bytes[h->have - 1] : 0;
	if (h->have < start && byte != (uint8_t)v1_start[h->have])
		return PROXY_HEADER_BAD;
	/* A CR stands in front of the LF and nowhere else. */
	if ((before == '\r') != (byte == '\n') || byte == '\0')
		return PROXY_HEADER_BAD;
	h->bytes[h->have++] = byte;
	if (byte == '\n')
		return parse_v1(h, (struct span){ (const char *)h->bytes + start, h->have - start - 2 });
	return h->have < PROXY_HEADER_V1_CAP ? PROXY_HEADER_MORE : PROXY_HEADER_BAD;
}

/* ---- version 2 */

static uint16_t get_u16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* How long the addresses are that we read; 0: none, and the whole block is passed over unread (with LOCAL even its family must be). */
static uint16_t v2_addrs_len(const struct proxy_header *h)
{
	if (h->bytes[12] == V2_LOCAL)
		return 0;
	return h->bytes[13] == V2_TCP4 ? 12 : h->bytes[13] == V2_TCP6 ? 36 : 0;
}

static enum proxy_header_result v2_end(struct proxy_header *h)
{
	uint16_t len = v2_addrs_len(h);
	if (len == 0)
		return PROXY_HEADER_OWN;
	const uint8_t *p = h->bytes + V2_HEAD;
	size_t size = (len - 4u) / 2;
	enum addr_family family = size == 4 ? ADDR_V4 : ADDR_V6;
	const struct endpoint client = { addr_from_bytes(family, p), get_u16(p + 2 * size) };
	const struct endpoint dst = { addr_from_bytes(family, p + size), get_u16(p + 2 * size + 2) };
	return h->tlv_head ? PROXY_HEADER_BAD : told(h, &client, &dst);
}

static enum proxy_header_result v2_head(struct proxy_header *h)
{
	uint8_t command = h->bytes[12], family = h->bytes[13];
	uint16_t len = get_u16(h->bytes + 14), least = family == V2_UNIX ? V2_UNIX_LEN : v2_addrs_len(h);
	bool is_known = family == V2_UNSPEC || family == V2_TCP4 || family == V2_TCP6 || family == V2_UNIX;
	/* What is no stream was never a connection. */
	if (command != V2_LOCAL && (command != V2_PROXY || !is_known || len < least))
		return PROXY_HEADER_BAD;
	h->rest = (uint16_t)(len - v2_addrs_len(h));
	return len == 0 ? v2_end(h) : PROXY_HEADER_MORE;
}

/* Type, length, value, and the next. */
static bool v2_tlv_byte(struct proxy_header *h, uint8_t byte)
{
	if (h->tlv_head == 3) {
		h->tlv_rest--;
	} else {
		h->tlv_head++;
		if (h->tlv_head > 1)
			h->tlv_rest = (uint16_t)(h->tlv_rest << 8 | byte);
	}
	if (h->tlv_head == 3 && h->tlv_rest == 0)
		h->tlv_head = 0;
	return h->tlv_head < 3 || h->tlv_rest <= h->rest;
}

static enum proxy_header_result push_v2(struct proxy_header *h, uint8_t byte)
{
	if (h->have < sizeof v2_signature && byte != (uint8_t)v2_signature[h->have])
		return PROXY_HEADER_BAD;
	if (h->have < V2_HEAD || h->have < V2_HEAD + v2_addrs_len(h)) {
		h->bytes[h->have++] = byte;
		if (h->have == V2_HEAD)
			return v2_head(h);
		return h->have < V2_HEAD || h->have < V2_HEAD + v2_addrs_len(h) || h->rest ? PROXY_HEADER_MORE : v2_end(h);
	}
	h->rest--;
	if (v2_addrs_len(h) && !v2_tlv_byte(h, byte))
		return PROXY_HEADER_BAD;
	return h->rest ? PROXY_HEADER_MORE : v2_end(h);
}

/* ---- */

enum proxy_header_result proxy_header_push(struct proxy_header *h, struct span bytes, size_t *used_out)
{
	enum proxy_header_result result = PROXY_HEADER_MORE;
	size_t used = 0;
	while (result == PROXY_HEADER_MORE && used < bytes.len) {
		uint8_t byte = (uint8_t)bytes.ptr[used++];
		/* The first bytes of the two differ. */
		bool is_v2 = (h->have ? h->bytes[0] : byte) == (uint8_t)v2_signature[0];
		result = is_v2 ? push_v2(h, byte) : push_v1(h, byte);
	}
	*used_out = used;
	return result;
}
