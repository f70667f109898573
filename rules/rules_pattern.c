#include "rules_pattern.h"

#include <stdlib.h>

#include "rules_lex.h"
#include "rules_match_table.h"
#include "rules_pattern_file.h"
#include "rules_pattern_parse.h"

#define LISTS (WHERE_SOURCE | WHERE_FROM | WHERE_TO)
#define ADDRESSES (WHERE_FROM | WHERE_TO)
#define HOSTS (WHERE_SOURCE | WHERE_IDENT_HOST | WHERE_NS)
#define FACT_BIT(kind) (1u << (kind))

/* One line a kind; asked in the order of the enum. */
struct pattern_def {
	const char *word;   /* recognised by the whole word, */
	const char *prefix; /* or by how it begins, */
	int (*parse)(struct parse *p, struct pattern *out); /* and by its form: NOT_MINE, 0 or an error */
	unsigned where;
	uint32_t facts;
	pattern_match_fn match;
};

static int parse_file(struct parse *p, struct pattern *out);
static int parse_text(struct parse *p, struct pattern *out);
static int parse_mark(struct parse *p, struct pattern *out);
static int parse_ns(struct parse *p, struct pattern *out);
static int parse_pair(struct parse *p, struct pattern *out);
static int parse_regex(struct parse *p, struct pattern *out);
static int parse_domain(struct parse *p, struct pattern *out);
static int parse_glob(struct parse *p, struct pattern *out);

#define NAME FACT_BIT(FACT_NAME)

static const struct pattern_def patterns[] = {
	[PATTERN_ALL] = { "ALL", NULL, NULL, LISTS | WHERE_IDENT_HOST, 0, match_all },
	[PATTERN_KNOWN] = { "KNOWN", NULL, NULL, HOSTS, NAME, match_known },
	[PATTERN_UNKNOWN] = { "UNKNOWN", NULL, NULL, HOSTS, NAME, match_known },
	[PATTERN_TRUSTED] = { "TRUSTED", NULL, NULL, WHERE_SOURCE, 0, match_trusted },
	[PATTERN_UNTRUSTED] = { "UNTRUSTED", NULL, NULL, WHERE_SOURCE, 0, match_trusted },
	[PATTERN_NULL_SENDER] = { "<>", NULL, NULL, ADDRESSES, 0, match_null_sender },
	[PATTERN_FILE] = { NULL, "FILE=", parse_file, LISTS, 0, match_file },
	[PATTERN_IFACE] = { NULL, "IF=", parse_text, WHERE_SOURCE, 0, match_iface },
	[PATTERN_DST] = { NULL, "DST=", pattern_parse_dst, WHERE_SOURCE, 0, match_dst },
	[PATTERN_HELO] = { NULL, "HELO=", parse_text, WHERE_SOURCE, 0, match_helo },
	[PATTERN_MARK] = { NULL, "MARK=", parse_mark, WHERE_SOURCE, 0, match_mark },
	[PATTERN_RBL] = { NULL, "RBL.", pattern_parse_rbl, WHERE_SOURCE | WHERE_NS, FACT_BIT(FACT_RBL), match_rbl },
	[PATTERN_RHS] = { NULL, "RHS.", pattern_parse_rbl, WHERE_FROM, FACT_BIT(FACT_RHS), match_rhs },
	[PATTERN_NS_CLIENT] = { NULL, "NS=", parse_ns, WHERE_SOURCE, FACT_BIT(FACT_NS_CLIENT), match_ns },
	[PATTERN_NS_DOMAIN] = { NULL, "NS=", parse_ns, ADDRESSES, FACT_BIT(FACT_NS_DOMAIN), match_ns },
	[PATTERN_IDENT] = { NULL, NULL, parse_pair, WHERE_SOURCE, 0, match_ident },
	[PATTERN_MAILBOX] = { NULL, NULL, parse_pair, ADDRESSES, 0, match_mailbox },
	[PATTERN_HOST_REGEX] = { NULL, NULL, parse_regex, HOSTS, NAME, match_client_name },
	[PATTERN_ADDRESS_REGEX] = { NULL, NULL, parse_regex, ADDRESSES, 0, match_address },
	[PATTERN_CIDR] = { NULL, NULL, pattern_parse_cidr, HOSTS, 0, match_client_addr },
	[PATTERN_ADDR_GLOB] = { NULL, NULL, pattern_parse_addr_glob, HOSTS, 0, match_client_addr },
	[PATTERN_HOST_DOMAIN] = { NULL, NULL, parse_domain, WHERE_SOURCE, NAME, match_client_domain },
	[PATTERN_HOST_GLOB] = { NULL, NULL, parse_glob, HOSTS, NAME, match_client_name },
	[PATTERN_ADDRESS_GLOB] = { NULL, NULL, parse_glob, ADDRESSES, 0, match_address },
};

