#include "rules_pattern.h"

#include <stdlib.h>

#include "rules_lex.h"
#include "rules_match_table.h"
#include "rules_pattern_file.h"

/* A parse function answers this for a word that is not of its form: the next line of the table is asked. */
enum { NOT_MINE = 1 };

/* What a parse function works on. */
struct parse {
	struct pattern_builder *b;
	enum pattern_where where;
	const struct rules_place *place;
	struct span word;
	struct span arg; /* the word without the prefix by which it was recognised */
};

#define LISTS (WHERE_SOURCE | WHERE_FROM | WHERE_TO)
#define ADDRESSES (WHERE_FROM | WHERE_TO)
#define HOSTS (WHERE_SOURCE | WHERE_IDENT_HOST | WHERE_NS)
#define FACT_BIT(kind) (1u << (kind))

struct pattern_def {
	enum pattern_kind kind;
	const char *word;   /* recognised by the whole word, */
	const char *prefix; /* or by how it begins, */
	int (*parse)(struct parse *p, struct pattern *out); /* and by its form: NOT_MINE, 0 or an error */
	unsigned where;
	uint32_t facts;
	pattern_match_fn match;
};

static int parse_file(struct parse *p, struct pattern *out);
static int parse_text(struct parse *p, struct pattern *out);
static int parse_dst(struct parse *p, struct pattern *out);
static int parse_rbl(struct parse *p, struct pattern *out);
static int parse_ns(struct parse *p, struct pattern *out);
static int parse_pair(struct parse *p, struct pattern *out);
static int parse_regex(struct parse *p, struct pattern *out);
static int parse_cidr(struct parse *p, struct pattern *out);
static int parse_addr_glob(struct parse *p, struct pattern *out);
static int parse_glob(struct parse *p, struct pattern *out);

#define NAME FACT_BIT(FACT_NAME)

static const struct pattern_def patterns[] = {
	{ PATTERN_ALL, "ALL", NULL, NULL, LISTS | WHERE_IDENT_HOST, 0, match_all },
	{ PATTERN_KNOWN, "KNOWN", NULL, NULL, HOSTS, NAME, match_known },
	{ PATTERN_UNKNOWN, "UNKNOWN", NULL, NULL, HOSTS, NAME, match_known },
	{ PATTERN_TRUSTED, "TRUSTED", NULL, NULL, WHERE_SOURCE, 0, match_trusted },
	{ PATTERN_UNTRUSTED, "UNTRUSTED", NULL, NULL, WHERE_SOURCE, 0, match_trusted },
	{ PATTERN_NULL_SENDER, "<>", NULL, NULL, ADDRESSES, 0, match_null_sender },
	{ PATTERN_FILE, NULL, "FILE=", parse_file, LISTS, 0, match_file },
	{ PATTERN_IFACE, NULL, "IF=", parse_text, WHERE_SOURCE, 0, match_iface },
	{ PATTERN_DST, NULL, "DST=", parse_dst, WHERE_SOURCE, 0, match_dst },
	{ PATTERN_HELO, NULL, "HELO=", parse_text, WHERE_SOURCE, 0, match_helo },
	{ PATTERN_RBL, NULL, "RBL.", parse_rbl, WHERE_SOURCE | WHERE_NS, FACT_BIT(FACT_RBL), match_rbl },
	{ PATTERN_RHS, NULL, "RHS.", parse_rbl, WHERE_FROM, FACT_BIT(FACT_RHS), match_rhs },
	{ PATTERN_NS_CLIENT, NULL, "NS=", parse_ns, WHERE_SOURCE, FACT_BIT(FACT_NS_CLIENT), match_ns },
	{ PATTERN_NS_DOMAIN, NULL, "NS=", parse_ns, ADDRESSES, FACT_BIT(FACT_NS_DOMAIN), match_ns },
	{ PATTERN_IDENT, NULL, NULL, parse_pair, WHERE_SOURCE, 0, match_ident },
	{ PATTERN_MAILBOX, NULL, NULL, parse_pair, ADDRESSES, 0, match_mailbox },
	{ PATTERN_HOST_REGEX, NULL, NULL, parse_regex, HOSTS, NAME, match_client_name },
	{ PATTERN_ADDRESS_REGEX, NULL, NULL, parse_regex, ADDRESSES, 0, match_address },
	{ PATTERN_CIDR, NULL, NULL, parse_cidr, HOSTS, 0, match_client_addr },
	{ PATTERN_ADDR_GLOB, NULL, NULL, parse_addr_glob, HOSTS, 0, match_client_addr },
	{ PATTERN_HOST_GLOB, NULL, NULL, parse_glob, HOSTS, NAME, match_client_name },
	{ PATTERN_ADDRESS_GLOB, NULL, NULL, parse_glob, ADDRESSES, 0, match_address },
};

