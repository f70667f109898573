#include "packet.h"

#include <netinet/in.h>
#include <string.h>

#include "err.h"

#define IP4_HEAD 20u
#define IP6_HEAD 40u
#define TCP_HEAD 20u

static uint16_t load16(const uint8_t *b)
{
	return (uint16_t)(b[0] << 8 | b[1]);
}

static uint32_t load32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void store16(uint8_t *b, uint32_t value)
{
	b[0] = (uint8_t)(value >> 8);
	b[1] = (uint8_t)value;
}

static void store32(uint8_t *b, uint32_t value)
{
	store16(b, value >> 16);
	store16(b + 2, value & 0xffff);
}

static void load_addr(const uint8_t *b, enum addr_family family, struct addr *out)
{
	*out = (struct addr){ .family = (uint8_t)family };
	memcpy(out->bytes, b, family == ADDR_V4 ? 4 : 16);
}

/* ---- reading */

/* What is left of the packet behind its IP headers.  `bytes` is what was copied of it, `len` what the headers say it has. */
struct inside {
	const uint8_t *bytes;
	size_t copied, len;
};

static int enter_v4(const uint8_t *b, size_t copied, struct packet_tcp *out, struct inside *in)
{
	if (copied < IP4_HEAD)
		return ERR_EOF;
	size_t head = (size_t)(b[0] & 15) * 4, total = load16(b + 2);
	if (head < IP4_HEAD || total < head)
		return ERR_PROTO;
	/* Also a first fragment of several is not judged: the kernel puts them together before the queue (nf_defrag). */
	if ((load16(b + 6) & 0x3fff) != 0 || b[9] != IPPROTO_TCP)
		return ERR_UNSUPPORTED;
	if (copied < head)
		return ERR_EOF;
	load_addr(b + 12, ADDR_V4, &out->from.addr);
	load_addr(b + 16, ADDR_V4, &out->to.addr);
	*in = (struct inside){ b + head, copied - head, total - head };
	return 0;
}

static bool is_mapped(const uint8_t *b)
{
	static const uint8_t prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	return memcmp(b, prefix, sizeof prefix) == 0;
}

/* One extension header.  Its length in *len_out; 0: TCP is next. */
static int pass_header(const struct inside *in, uint8_t *next, bool is_first, size_t *len_out)
{
	const uint8_t *b = in->bytes;
	uint8_t kind = *next;
	*len_out = 0;
	if (kind == IPPROTO_TCP)
		return 0;
	if (kind != IPPROTO_HOPOPTS && kind != IPPROTO_DSTOPTS && kind != IPPROTO_ROUTING && kind != IPPROTO_FRAGMENT && kind != IPPROTO_AH)
		return ERR_UNSUPPORTED;
	if (kind == IPPROTO_HOPOPTS && !is_first)
		return ERR_PROTO;
	if (in->len < 8)
		return ERR_PROTO;
	if (in->copied < 8)
		return ERR_EOF;
	/* An atomic fragment (RFC 6946) is a whole packet; the address in a routing header that is not at its end is the one that counts. */
	if ((kind == IPPROTO_FRAGMENT && (load16(b + 2) & 0xfff9) != 0) || (kind == IPPROTO_ROUTING && b[3] != 0))
		return ERR_UNSUPPORTED;
	*next = b[0];
	*len_out = kind == IPPROTO_FRAGMENT ? 8 : kind == IPPROTO_AH ? ((size_t)b[1] + 2) * 4 : ((size_t)b[1] + 1) * 8;
	return 0;
}

static int enter_v6(const uint8_t *b, size_t copied, struct packet_tcp *out, struct inside *in)
{
	size_t len;
	if (copied < IP6_HEAD)
		return ERR_EOF;
	if (is_mapped(b + 8) || is_mapped(b + 24))
		return ERR_PROTO;
	load_addr(b + 8, ADDR_V6, &out->from.addr);
	load_addr(b + 24, ADDR_V6, &out->to.addr);
	uint8_t next = b[6];
	*in = (struct inside){ b + IP6_HEAD, copied - IP6_HEAD, load16(b + 4) };
	if (in->len == 0)
		return ERR_UNSUPPORTED; /* a jumbogram, or nothing inside */
	for (unsigned i = 0; i <= PACKET_HEADERS_MAX; i++) {
		int err = pass_header(in, &next, i == 0, &len);
		if (err || len == 0)
			return err;
		if (len > in->len)
			return ERR_PROTO;
		if (len > in->copied)
			return ERR_EOF;
		*in = (struct inside){ in->bytes + len, in->copied - len, in->len - len };
	}
	return ERR_TOOLONG;
}

/* Only the MSS is of use here.  True: read to the end without a flaw. */
static bool read_options(const uint8_t *b, size_t copied, size_t len, struct packet_tcp *out)
{
	for (unsigned i = 0; i < PACKET_OPTIONS_MAX && len > 0; i++) {
		if (copied == 0)
			return false;
		if (b[0] == 0)
			return true;
		size_t size = b[0] == 1 ? 1 : copied < 2 ? 0 : b[1];
		if (size == 0 || (b[0] != 1 && size < 2) || size > len || size > copied)
			return false;
		if (b[0] == 2 && size == 4)
			out->mss = load16(b + 2);
		b += size;
		copied -= size;
		len -= size;
	}
	return len == 0;
}

