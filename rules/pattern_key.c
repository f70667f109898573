#include "pattern_key.h"

/* ---- hashes */

#define HASH_START 0x243f6a8885a308d3u

static uint64_t hash_step(uint64_t h, char c)
{
	return (h ^ (unsigned char)span_lower(c)) * 0x9e3779b97f4a7c15u;
}

/* The steps leave their entropy in the upper bits; tables want it in all. */
static uint64_t hash_end(uint64_t h, enum key_kind kind)
{
	h += (uint64_t)kind << 56;
	h = (h ^ h >> 32) * 0xd6e8feb86659fd93u;
	return h ^ h >> 32;
}

static uint64_t hash_text(struct span text, enum key_kind kind)
{
	uint64_t h = HASH_START;
	for (size_t i = text.len; i-- > 0;)
		h = hash_step(h, text.ptr[i]);
	return hash_end(h, kind);
}

static uint64_t load_be64(const uint8_t *b)
{
	uint64_t value = 0;
	for (int i = 0; i < 8; i++)
		value = value << 8 | b[i];
	return value;
}

static uint64_t first_bits(uint64_t value, unsigned bits)
{
	return bits == 0 ? 0 : bits >= 64 ? value : value & UINT64_MAX << (64 - bits);
}

/* Of the network of that length in which the address lies, given as two words in host order. */
static uint64_t hash_net(uint8_t family, uint64_t high, uint64_t low, unsigned bits)
{
	uint64_t h = (HASH_START ^ family ^ (uint64_t)bits << 8) * 0x9e3779b97f4a7c15u;
	h = (h ^ first_bits(high, bits)) * 0x9e3779b97f4a7c15u;
	h ^= h >> 29;
	h = (h ^ first_bits(low, bits > 64 ? bits - 64 : 0)) * 0x9e3779b97f4a7c15u;
	return hash_end(h, KEY_NET);
}

uint64_t pattern_key_hash(const struct pattern_key *key)
{
	const uint8_t *b = key->net.addr.bytes;
	if (key->kind == KEY_NET)
		return hash_net(key->net.addr.family, load_be64(b), load_be64(b + 8), key->net.bits);
	return hash_text(key->text, key->kind);
}

/* ---- from a pattern to its key */

static bool text_key(struct pattern_key *out, enum key_kind kind, struct span text)
{
	out->kind = kind;
	out->text = text;
	return text.len <= KEY_TEXT_MAX;
}

/* A wildcard pattern that is a plain text, or stars and then a plain text; the suffix kind follows its exact kind in the enum. */
static bool glob_key(struct pattern_key *out, enum key_kind kind, const struct text_pattern *text)
{
	struct span rest = text->glob;
	if (text->regex)
		return false;
	while (rest.len && rest.ptr[0] == '*')
		rest = span_sub(rest, 1, rest.len);
	if (rest.len == 0 || span_find(rest, '*', 0) < rest.len)
		return false;
	return text_key(out, rest.len < text->glob.len ? (enum key_kind)(kind + 1) : kind, rest);
}

/* `.foo.com` is `*.foo.com`. */
static bool domain_key(struct pattern_key *out, struct span name)
{
	return name.len && text_key(out, name.ptr[0] == '.' ? KEY_NAME_SUFFIX : KEY_NAME_DOMAIN, name);
}

/* `192.168.*` is 192.168.0.0/16.  Octets must stand there as an address is written. */
static bool octets_key(struct pattern_key *out, struct span glob)
{
	struct addr base = { .family = ADDR_V4 };
	struct span rest = glob, part;
	unsigned octets = 0;
	while (span_cut(&rest, '.', &part) && rest.ptr) {
		uint64_t octet;
		if (octets == 3 || span_to_u64(part, 255, &octet) || (part.len > 1 && part.ptr[0] == '0'))
			return false;
		base.bytes[octets++] = (uint8_t)octet;
	}
	out->kind = KEY_NET;
	return octets && span_eq(part, SPAN_LIT("*")) && cidr_make(&base, octets * 8, &out->net) == 0;
}

static bool is_any(const struct pattern_side *side)
{
	if (side->kind != SIDE_TEXT)
		return side->kind == SIDE_ALL;
	return !side->text.regex && side->text.glob.len && span_eq(side->text.glob, SPAN_LIT("*"));
}

static bool is_plain(const struct pattern_side *side)
{
	return side->kind == SIDE_TEXT && !side->text.regex && span_find(side->text.glob, '*', 0) == side->text.glob.len;
}

static bool mailbox_key(struct pattern_key *out, const struct pattern *pattern)
{
	const struct pattern_side *left = &pattern->u.pair->left, *right = &pattern->u.pair->right;
	if (is_plain(left) && is_plain(right) && pattern->word.len == left->text.glob.len + right->text.glob.len + 1)
		return text_key(out, KEY_WHOLE, pattern->word);
	out->says_all = is_any(left);
	if (right->kind == SIDE_TEXT && glob_key(out, KEY_DOMAIN, &right->text))
		return true;
	out->says_all = is_any(right);
	return is_plain(left) && text_key(out, KEY_LOCAL, left->text.glob);
}

