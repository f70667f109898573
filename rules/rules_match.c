#include <stdio.h>

#include "glob.h"
#include "list_index.h"
#include "rules_match_table.h"
#include "rules_pattern.h"

static struct span without_brackets(struct span address)
{
	address = span_trim(address);
	if (address.len >= 2 && address.ptr[0] == '<' && address.ptr[address.len - 1] == '>')
		address = span_sub(address, 1, address.len - 1);
	return address;
}

void match_begin(struct match *m, struct span address)
{
	m->whole = without_brackets(address);
	size_t at = span_rfind(m->whole, '@');
	m->has_at = at < m->whole.len;
	m->local = span_sub(m->whole, 0, at);
	m->domain = span_sub(m->whole, at + 1, m->whole.len);
	m->unknown = NULL;
	m->why[0] = '\0';
}

/* Always unknown, and remembers the first one. */
static enum tri unknown_because(struct match *m, const struct pattern *pattern, const struct fact_key *key, struct span why)
{
	char label[FACT_LABEL_CAP] = "";
	if (m->unknown)
		return TRI_UNKNOWN;
	m->unknown = pattern;
	if (key)
		(void)facts_label(key, label);
	(void)snprintf(m->why, sizeof m->why, "%.120s%s%.*s", label, key ? ": " : "", SPAN_FMT(span_sub(why, 0, 120)));
	return TRI_UNKNOWN;
}

/* True: *fact_out is settled as present or absent.  Pending or unknown: there is none. */
static enum tri need_fact(struct match *m, const struct pattern *pattern, const struct fact_key *key, const struct fact **fact_out)
{
	const struct fact *f = facts_find(m->facts, key);
	if (!f && m->collect) {
		f = facts_want(m->facts, key);
		if (!f)
			return unknown_because(m, pattern, key, SPAN_LIT("too many facts"));
	}
	if (!f || f->state == FACT_NOT_ASKED || f->state == FACT_PENDING)
		return TRI_PENDING;
	if (f->state == FACT_FAILED)
		return unknown_because(m, pattern, key, f->why);
	*fact_out = f;
	return TRI_TRUE;
}

static enum tri match_text(struct match *m, const struct pattern *pattern, const struct text_pattern *text, struct span subject)
{
	if (!text->regex)
		return tri_of(glob_match(text->glob, subject));
	enum tri result = regex_match(text->regex, subject);
	return result == TRI_UNKNOWN ? unknown_because(m, pattern, NULL, SPAN_LIT("regex needs too many steps")) : result;
}

enum tri match_all(const struct pattern *pattern, struct match *m)
{
	(void)pattern, (void)m;
	return TRI_TRUE;
}

enum tri match_known(const struct pattern *pattern, struct match *m)
{
	const struct fact *name;
	enum tri known = need_fact(m, pattern, &(struct fact_key){ .kind = FACT_NAME }, &name);
	return known == TRI_TRUE ? tri_of((name->state == FACT_PRESENT) == (pattern->kind == PATTERN_KNOWN)) : known;
}

enum tri match_trusted(const struct pattern *pattern, struct match *m)
{
	return tri_of(m->facts->client.trusted == (pattern->kind == PATTERN_TRUSTED));
}

enum tri match_null_sender(const struct pattern *pattern, struct match *m)
{
	(void)pattern;
	return tri_of(m->whole.len == 0);
}

enum tri match_file(const struct pattern *pattern, struct match *m)
{
	return pattern_set_match(pattern->u.set, m);
}

enum tri match_iface(const struct pattern *pattern, struct match *m)
{
	return match_text(m, pattern, &pattern->u.text, m->facts->client.iface);
}

enum tri match_dst(const struct pattern *pattern, struct match *m)
{
	if (m->facts->client.dst.family == ADDR_NONE)
		return unknown_because(m, pattern, NULL, SPAN_LIT("original destination not known"));
	return tri_of(cidr_contains(&pattern->u.cidr, &m->facts->client.dst));
}

enum tri match_helo(const struct pattern *pattern, struct match *m)
{
	if (m->facts->client.is_before_helo)
		return unknown_because(m, pattern, NULL, SPAN_LIT("the client has not said HELO yet"));
	return match_text(m, pattern, &pattern->u.text, m->facts->client.helo);
}

enum tri match_mark(const struct pattern *pattern, struct match *m)
{
	return tri_of(mark_value_matches(&pattern->u.mark, m->facts->client.mark));
}

static enum tri match_one_addr(const struct pattern *pattern, const struct addr *addr)
{
	char text[ADDR_TEXT_CAP];
	if (pattern->kind == PATTERN_CIDR)
		return tri_of(cidr_contains(&pattern->u.cidr, addr));
	return tri_of(glob_match(pattern->u.text.glob, span_of(addr_format(addr, text))));
}

