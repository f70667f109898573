/* The plain linear evaluator of rules_world.h.  Slow, recursive and simple on purpose: it shares no code with rules/ but the address
 * and facts structs, knows regexes of literals, dots, sets and anchors only, and understands the patterns that rules_maker.c makes up. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "rules_world.h"

struct ask {
	const struct world *world;
	const struct world_file *files;
	const struct rules_client *client;
	const char *address; /* NULL: the source list */
};

enum truth { NO = 0, MAYBE = 1, YES = 2 };

static enum truth answer(enum world_answer a, enum truth if_present, enum truth if_absent)
{
	return a == WORLD_FAILED ? MAYBE : a == WORLD_PRESENT ? if_present : if_absent;
}

static enum truth both(enum truth a, enum truth b)
{
	return a < b ? a : b;
}

static enum truth either(enum truth a, enum truth b)
{
	return a > b ? a : b;
}

static enum truth is(bool so)
{
	return so ? YES : NO;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

static const char *file_text(const struct ask *q, const char *path)
{
	const struct world_file *f = q->files;
	while (f && f->path && strcmp(f->path, path) != 0)
		f++;
	return f && f->path ? f->text : "";
}

/* ---- texts */

static enum truth wild(const char *pattern, const char *text)
{
	if (*pattern == '\0')
		return *text ? NO : YES;
	if (*pattern == '*')
		return wild(pattern + 1, text) == YES || (*text && wild(pattern, text + 1) == YES) ? YES : NO;
	return *text && strncasecmp(pattern, text, 1) == 0 ? wild(pattern + 1, text + 1) : NO;
}

/* Does the regex, a string of literals, dots and [sets] with perhaps a $ at its end, match where text begins? */
static bool regex_here(const char *regex, const char *text)
{
	if (*regex == '\0')
		return true;
	if (regex[0] == '$' && regex[1] == '\0')
		return *text == '\0';
	if (*text == '\0')
		return false;
	size_t len = *regex == '[' ? strcspn(regex, "]") + 1 : 1;
	bool fits = *regex == '.';
	for (size_t i = len > 1; i < len - (len > 1) && !fits; i++)
		fits = strncasecmp(regex + i, text, 1) == 0;
	return fits && regex_here(regex + len, text + 1);
}

static enum truth text_is(const char *pattern, const char *text)
{
	char inside[128];
	if (pattern[0] != '/')
		return wild(pattern, text);
	(void)snprintf(inside, sizeof inside, "%.*s", (int)strlen(pattern) - 2, pattern + 1);
	if (inside[0] == '^')
		return is(regex_here(inside + 1, text));
	for (; *text; text++)
		if (regex_here(inside, text))
			return YES;
	return is(regex_here(inside, ""));
}

static bool ends_with(const char *text, const char *end)
{
	size_t t = strlen(text), e = strlen(end);
	return t >= e && strcasecmp(text + t - e, end) == 0;
}

/* foo.com: it and all below; .foo.com: only below. */
static bool is_in_domain(const char *name, const char *domain)
{
	char text[128], below[130];
	(void)snprintf(text, sizeof text, "%s", domain);
	if (text[0] && text[strlen(text) - 1] == '.')
		text[strlen(text) - 1] = '\0';
	(void)snprintf(below, sizeof below, ".%s", text);
	return text[0] == '.' ? ends_with(name, text) : strcasecmp(name, text) == 0 || ends_with(name, below);
}

/* ---- addresses */

static bool first_bits_are_equal(const struct addr *a, const struct addr *b, unsigned bits)
{
	for (unsigned i = 0; i < bits; i++)
		if ((a->bytes[i / 8] ^ b->bytes[i / 8]) >> (7 - i % 8) & 1)
			return false;
	return a->family == b->family;
}

static bool is_addr_word(const char *p)
{
	return p[0] == '[' || (p[0] && strspn(p, "0123456789.*/") == strlen(p));
}

static bool in_net6(const char *p, const struct addr *addr)
{
	char inside[64];
	const char *end = strchr(p, ']'), *slash = strrchr(p, '/');
	struct addr net;
	(void)snprintf(inside, sizeof inside, "%.*s", (int)(end - p - 1), p + 1);
	if (addr_parse(span_of(inside), &net))
		return false;
	return first_bits_are_equal(&net, addr, slash ? (unsigned)atoi(slash + 1) : 128);
}

/* 10.1/16, 10.1.2.3; with may_be_short also 10.1 and 10.1. for 10.1/16. */
static bool in_net4(const char *p, const struct addr *addr, bool may_be_short)
{
	struct addr net = { .family = ADDR_V4 };
	unsigned octets = 0;
	for (; *p && *p != '/'; p += *p == '.') {
		if (octets == 4)
			return false;
		net.bytes[octets++] = (uint8_t)strtoul(p, (char **)&p, 10);
	}
	if (*p != '/' && octets < 4 && !may_be_short)
		return false;
	return first_bits_are_equal(&net, addr, *p == '/' ? (unsigned)atoi(p + 1) : octets * 8);
}

static enum truth addr_is(const char *p, const struct addr *addr)
{
	char text[ADDR_TEXT_CAP], inside[64];
	if (!strchr(p, '*'))
		return is(p[0] == '[' ? in_net6(p, addr) : in_net4(p, addr, false));
	bool is_v6 = p[0] == '[';
	(void)snprintf(inside, sizeof inside, "%.*s", (int)(strlen(p) - (is_v6 ? 2 : 0)), p + is_v6);
	return wild(inside, addr_format(addr, text));
}

/* ---- the DNS */

/* zone or zone=first-last, all of them in 127.0.0.0/24. */
static enum truth is_listed(const char *zone, const char *subject, const struct ask *q)
{
	char name[64];
	struct addr a;
	unsigned first = 0, last = 255;
	int parts = sscanf(zone, "%*[^=]=127.0.0.%u-127.0.0.%u", &first, &last);
	(void)snprintf(name, sizeof name, "%.*s", (int)strcspn(zone, "="), zone);
	enum world_answer found = world_listed(q->world, span_of(name), span_of(subject), &a);
	if (found != WORLD_PRESENT)
		return answer(found, NO, NO);
	if (a.bytes[0] != 127 || (a.bytes[1] == 255 && a.bytes[2] == 255))
		return MAYBE;
	return is(a.bytes[3] >= first && a.bytes[3] <= (parts == 1 ? first : last));
}

/* p is what stands behind NS=; domain NULL: the client's. */
static enum truth hosts_are(const char *p, const char *domain, const struct ask *q)
{
	char text[ADDR_TEXT_CAP];
	bool asks_known = strcmp(p, "KNOWN") == 0, asks_unknown = strcmp(p, "UNKNOWN") == 0;
	if (domain && (domain[0] == '\0' || domain[0] == '['))
		return is(asks_unknown);
	const struct world_hosts *h = world_hosts_of(q->world, domain ? FACT_NS_DOMAIN : FACT_NS_CLIENT, span_of(domain));
	if (h->answer == WORLD_FAILED)
		return MAYBE;
	bool is_there = h->answer == WORLD_PRESENT;
	if (asks_known || asks_unknown)
		return is((is_there && h->exact) == asks_known);
	if (!is_there)
		return NO;
	if (begins(p, "RBL."))
		return h->addr.family ? is_listed(p + 4, addr_format(&h->addr, text), q) : NO;
	if (is_addr_word(p))
		return h->addr.family ? addr_is(p, &h->addr) : NO;
	return h->name ? text_is(p, h->name) : NO;
}

/* ---- source lists */

static enum truth host(const char *p, const struct ask *q)
{
	const struct world *w = q->world;
	if (strcmp(p, "ALL") == 0)
		return YES;
	if (strcmp(p, "KNOWN") == 0)
		return answer(w->name, YES, NO);
	if (strcmp(p, "UNKNOWN") == 0)
		return answer(w->name, NO, YES);
	if (p[0] != '/' && is_addr_word(p))
		return addr_is(p, &q->client->addr);
	return answer(w->name, text_is(p, w->name_text), NO);
}

static enum truth user_and_host(const char *p, const char *at, const struct ask *q)
{
	char left[64];
	const struct world *w = q->world;
	(void)snprintf(left, sizeof left, "%.*s", (int)(at - p), p);
	enum truth user = answer(w->ident, text_is(left, w->ident_text), NO);
	if (strcmp(left, "ALL") == 0)
		user = YES;
	else if (strcmp(left, "KNOWN") == 0)
		user = answer(w->ident, YES, NO);
	else if (strcmp(left, "UNKNOWN") == 0)
		user = answer(w->ident, NO, YES);
	return both(user, host(at + 1, q));
}

static enum truth source_word(const char *p, const struct ask *q)
{
	char text[64];
	const struct rules_client *c = q->client;
	const char *at = strrchr(p, '@');
	if (strcmp(p, "TRUSTED") == 0 || strcmp(p, "UNTRUSTED") == 0)
		return is(c->trusted == (p[0] == 'T'));
	if (begins(p, "RBL."))
		return is_listed(p + 4, "", q);
	if (begins(p, "NS="))
		return hosts_are(p + 3, NULL, q);
	if (begins(p, "DST="))
		return c->dst.family ? addr_is(p + 4, &c->dst) : MAYBE;
	if (strcmp(p, "MARK=1") == 0)
		return is(c->mark == 1);
	if (strcmp(p, "MARK=0x2/0x3") == 0)
		return is((c->mark & 3) == 2);
	if (begins(p, "IF=") || begins(p, "HELO=")) {
		struct span value = p[0] == 'I' ? c->iface : c->helo;
		(void)snprintf(text, sizeof text, "%.*s", SPAN_FMT(value));
		return text_is(strchr(p, '=') + 1, text);
	}
	return at ? user_and_host(p, at, q) : host(p, q);
}

/* A line of a FILE= list means what it means in a rule, but for octets, IPv6 without brackets, and names. */
static enum truth source_line(const char *p, const struct ask *q)
{
	static const char *const special[] = { "ALL", "KNOWN", "UNKNOWN", "TRUSTED", "UNTRUSTED" };
	char bracketed[80];
	if (strspn(p, "0123456789.") == strlen(p))
		return is(in_net4(p, &q->client->addr, true));
	if (strchr(p, ':') && strspn(p, "0123456789abcdefABCDEF:./") == strlen(p)) {
		(void)snprintf(bracketed, sizeof bracketed, "[%.*s]%s", (int)strcspn(p, "/"), p, p + strcspn(p, "/"));
		return addr_is(bracketed, &q->client->addr);
	}
	for (size_t i = 0; i < sizeof special / sizeof *special; i++)
		if (strcmp(p, special[i]) == 0)
			return source_word(p, q);
	if (strpbrk(p, "*@/=[") || begins(p, "RBL."))
		return source_word(p, q);
	return answer(q->world->name, is(is_in_domain(q->world->name_text, p)), NO);
}

/* ---- from and to lists */

static enum truth address_word(const char *p, const struct ask *q)
{
	const char *at = strrchr(q->address, '@'), *p_at = strrchr(p, '@');
	char left[64], p_left[64];
	if (strcmp(p, "ALL") == 0)
		return YES;
	if (strcmp(p, "<>") == 0)
		return is(q->address[0] == '\0');
	if (begins(p, "RHS."))
		return at && at[1] && at[1] != '[' ? is_listed(p + 4, at + 1, q) : NO;
	if (begins(p, "NS="))
		return at ? hosts_are(p + 3, at + 1, q) : NO;
	if (!p_at)
		return text_is(p, q->address);
	if (!at)
		return NO;
	(void)snprintf(left, sizeof left, "%.*s", (int)(at - q->address), q->address);
	(void)snprintf(p_left, sizeof p_left, "%.*s", (int)(p_at - p), p);
	enum truth right = strcmp(p_at + 1, "ALL") == 0 ? YES :
			   begins(p_at + 1, "NS=")	? hosts_are(p_at + 4, at + 1, q) :
							  text_is(p_at + 1, at + 1);
	if (strcmp(p_left, "USER") == 0)
		return both(right, answer(q->world->ident, is(strcasecmp(q->world->ident_text, left) == 0), NO));
	return both(right, strcmp(p_left, "ALL") == 0 ? YES : text_is(p_left, left));
}

/* ---- lists */

static enum truth file_list(const char *path, const struct ask *q)
{
	char *text = strdup(file_text(q, path)), *save;
	enum truth here = NO;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		here = either(here, q->address ? address_word(line, q) : source_line(line, q));
	free(text);
	return here;
}

/* words ends with NULL. */
static enum truth list(char **words, const struct ask *q)
{
	enum truth here = NO;
	for (; *words && strcmp(*words, "EXCEPT") != 0; words++)
		here = either(here, begins(*words, "FILE=") ? file_list(*words + 5, q) :
				    q->address		    ? address_word(*words, q) :
							      source_word(*words, q));
	return *words ? both(here, (enum truth)(YES - list(words + 1, q))) : here;
}

static enum truth field(char *text, const struct ask *q)
{
	char *words[256], *save;
	size_t n = 0;
	for (char *w = strtok_r(text, " ", &save); w && n < 255; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	words[n] = NULL;
	return list(words, q);
}

/* ---- access tables */

/* 0: does not fit; else the longer the better. */
static unsigned key_rank(const char *key, const char *subject, const struct addr *addr)
{
	char octets[130], text[ADDR_TEXT_CAP], whole[ADDR_TEXT_CAP + 1];
	const char *at = strrchr(subject, '@');
	size_t len = strlen(key);
	if (addr) {
		(void)snprintf(octets, sizeof octets, "%s.", key);
		(void)snprintf(whole, sizeof whole, "%s.", addr_format(addr, text));
		if (key[0] == '[')
			return in_net6(key, addr) ? (unsigned)(strchr(key, '/') ? atoi(strchr(key, '/') + 1) : 128) : 0;
		return strspn(key, "0123456789.") == len && begins(whole, octets) ? (unsigned)len : 0;
	}
	if (strcmp(key, "<>") == 0 || subject[0] == '\0')
		return strcmp(key, "<>") == 0 && subject[0] == '\0' ? 1 : 0;
	if (key[len - 1] == '@')
		return (at ? (size_t)(at - subject) : strlen(subject)) == len - 1 && strncasecmp(key, subject, len - 1) == 0 ? 1000 : 0;
	if (strchr(key, '@'))
		return strcasecmp(key, subject) == 0 ? 2000 : 0;
	return key[0] != '[' && is_in_domain(at ? at + 1 : subject, key) ? (unsigned)len : 0;
}

/* What the table says: "" for nothing.  tag: Connect:, From: or To:. */
static void look_up(const char *table, const char *tag, const char *subject, const struct addr *addr, char value[64])
{
	unsigned best = 0;
	char line[128], line_tag[16];
	value[0] = '\0';
	for (; *table; table += strcspn(table, "\n") + 1) {
		(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(table, "\n"), table);
		char *key = line, *text = strchr(line, '\t');
		*text++ = '\0';
		line_tag[0] = '\0';
		if (begins(key, "Connect:") || begins(key, "From:") || begins(key, "To:")) {
			(void)snprintf(line_tag, sizeof line_tag, "%.*s", (int)(strchr(key, ':') - key + 1), key);
			key = strchr(key, ':') + 1;
		}
		if (line_tag[0] && strcmp(line_tag, tag) != 0)
			continue;
		unsigned rank = 2 * key_rank(key, subject, addr);
		rank += rank && line_tag[0];
		if (rank > best) {
			best = rank;
			(void)snprintf(value, 64, "%s", strcmp(text, "SKIP") == 0 ? "" : text);
		}
	}
}

static bool refuses(const char *value)
{
	return value[0] && strcmp(value, "OK") != 0;
}

/* Could some key speak so about the client's name, and in other words than these? */
static bool some_name_could(const char *table, bool refuse, const char *words)
{
	char line[128];
	for (; *table; table += strcspn(table, "\n") + 1) {
		(void)snprintf(line, sizeof line, "%.*s", (int)strcspn(table, "\n"), table);
		char *value = strchr(line, '\t');
		*value++ = '\0';
		const char *key = begins(line, "Connect:") ? line + 8 : line;
		bool is_domain = !strpbrk(key, "@<[:") && strspn(key, "0123456789.") != strlen(key);
		if (is_domain && strcmp(value, "SKIP") != 0 && refuses(value) == refuse && strcmp(value, words) != 0)
			return true;
	}
	return false;
}

static enum truth access_is(const char *table, const struct ask *q, const char *from, const char *to, char outcome[80])
{
	char client[64], sender[64], recipient[64];
	const struct world *w = q->world;
	look_up(table, "Connect:", "", &q->client->addr, client);
	look_up(table, "From:", from, NULL, sender);
	look_up(table, "To:", to, NULL, recipient);
	const char *others = refuses(sender) ? sender : refuses(recipient) ? recipient : sender[0] ? sender : recipient;
	if (!client[0] && w->name == WORLD_FAILED && (some_name_could(table, true, others) || (some_name_could(table, false, "") && !others[0])))
		return MAYBE;
	if (!client[0] && w->name == WORLD_PRESENT)
		look_up(table, "Connect:", w->name_text, NULL, client);
	const char *said = refuses(client) || !others[0] ? client : others;
	(void)snprintf(outcome, 80, "%s%s", refuses(said) ? "noto|" : "allow", !refuses(said) ? "" : strcmp(said, "REJECT") == 0 ? "550 5.7.1 Access denied" : said);
	return is(said[0] != '\0');
}

/* ---- rules */

/* Up to the next colon outside of brackets; NULL when there is nothing left. */
static char *cut_field(char **rest)
{
	char *begin = *rest, *at = begin;
	bool is_inside = false;
	if (!begin)
		return NULL;
	for (; *at && (*at != ':' || is_inside); at++)
		is_inside = *at == '[' || (is_inside && *at != ']');
	*rest = *at ? at + 1 : NULL;
	*at = '\0';
	return begin;
}

static enum truth judge_line(char *line, const struct ask *asked, const char *from, const char *to, char outcome[80])
{
	struct ask q = *asked;
	char *fields[5];
	for (int i = 0; i < 5; i++)
		fields[i] = cut_field(&line);
	if (strcmp(fields[0], "access") == 0)
		return access_is(file_text(&q, fields[1]), &q, from, to, outcome);
	(void)snprintf(outcome, 80, "%s%s%s", fields[0], fields[0][0] == 'a' ? "" : "|", fields[4] ? fields[4] : "");
	enum truth result = field(fields[1], &q);
	q.address = from;
	result = both(result, field(fields[2], &q));
	q.address = to;
	return both(result, field(fields[3], &q));
}

void ref_judge(const char *text, const struct world_file *files, const struct rules_options *options, const struct world *world,
	       const struct rules_client *client, const char *from, const char *to, struct ref_result *out)
{
	char *copy = strdup(text), *save;
	char outcome[80], found[80], hanging[80] = "";
	struct ask q = { world, files, client, NULL };
	unsigned n = 0, hanging_line = 0;
	*out = (struct ref_result){ .kind = VERDICT_TEMPFAIL };
	(void)snprintf(outcome, sizeof outcome, "%s", options->no_match == NO_MATCH_ALLOW ? "allow" : "noto|");
	for (char *line = strtok_r(copy, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		n++;
		bool is_debug = begins(line, "debug"), is_dry = begins(line, "dry-run "), is_access = begins(line, "access:");
		bool is_mark = begins(line, "mark=");
		enum truth t = judge_line(line, &q, from, to, found);
		out->debugs += t == YES && is_debug;
		out->dry_runs += t == YES && is_dry;
		if (is_debug || is_dry || is_mark || t == NO || (t == MAYBE && options->on_unknown == ON_UNKNOWN_SKIP))
			continue;
		if (t == MAYBE && !hanging_line) {
			hanging_line = n;
			(void)snprintf(hanging, sizeof hanging, "%s", is_access ? "?" : found);
		}
		if (t == MAYBE && !is_access && strcmp(hanging, found) == 0)
			continue;
		if (t == YES)
			out->line = n;
		(void)snprintf(outcome, sizeof outcome, "%s", t == YES ? found : "other");
		break;
	}
	if (hanging_line && strcmp(hanging, outcome) != 0)
		out->line = hanging_line;
	else
		out->kind = outcome[0] == 'a' || outcome[0] == 'p' ? VERDICT_ALLOW : outcome[0] == 'd' || outcome[0] == 't' ? VERDICT_DENY : VERDICT_NOTO;
	free(copy);
}