#define PATTERN_COUNT (sizeof patterns / sizeof patterns[0])

pattern_match_fn pattern_matcher(enum pattern_kind kind)
{
	return patterns[kind].match;
}

static bool starts(struct span s, const char *prefix)
{
	size_t len = strlen(prefix);
	return s.len >= len && memcmp(s.ptr, prefix, len) == 0;
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
			if (byte && strchr("\\^$.[]|()*+?{}", byte))
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

static int parse_mark(struct parse *p, struct pattern *out)
{
	struct reason why;
	int err = mark_value_parse(p->arg, &out->u.mark, &why);
	return err ? FAIL(p, "MARK=%s", why.text) : 0;
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

/* Loads like any other word, but tells who would wait in vain: "10.0.0.1-20" or a comment behind an address. */
static void warn_of_no_name(const struct parse *p, struct span name)
{
	static const char name_bytes[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
	struct span last = span_sub(name, span_rfind(name, '.') + 1, name.len);
	size_t odd = 0, digits = 0;
	while (odd < name.len && name.ptr[odd] && strchr(name_bytes, name.ptr[odd]))
		odd++;
	while (digits < last.len && last.ptr[digits] && strchr("0123456789-", last.ptr[digits]))
		digits++;
	if (odd < name.len)
		WARN(p, "'%.*s' never matches: no host name has a '%c'", WORD(p), name.ptr[odd] > ' ' && name.ptr[odd] < 0x7f ? name.ptr[odd] : ' ');
	else if (last.len && digits == last.len)
		WARN(p, "'%.*s' is compared as a host name, and none ends so: was an address meant?", WORD(p));
}

/* A line of a source list: a domain, as in the LocalNames file of sendmail's rule sets.  In the rule file itself it is one host. */
static int parse_domain(struct parse *p, struct pattern *out)
{
	struct span name = p->arg;
	if (!p->b->in_file || span_find(name, '*', 0) < name.len)
		return NOT_MINE;
	if (name.len > 1 && name.ptr[name.len - 1] == '.')
		name.len--;
	warn_of_no_name(p, name);
	out->u.text = (struct text_pattern){ .glob = name };
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

/* "foo.com" for senders or recipients: a mail address has an @ (postmaster and the null sender aside, which hold no dot). */
static void warn_of_no_address(const struct parse *p, const struct pattern *found)
{
	struct span w = p->word;
	size_t first_letter = 0;
	while (first_letter < w.len && w.ptr[first_letter] && strchr("0123456789./", w.ptr[first_letter]))
		first_letter++;
	/* Without letters it is an IP address, of which rules_lint.c speaks. */
	if (found->kind == PATTERN_ADDRESS_GLOB && span_find(w, '*', 0) == w.len && span_find(w, '.', 0) < w.len && first_letter < w.len)
		WARN(p, "'%.*s' never matches: it is compared with the whole mail address, which has an @ (*@%.*s for everybody there)", WORD(p), WORD(p));
}

/* A special word where it is none: it loads, as it always did, but hardly does what was meant. */
static void warn_of_special(const struct parse *p, const struct pattern *found)
{
	if (found->kind != PATTERN_HOST_DOMAIN && found->kind != PATTERN_HOST_GLOB && found->kind != PATTERN_ADDRESS_GLOB)
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
		*out = (struct pattern){ .kind = (enum pattern_kind)i, .facts = def->facts, .word = word };
		int err = def->parse ? def->parse(&p, out) : 0;
		if (err != NOT_MINE) {
			if (!err) {
				warn_of_special(&p, out);
				warn_of_no_address(&p, out);
			}
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