enum tri match_client_addr(const struct pattern *pattern, struct match *m)
{
	return match_one_addr(pattern, &m->facts->client.addr);
}

/* The client's name.  True: it is settled, *name_out is empty when there is none. */
static enum tri need_name(struct match *m, const struct pattern *pattern, struct span *name_out)
{
	const struct fact *name;
	enum tri known = need_fact(m, pattern, &(struct fact_key){ .kind = FACT_NAME }, &name);
	if (known == TRI_TRUE)
		*name_out = name->state == FACT_PRESENT ? name->value.text : SPAN_NONE;
	return known;
}

enum tri match_client_domain(const struct pattern *pattern, struct match *m)
{
	struct span name, domain = pattern->u.text.glob;
	enum tri known = need_name(m, pattern, &name);
	if (known != TRI_TRUE || name.len < domain.len)
		return known == TRI_TRUE ? TRI_FALSE : known;
	size_t front = name.len - domain.len;
	bool is_at_label = front == 0 || domain.ptr[0] == '.' || name.ptr[front - 1] == '.';
	return tri_of(is_at_label && span_eq_nocase(span_sub(name, front, name.len), domain));
}

enum tri match_client_name(const struct pattern *pattern, struct match *m)
{
	struct span name;
	enum tri known = need_name(m, pattern, &name);
	if (known != TRI_TRUE)
		return known;
	return name.len ? match_text(m, pattern, &pattern->u.text, name) : TRI_FALSE;
}

enum tri match_address(const struct pattern *pattern, struct match *m)
{
	return match_text(m, pattern, &pattern->u.text, m->whole);
}

/* What the answers of a list say.  Those outside 127/8 and in 127.255.255/24 are errors of the list (RFC 5782 section 2.1 knows only
 * 127/8; lists use the last network to say "you may not ask"): they never match, and leave the listing unknown. */
static enum tri judge_answers(struct match *m, const struct pattern *pattern, const struct rbl_pattern *rbl, const struct fact *f)
{
	enum tri result = TRI_FALSE;
	for (uint32_t i = 0; f->state == FACT_PRESENT && i < f->value.addr_count; i++) {
		const uint8_t *b = f->value.addrs[i].bytes;
		uint32_t answer = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
		bool is_error = f->value.addrs[i].family != ADDR_V4 || b[0] != 127 || (b[1] == 255 && b[2] == 255);
		if (is_error)
			result = tri_or(result, unknown_because(m, pattern, &f->key, SPAN_LIT("the list answers with an error")));
		else if (rbl->last == 0 || (answer >= rbl->first && answer <= rbl->last))
			return TRI_TRUE;
	}
	return result;
}

static enum tri match_listed(struct match *m, const struct pattern *pattern, enum fact_kind kind, struct span subject)
{
	const struct fact *f;
	struct fact_key key = { .kind = kind, .zone = pattern->u.rbl->zone, .subject = subject };
	enum tri known = need_fact(m, pattern, &key, &f);
	return known == TRI_TRUE ? judge_answers(m, pattern, pattern->u.rbl, f) : known;
}

enum tri match_rbl(const struct pattern *pattern, struct match *m)
{
	return match_listed(m, pattern, FACT_RBL, SPAN_NONE);
}

/* False for a domain that the DNS can't be asked for: none, an address literal, too long. */
static bool is_dns_domain(struct span domain)
{
	return domain.len && domain.len <= 253 && domain.ptr[0] != '[' && !memchr(domain.ptr, 0, domain.len);
}

enum tri match_rhs(const struct pattern *pattern, struct match *m)
{
	return is_dns_domain(m->domain) ? match_listed(m, pattern, FACT_RHS, m->domain) : TRI_FALSE;
}

/* One pattern behind NS= against all addresses and names that were found. */
static enum tri match_hosts(const struct pattern *inner, struct match *m, const struct fact_value *hosts)
{
	enum tri result = TRI_FALSE;
	char text[ADDR_TEXT_CAP];
	bool is_name = inner->kind == PATTERN_HOST_GLOB || inner->kind == PATTERN_HOST_REGEX;
	for (uint32_t i = 0; is_name && i < hosts->name_count && result != TRI_TRUE; i++)
		result = tri_or(result, match_text(m, inner, &inner->u.text, hosts->names[i]));
	for (uint32_t i = 0; !is_name && i < hosts->addr_count && result != TRI_TRUE; i++)
		result = tri_or(result, inner->kind == PATTERN_RBL ?
						match_listed(m, inner, FACT_RBL, span_of(addr_format(&hosts->addrs[i], text))) :
						match_one_addr(inner, &hosts->addrs[i]));
	return result;
}