#define PATTERN_COUNT (sizeof patterns / sizeof patterns[0])

pattern_match_fn pattern_matcher(enum pattern_kind kind)
{
	/* The table has one line a kind, in the order of the enum; test_rules_pattern.c keeps it so. */
	return patterns[kind].match;
}

#define FAIL(p, ...) (rules_diag_add((p)->b->diags, RULES_ERROR, (p)->place, __VA_ARGS__), ERR_SYNTAX)
#define WARN(p, ...) rules_diag_add((p)->b->diags, RULES_WARNING, (p)->place, __VA_ARGS__)
#define WORD(p) SPAN_FMT(span_sub((p)->word, 0, 120))

static bool starts(struct span s, const char *prefix)
{
	size_t len = strlen(prefix);
	return s.len >= len && memcmp(s.ptr, prefix, len) == 0;
}

static bool all_of(struct span s, const char *set)
{
	for (size_t i = 0; i < s.len; i++)
		if (s.ptr[i] == '\0' || !strchr(set, s.ptr[i]))
			return false;
	return true;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = span_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The inside of /.../ as POSIX syntax: \/ is a slash and \xHH a byte, neither of which POSIX knows. */
static struct span regex_text(struct parse *p, struct span s)
{
	char *text = arena_alloc(p->b->arena, 2 * s.len + 1);
	size_t len = 0;
	if (!text)
		return SPAN_NONE;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i], next = i + 1 < s.len ? s.ptr[i + 1] : '\0';
		int high = i + 3 < s.len && next == 'x' ? hex_value(s.ptr[i + 2]) : -1;
		int low = high >= 0 ? hex_value(s.ptr[i + 3]) : -1;
		if (c == '\\' && next == '/') {
			text[len++] = '/';
			i++;
		} else if (c == '\\' && low >= 0) {
			char byte = (char)(high * 16 + low);
			if (strchr("\\^$.[]|()*+?{}", byte))
				text[len++] = '\\';
			text[len++] = byte;
			i += 3;
		} else if (c == '\\' && next) {
			if (span_lower(next) >= 'a' && span_lower(next) <= 'z')
				WARN(p, "\\%c in a regex is the letter itself: POSIX extended syntax knows no such class", next);
			text[len++] = c;
			text[len++] = next;
			i++;
		} else {
			text[len++] = c;
		}
	}
	return (struct span){ text, len };
}

static int keep_regex(struct pattern_regexes *all, struct regex *regex)
{
	if (all->count == all->room) {
		size_t room = all->room ? all->room * 2 : 16;
		struct regex **items = realloc(all->items, room * sizeof *items);
		if (!items)
			return ERR_NOMEM;
		all->items = items;
		all->room = room;
	}
	all->items[all->count++] = regex;
	return 0;
}

/* text is the whole of /.../ . */
static int compile_regex(struct parse *p, struct span text, struct regex **out)
{
	struct reason why;
	struct regex *regex = NULL;
	if (lex_regex_end(text, 0) != text.len - 1 || text.len < 2)
		return FAIL(p, "regex '%.*s' without its closing slash: expected /regex/", WORD(p));
	struct span inside = regex_text(p, span_sub(text, 1, text.len - 1));
	if (!inside.ptr)
		return ERR_NOMEM;
	int err = regex_compile(inside, REGEX_EXTENDED, &regex, &why);
	if (err == ERR_SYNTAX)
		return FAIL(p, "regex '%.*s': %s: expected POSIX extended syntax", WORD(p), why.text);
	if (!err && keep_regex(p->b->regexes, regex)) {
		regex_destroy(&regex);
		return ERR_NOMEM;
	}
	if (!err)
		*out = regex;
	return err;
}

