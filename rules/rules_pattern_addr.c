/* The patterns that are about addresses: networks, dotted wildcards, DST=, and the answers of block lists. */
#include "rules_pattern_parse.h"

static bool all_of(struct span s, const char *set)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] == '\0' || !strchr(set, s.ptr[i]))
			return false;
	return true;
}

/* "10", "192.168", "192.0.2.1" with the octets that lack taken as 0. */
static int parse_short_v4(struct span text, struct addr *out, unsigned *octets_out)
{
	struct addr a = { .family = ADDR_V4 };
	struct span rest = text, part;
	unsigned count = 0;
	while (span_cut(&rest, '.', &part)) {
		uint64_t octet;
		if (count == 4 || part.len > 3 || span_to_u64(part, 255, &octet))
			return ERR_SYNTAX;
		a.bytes[count++] = (uint8_t)octet;
	}
	*out = a;
	*octets_out = count;
	return 0;
}

/* An address and /bits, or without: all bits.  NOT_MINE for what does not look like it. */
static int parse_network(struct parse *p, struct span text, struct cidr *out)
{
	struct addr a;
	struct span base = text, bits_text = SPAN_NONE;
	uint64_t bits;
	unsigned octets = 4;
	bool is_v6 = text.len && text.ptr[0] == '[';
	size_t slash = span_rfind(text, '/');
	if (slash < text.len) {
		base = span_sub(text, 0, slash);
		bits_text = span_sub(text, slash + 1, text.len);
	}
	if (!is_v6 && (base.len == 0 || !all_of(base, "0123456789.")))
		return NOT_MINE;
	if (is_v6) {
		if (base.len < 2 || base.ptr[base.len - 1] != ']')
			return FAIL(p, "'%.*s': expected [IPv6 address] or [IPv6 address]/bits", WORD(p));
		struct span inside = span_sub(base, 1, base.len - 1);
		if (span_find(inside, '*', 0) < inside.len)
			return NOT_MINE;
		if (addr_parse(inside, &a))
			return FAIL(p, "'%.*s' is not an IPv6 address in brackets", WORD(p));
	} else if (parse_short_v4(base, &a, &octets) || (octets < 4 && !bits_text.ptr)) {
		return bits_text.ptr ? FAIL(p, "'%.*s': expected an IPv4 network such as 192.168.0.0/16", WORD(p)) : NOT_MINE;
	}
	bits = addr_bits(&a);
	/* An IPv4-mapped address counts its bits as IPv6 does. */
	unsigned mapped = is_v6 && a.family == ADDR_V4 && span_find(base, ':', 0) < base.len ? 96 : 0;
	if (bits_text.ptr && (span_to_u64(bits_text, addr_bits(&a) + mapped, &bits) || bits < mapped))
		return FAIL(p, "'%.*s': expected a prefix length from %u to %u behind the slash", WORD(p), mapped, addr_bits(&a) + mapped);
	if (bits_text.ptr)
		bits -= mapped;
	return cidr_make(&a, (unsigned)bits, out);
}

int pattern_parse_cidr(struct parse *p, struct pattern *out)
{
	return parse_network(p, p->arg, &out->u.cidr);
}

int pattern_parse_dst(struct parse *p, struct pattern *out)
{
	int err = parse_network(p, p->arg, &out->u.cidr);
	return err == NOT_MINE ? FAIL(p, "'%.*s': expected DST=address, DST=network/bits or DST=[IPv6]/bits", WORD(p)) : err;
}

/* Digits, dots and stars, or an IPv6 text with stars in brackets: compared with addresses, never with names. */
int pattern_parse_addr_glob(struct parse *p, struct pattern *out)
{
	struct span glob = p->arg;
	bool is_v6 = glob.len > 2 && glob.ptr[0] == '[' && glob.ptr[glob.len - 1] == ']';
	if (is_v6)
		glob = span_sub(glob, 1, glob.len - 1);
	if (glob.len == 0 || !all_of(glob, is_v6 ? "0123456789abcdefABCDEF:.*" : "0123456789.*"))
		return NOT_MINE;
	if (!is_v6 && span_find(glob, '*', 0) == glob.len)
		WARN(p, "'%.*s' never matches: expected four octets up to 255, a network (192.168/16) or a wildcard (192.168.*)", WORD(p));
	out->u.text = (struct text_pattern){ .glob = glob };
	return 0;
}

static int parse_answers(struct parse *p, struct span range, struct rbl_pattern *out)
{
	struct addr first, last;
	size_t dash = span_find(range, '-', 0);
	struct span end = dash < range.len ? span_sub(range, dash + 1, range.len) : range;
	if (addr_parse(span_sub(range, 0, dash), &first) || addr_parse(end, &last) || first.family != ADDR_V4 || last.family != ADDR_V4)
		return FAIL(p, "'%.*s': expected =127.0.0.2 or =127.0.0.2-127.0.0.11 behind the zone", WORD(p));
	const struct addr *ends[] = { &first, &last };
	uint32_t values[2] = { 0, 0 };
	for (size_t e = 0; e < 2; e++)
		for (size_t i = 0; i < 4; i++)
			values[e] = values[e] << 8 | ends[e]->bytes[i];
	if (values[0] > values[1] || first.bytes[0] != 127 || last.bytes[0] != 127)
		return FAIL(p, "'%.*s': expected a range that goes up, inside 127.0.0.0/8", WORD(p));
	out->first = values[0];
	out->last = values[1];
	return 0;
}

/* RBL.zone and RHS.zone, with or without =answers. */
int pattern_parse_rbl(struct parse *p, struct pattern *out)
{
	static const char name_bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	struct rbl_pattern *rbl = arena_alloc(p->b->arena, sizeof *rbl);
	if (!rbl)
		return ERR_NOMEM;
	size_t equals = span_find(p->arg, '=', 0);
	rbl->zone = span_sub(p->arg, 0, equals);
	if (rbl->zone.len && rbl->zone.ptr[rbl->zone.len - 1] == '.')
		rbl->zone.len--;
	if (rbl->zone.len == 0 || rbl->zone.len > 253 || !all_of(rbl->zone, name_bytes) || rbl->zone.ptr[0] == '.')
		return FAIL(p, "'%.*s': expected a DNS zone behind the first dot", WORD(p));
	out->u.rbl = rbl;
	return equals < p->arg.len ? parse_answers(p, span_sub(p->arg, equals + 1, p->arg.len), rbl) : 0;
}