enum tri match_ns(const struct pattern *pattern, struct match *m)
{
	const struct fact *f;
	const struct pattern *inner = pattern->u.inner;
	bool is_client = pattern->kind == PATTERN_NS_CLIENT;
	struct fact_key key = { .kind = is_client ? FACT_NS_CLIENT : FACT_NS_DOMAIN };
	if (!is_client && !is_dns_domain(m->domain))
		return tri_of(inner->kind == PATTERN_UNKNOWN && m->has_at);
	if (!is_client)
		key.subject = m->domain;
	enum tri known = need_fact(m, pattern, &key, &f);
	if (known != TRI_TRUE)
		return known;
	bool is_present = f->state == FACT_PRESENT;
	if (inner->kind == PATTERN_KNOWN || inner->kind == PATTERN_UNKNOWN)
		return tri_of((is_present && f->value.exact) == (inner->kind == PATTERN_KNOWN));
	return is_present ? match_hosts(inner, m, &f->value) : TRI_FALSE;
}

/* The left side of user@host; also USER, which compares with the sender's local part. */
static enum tri match_user(const struct pattern *pattern, struct match *m)
{
	const struct fact *f;
	const struct pattern_side *left = &pattern->u.pair->left;
	enum tri known = need_fact(m, pattern, &(struct fact_key){ .kind = FACT_IDENT }, &f);
	if (known != TRI_TRUE)
		return known;
	bool has_user = f->state == FACT_PRESENT;
	if (left->kind == SIDE_KNOWN || left->kind == SIDE_UNKNOWN)
		return tri_of(has_user == (left->kind == SIDE_KNOWN));
	if (!has_user)
		return TRI_FALSE;
	if (left->kind == SIDE_USER)
		return tri_of(span_eq_nocase(f->value.text, m->local));
	return match_text(m, pattern, &left->text, f->value.text);
}

/* Ident is asked last, and only when the other side has not decided against the pattern. */
static enum tri and_user(const struct pattern *pattern, struct match *m, enum tri other_side)
{
	if (other_side == TRI_FALSE)
		return TRI_FALSE;
	bool collect = m->collect;
	m->collect = collect && other_side != TRI_PENDING;
	enum tri user = match_user(pattern, m);
	m->collect = collect;
	return tri_and(other_side, user);
}

enum tri match_ident(const struct pattern *pattern, struct match *m)
{
	const struct pattern_pair *pair = pattern->u.pair;
	enum tri host = pair->right.kind == SIDE_ALL ? TRI_TRUE : pattern_match(pair->right.pattern, m);
	return pair->left.kind == SIDE_ALL ? host : and_user(pattern, m, host);
}

static enum tri match_side(const struct pattern *pattern, struct match *m, const struct pattern_side *side, struct span subject)
{
	if (side->kind == SIDE_ALL)
		return TRI_TRUE;
	return side->kind == SIDE_PATTERN ? pattern_match(side->pattern, m) : match_text(m, pattern, &side->text, subject);
}

enum tri match_mailbox(const struct pattern *pattern, struct match *m)
{
	const struct pattern_pair *pair = pattern->u.pair;
	if (!m->has_at)
		return TRI_FALSE;
	if (pair->left.kind == SIDE_USER)
		return and_user(pattern, m, match_side(pattern, m, &pair->right, m->domain));
	enum tri left = match_side(pattern, m, &pair->left, m->local);
	return left == TRI_FALSE ? left : tri_and(left, match_side(pattern, m, &pair->right, m->domain));
}

enum tri pattern_match(const struct pattern *pattern, struct match *m)
{
	return pattern_matcher(pattern->kind)(pattern, m);
}

enum tri pattern_set_match(const struct pattern_set *set, struct match *m)
{
	enum tri result = tri_of(set->index && list_index_match(set->index, m));
	for (uint32_t i = 0; i < set->count && result != TRI_TRUE; i++) {
		const struct pattern *before = m->unknown;
		enum tri one = pattern_match(&set->items[i], m);
		/* What was unknown inside a pattern that came out otherwise is no reason for anything. */
		if (one != TRI_UNKNOWN)
			m->unknown = before;
		result = tri_or(result, one);
	}
	return result;
}

void pattern_set_finish(struct pattern_set *set)
{
	uint32_t front = 0;
	set->facts = 0;
	for (uint32_t i = 0; i < set->count; i++) {
		struct pattern p = set->items[i];
		set->facts |= p.facts;
		if (p.facts == 0) {
			set->items[i] = set->items[front];
			set->items[front++] = p;
		}
	}
	set->free_count = front;
}