/* A wildcard pattern or /regex/. */
static int parse_text_pattern(struct parse *p, struct span text, struct text_pattern *out)
{
	*out = (struct text_pattern){ .glob = text };
	return text.len && text.ptr[0] == '/' ? compile_regex(p, text, &out->regex) : 0;
}

static int parse_text(struct parse *p, struct pattern *out)
{
	if (p->arg.len == 0)
		return FAIL(p, "'%.*s' without a value", WORD(p));
	return parse_text_pattern(p, p->arg, &out->u.text);
}

static int parse_regex(struct parse *p, struct pattern *out)
{
	return p->arg.len && p->arg.ptr[0] == '/' ? parse_text_pattern(p, p->arg, &out->u.text) : NOT_MINE;
}

static int parse_glob(struct parse *p, struct pattern *out)
{
	out->u.text = (struct text_pattern){ .glob = p->arg };
	return 0;
}

static int parse_file(struct parse *p, struct pattern *out)
{
	if (p->b->in_file)
		return FAIL(p, "'%.*s': a list can't name another list", WORD(p));
	if (p->arg.len == 0)
		return FAIL(p, "FILE= without a path");
	int err = pattern_file_find(p->b, p->where, p->arg, p->place, &out->u.set);
	if (!err)
		out->facts = out->u.set->facts;
	return err;
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

static int parse_cidr(struct parse *p, struct pattern *out)
{
	return parse_network(p, p->arg, &out->u.cidr);
}

static int parse_dst(struct parse *p, struct pattern *out)
{
	int err = parse_network(p, p->arg, &out->u.cidr);
	return err == NOT_MINE ? FAIL(p, "'%.*s': expected DST=address, DST=network/bits or DST=[IPv6]/bits", WORD(p)) : err;
}

/* Digits, dots and stars, or an IPv6 text with stars in brackets: compared with addresses, never with names. */
static int parse_addr_glob(struct parse *p, struct pattern *out)
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
static int parse_rbl(struct parse *p, struct pattern *out)
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

/* A pattern inside another. */
static int parse_inner(struct parse *p, enum pattern_where where, struct span text, const struct pattern **inner_out)
{
	struct pattern *inner = arena_alloc(p->b->arena, sizeof *inner);
	if (!inner)
		return ERR_NOMEM;
	int err = pattern_parse(p->b, where, text, p->place, inner);
	*inner_out = inner;
	return err;
}

static int parse_ns(struct parse *p, struct pattern *out)
{
	if (p->arg.len == 0)
		return FAIL(p, "NS= without a pattern");
	int err = parse_inner(p, WHERE_NS, p->arg, &out->u.inner);
	/* Names and addresses come with the NS fact; only a block list is asked beyond it. */
	if (!err)
		out->facts |= out->u.inner->facts & FACT_BIT(FACT_RBL);
	return err;
}

/* The @ that parts the two sides: the last one outside a regex; s.len when there is none. */
static size_t find_at(struct span s)
{
	size_t at = s.len;
	for (size_t i = 0; i < s.len; i++) {
		if (s.ptr[i] == '@')
			at = i;
		if (s.ptr[i] == '/' && (i == 0 || s.ptr[i - 1] == '@' || s.ptr[i - 1] == '='))
			i = lex_regex_end(s, i);
	}
	return at;
}

static int parse_left(struct parse *p, struct span text, struct pattern_side *side, uint32_t *facts)
{
	bool is_source = p->where == WHERE_SOURCE;
	side->kind = SIDE_TEXT;
	if (span_eq(text, SPAN_LIT("ALL"))) {
		side->kind = SIDE_ALL;
		return 0;
	}
	if (is_source && span_eq(text, SPAN_LIT("KNOWN")))
		side->kind = SIDE_KNOWN;
	else if (is_source && span_eq(text, SPAN_LIT("UNKNOWN")))
		side->kind = SIDE_UNKNOWN;
	else if (p->where == WHERE_FROM && span_eq(text, SPAN_LIT("USER")))
		side->kind = SIDE_USER;
	if (is_source || side->kind == SIDE_USER)
		*facts |= FACT_BIT(FACT_IDENT);
	return side->kind == SIDE_TEXT ? parse_text_pattern(p, text, &side->text) : 0;
}

static int parse_right(struct parse *p, struct span text, struct pattern_side *side, uint32_t *facts)
{
	bool is_source = p->where == WHERE_SOURCE;
	side->kind = SIDE_TEXT;
	if (span_eq(text, SPAN_LIT("ALL"))) {
		side->kind = SIDE_ALL;
		return 0;
	}
	if (!is_source && !starts(text, "NS="))
		return parse_text_pattern(p, text, &side->text);
	side->kind = SIDE_PATTERN;
	int err = parse_inner(p, is_source ? WHERE_IDENT_HOST : p->where, text, &side->pattern);
	if (!err)
		*facts |= side->pattern->facts;
	return err;
}

/* user@host in a source list, left@right in the others. */
static int parse_pair(struct parse *p, struct pattern *out)
{
	size_t at = find_at(p->arg);
	if (at == p->arg.len)
		return NOT_MINE;
	struct span left = span_sub(p->arg, 0, at), right = span_sub(p->arg, at + 1, p->arg.len);
	if (left.len == 0 || right.len == 0)
		return FAIL(p, "'%.*s': expected a pattern on both sides of the @ (ALL for any)", WORD(p));
	struct pattern_pair *pair = arena_alloc(p->b->arena, sizeof *pair);
	if (!pair)
		return ERR_NOMEM;
	out->u.pair = pair;
	int err = parse_left(p, left, &pair->left, &out->facts);
	return err ? err : parse_right(p, right, &pair->right, &out->facts);
}

/* A special word where it is none: it loads, as it always did, but hardly does what was meant. */
static void warn_of_special(const struct parse *p, const struct pattern *found)
{
	if (found->kind != PATTERN_HOST_GLOB && found->kind != PATTERN_ADDRESS_GLOB)
		return;
	for (size_t i = 0; i < PATTERN_COUNT; i++) {
		const struct pattern_def *def = &patterns[i];
		if ((def->word && span_eq_nocase(p->word, span_of(def->word))) || (def->prefix && starts(p->word, def->prefix))) {
			WARN(p, "'%.*s' has no special meaning here%s", WORD(p), p->where & def->where ? ": special words are upper case" : "");
			return;
		}
	}
}

int pattern_parse(struct pattern_builder *b, enum pattern_where where, struct span word, const struct rules_place *place,
		  struct pattern *out)
{
	struct parse p = { .b = b, .where = where, .place = place, .word = word };
	for (size_t i = 0; i < PATTERN_COUNT; i++) {
		const struct pattern_def *def = &patterns[i];
		if (!(def->where & (unsigned)where) || (def->word && !span_eq(word, span_of(def->word))) ||
		    (def->prefix && !starts(word, def->prefix)))
			continue;
		p.arg = def->prefix ? span_sub(word, strlen(def->prefix), word.len) : word;
		*out = (struct pattern){ .kind = def->kind, .facts = def->facts, .word = word };
		int err = def->parse ? def->parse(&p, out) : 0;
		if (err != NOT_MINE) {
			if (!err)
				warn_of_special(&p, out);
			return err;
		}
	}
	return FAIL(&p, "'%.*s': no pattern has this form here", WORD(&p));
}

void pattern_regexes_free(struct pattern_regexes *regexes)
{
	for (size_t i = 0; i < regexes->count; i++)
		regex_destroy(&regexes->items[i]);
	free(regexes->items);
	*regexes = (struct pattern_regexes){ 0 };
}