bool pattern_key_of(const struct pattern *pattern, struct pattern_key *out)
{
	const struct pattern_side *host;
	*out = (struct pattern_key){ .says_all = true };
	switch (pattern->kind) {
	case PATTERN_CIDR:
		out->kind = KEY_NET;
		out->net = pattern->u.cidr;
		return true;
	case PATTERN_ADDR_GLOB:
		return octets_key(out, pattern->u.text.glob);
	case PATTERN_HOST_DOMAIN:
		return domain_key(out, pattern->u.text.glob);
	case PATTERN_HOST_GLOB:
		return glob_key(out, KEY_NAME, &pattern->u.text);
	case PATTERN_IDENT:
		host = &pattern->u.pair->right;
		/* A host pattern holds no further user@, so that this is one step down.  `ALL@host` asks for no user. */
		if (host->kind != SIDE_PATTERN || host->pattern->kind == PATTERN_IDENT || !pattern_key_of(host->pattern, out))
			return false;
		out->says_all = out->says_all && pattern->u.pair->left.kind == SIDE_ALL;
		return true;
	case PATTERN_NULL_SENDER:
		return text_key(out, KEY_WHOLE, SPAN_NONE);
	case PATTERN_MAILBOX:
		return mailbox_key(out, pattern);
	case PATTERN_ADDRESS_GLOB:
		return glob_key(out, KEY_WHOLE, &pattern->u.text);
	default:
		return false;
	}
}

/* ---- from a subject to its probes */

static bool has_kind(const struct key_filter *filter, enum key_kind kind)
{
	return filter->kinds & 1u << kind;
}

static bool has_length(const struct key_filter *filter, enum key_kind kind, bool dot, size_t len)
{
	return filter->lengths[kind][dot][len / 64] >> len % 64 & 1;
}

void key_filter_add(struct key_filter *filter, const struct pattern_key *key)
{
	filter->kinds |= 1u << key->kind;
	if (key->kind == KEY_NET) {
		filter->nets[key->net.addr.family == ADDR_V6][key->net.bits / 64] |= UINT64_C(1) << key->net.bits % 64;
	} else {
		bool dot = key->text.len && key->text.ptr[0] == '.';
		filter->lengths[key->kind][dot][key->text.len / 64] |= UINT64_C(1) << key->text.len % 64;
	}
}

size_t key_probe_client(const struct key_filter *filter, const struct addr *client, struct key_probe out[KEY_PROBES_MAX])
{
	size_t n = 0;
	if (!has_kind(filter, KEY_NET) || client->family == ADDR_NONE)
		return 0;
	uint64_t high = load_be64(client->bytes), low = load_be64(client->bytes + 8);
	const uint64_t *lengths = filter->nets[client->family == ADDR_V6];
	for (unsigned word = 0; word < 3; word++)
		for (uint64_t left = lengths[word]; left; left &= left - 1) {
			unsigned bits = word * 64 + (unsigned)__builtin_ctzll(left);
			out[n++] = (struct key_probe){ .hash = hash_net(client->family, high, low, bits), .kind = KEY_NET };
		}
	return n;
}

/* Every suffix of text, from the shortest on, as the suffix kind and, where a label begins, as the domain kind (KEY_KIND_COUNT: there is
 * none); text itself as the exact kind. */
static size_t probe_text(const struct key_filter *filter, enum key_kind exact, enum key_kind domain, struct span text, struct key_probe *out)
{
	enum key_kind suffix = (enum key_kind)(exact + 1);
	bool has_exact = has_kind(filter, exact), has_suffix = has_kind(filter, suffix);
	bool has_domain = domain != KEY_KIND_COUNT && has_kind(filter, domain);
	size_t n = 0, len = 0, longest = text.len < KEY_TEXT_MAX ? text.len : KEY_TEXT_MAX;
	uint64_t h = HASH_START;
	if (!has_exact && !has_suffix && !has_domain)
		return 0;
	while (len < longest) {
		char c = text.ptr[text.len - ++len];
		h = hash_step(h, c);
		if (has_suffix && has_length(filter, suffix, c == '.', len))
			out[n++] = (struct key_probe){ hash_end(h, suffix), suffix, span_sub(text, text.len - len, text.len) };
		bool begins_label = c != '.' && (len == text.len || text.ptr[text.len - len - 1] == '.');
		if (has_domain && begins_label && has_length(filter, domain, false, len))
			out[n++] = (struct key_probe){ hash_end(h, domain), domain, span_sub(text, text.len - len, text.len) };
	}
	bool dot = len && text.ptr[0] == '.';
	if (has_exact && len == text.len && has_length(filter, exact, dot, len))
		out[n++] = (struct key_probe){ hash_end(h, exact), exact, text };
	return n;
}

size_t key_probe_name(const struct key_filter *filter, struct span name, struct key_probe out[KEY_PROBES_MAX])
{
	return probe_text(filter, KEY_NAME, KEY_NAME_DOMAIN, name, out);
}

size_t key_probe_address(const struct key_filter *filter, const struct match *m, struct key_probe out[KEY_PROBES_MAX])
{
	size_t n = probe_text(filter, KEY_WHOLE, KEY_KIND_COUNT, m->whole, out);
	if (!m->has_at)
		return n;
	n += probe_text(filter, KEY_DOMAIN, KEY_KIND_COUNT, m->domain, out + n);
	bool dot = m->local.len && m->local.ptr[0] == '.';
	if (has_kind(filter, KEY_LOCAL) && m->local.len <= KEY_TEXT_MAX && has_length(filter, KEY_LOCAL, dot, m->local.len))
		out[n++] = (struct key_probe){ hash_text(m->local, KEY_LOCAL), KEY_LOCAL, m->local };
	return n;
}