static int read_tcp(const struct inside *in, struct packet_tcp *out)
{
	const uint8_t *b = in->bytes;
	if (in->len < TCP_HEAD)
		return ERR_PROTO;
	if (in->copied < TCP_HEAD)
		return ERR_EOF;
	size_t head = (size_t)(b[12] >> 4) * 4;
	if (head < TCP_HEAD || head > in->len)
		return ERR_PROTO;
	out->from.port = load16(b);
	out->to.port = load16(b + 2);
	out->seq = load32(b + 4);
	out->ack = load32(b + 8);
	out->flags = b[13] & 0x3f;
	out->window = load16(b + 14);
	out->payload_bytes = (uint32_t)(in->len - head);
	size_t copied = in->copied < head ? in->copied : head;
	out->is_whole = read_options(b + TCP_HEAD, copied - TCP_HEAD, head - TCP_HEAD, out);
	return 0;
}

int packet_read(struct span head, struct packet_tcp *out)
{
	const uint8_t *b = (const uint8_t *)head.ptr;
	struct packet_tcp found = { 0 };
	struct inside in;
	if (head.len == 0)
		return ERR_EOF;
	unsigned version = b[0] >> 4;
	int err = version == 4 ? enter_v4(b, head.len, &found, &in) : version == 6 ? enter_v6(b, head.len, &found, &in) : ERR_PROTO;
	if (!err)
		err = read_tcp(&in, &found);
	if (!err)
		*out = found;
	return err;
}

/* ---- building */

/* The Internet checksum (RFC 1071) goes on from a sum over an even number of bytes. */
static uint32_t add_sum(uint32_t sum, const uint8_t *b, size_t len)
{
	for (size_t i = 0; i + 1 < len; i += 2)
		sum += load16(b + i);
	return len % 2 ? sum + (uint32_t)(b[len - 1] << 8) : sum;
}

static uint32_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum & 0xffff;
}

static size_t build_ip(const struct packet_answer *a, size_t tcp_len, uint8_t *out)
{
	if (a->from.addr.family == ADDR_V4) {
		memset(out, 0, IP4_HEAD);
		out[0] = 0x45;
		store16(out + 2, (uint32_t)(IP4_HEAD + tcp_len));
		store16(out + 6, 0x4000); /* never to be cut: so needs no identification (RFC 6864) */
		out[8] = 64;
		out[9] = IPPROTO_TCP;
		memcpy(out + 12, a->from.addr.bytes, 4);
		memcpy(out + 16, a->to.addr.bytes, 4);
		store16(out + 10, fold(add_sum(0, out, IP4_HEAD)));
		return IP4_HEAD;
	}
	memset(out, 0, IP6_HEAD);
	out[0] = 0x60;
	store16(out + 4, (uint32_t)tcp_len);
	out[6] = IPPROTO_TCP;
	out[7] = 64;
	memcpy(out + 8, a->from.addr.bytes, 16);
	memcpy(out + 24, a->to.addr.bytes, 16);
	return IP6_HEAD;
}

size_t packet_build(const struct packet_answer *answer, uint8_t out[PACKET_ANSWER_CAP])
{
	const size_t addr_len = answer->from.addr.family == ADDR_V4 ? 4 : 16;
	const size_t head_len = TCP_HEAD + (answer->mss ? 4 : 0);
	const size_t payload_len = answer->payload.len < PACKET_PAYLOAD_CAP ? answer->payload.len : PACKET_PAYLOAD_CAP;
	const size_t tcp_len = head_len + payload_len;
	const size_t ip_len = build_ip(answer, tcp_len, out);
	uint8_t *tcp = out + ip_len;
	store16(tcp, answer->from.port);
	store16(tcp + 2, answer->to.port);
	store32(tcp + 4, answer->seq);
	store32(tcp + 8, answer->ack);
	tcp[12] = (uint8_t)(head_len / 4 << 4);
	tcp[13] = answer->flags;
	store16(tcp + 14, answer->window);
	store32(tcp + 16, 0);
	if (answer->mss) {
		tcp[TCP_HEAD] = 2;
		tcp[TCP_HEAD + 1] = 4;
		store16(tcp + TCP_HEAD + 2, answer->mss);
	}
	if (payload_len)
		memcpy(tcp + head_len, answer->payload.ptr, payload_len);
	uint32_t sum = add_sum(IPPROTO_TCP + (uint32_t)tcp_len, answer->from.addr.bytes, addr_len);
	sum = add_sum(sum, answer->to.addr.bytes, addr_len);
	store16(tcp + 16, fold(add_sum(sum, tcp, tcp_len)));
	return ip_len + tcp_len;
}

bool packet_refusal(const struct packet_tcp *segment, struct packet_answer *out)
{
	if (segment->flags & PACKET_RST)
		return false;
	*out = (struct packet_answer){ .from = segment->to, .to = segment->from, .flags = PACKET_RST };
	if (segment->flags & PACKET_ACK) {
		out->seq = segment->ack;
		return true;
	}
	out->flags |= PACKET_ACK;
	out->ack = segment->seq + segment->payload_bytes + (segment->flags & PACKET_SYN ? 1 : 0) + (segment->flags & PACKET_FIN ? 1 : 0);
	return true;
}
