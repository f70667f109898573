#include "rules_maker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static uint32_t seed_state = 1;

void maker_seed(uint32_t seed)
{
	seed_state = seed;
}

unsigned maker_roll(unsigned sides)
{
	seed_state = seed_state * 1664525u + 1013904223u;
	return (seed_state >> 8) % sides;
}

#define roll maker_roll
#define PICK(array) (array)[roll(sizeof(array) / sizeof(array)[0])]

/* ---- words: few different parts, so that rules meet the same subjects again and again */

static const char *const hosts[] = { "a", "b", "mail", "x.y", "Mail", "a.mail" };
static const char *const domains[] = { "foo.com", "bar.org", "oo.com", "sub.foo.com", "FOO.com", "com" };
static const char *const locals[] = { "bob", "eve", "ob", "postmaster", "Bob", ".bob" };
static const char *const regexes[] = { "/^mail/", "/foo/", "/b[ao]/", "/[.]com$/", "/^[ab][.]/", "/^.ob$/" };
static const char *const words_source[] = { "ALL", "KNOWN", "UNKNOWN", "TRUSTED", "UNTRUSTED", "IF=eth0", "IF=eth*", "IF=/[01]$/", "DST=10.0.0.0/16",
					    "DST=[2001:db8::]/32", "DST=10.0.1.1", "HELO=*.foo.com", "HELO=x", "HELO=/mail/", "MARK=1", "MARK=0x2/0x3", "KNOWN@ALL", "UNKNOWN@ALL" };
static const char *const words_from[] = { "ALL", "<>", "USER@ALL", "*", "*@*", "USER@*.com", "USER@foo.com" };
static const char *const globs4[] = { "192.168.*", "10.0.1.*", "10.*", "10.*.1", "*" };
static const char *const words6[] = { "[2001:db8::]/32", "[2001:db8::1]", "[::]/0", "[2001:*]", "[2001:db8:0:1::]/64", "[2001:DB8::1]/128" };
static const char *const zones[] = { "z0", "z1", "z2", "z3=127.0.0.2", "z1=127.0.0.2-127.0.0.8", "z2=127.0.0.9" };

static void make_net4(char *word, size_t cap)
{
	switch (roll(4)) {
	case 0: (void)snprintf(word, cap, "10.%u.%u.%u/%u", roll(2), roll(3), roll(3), roll(33)); break;
	case 1: (void)snprintf(word, cap, "10.0.%u.%u", roll(3), roll(3)); break;
	case 2: (void)snprintf(word, cap, "10.%u/16", roll(2)); break;
	default: (void)snprintf(word, cap, "10.0.%u.0/24", roll(3)); break;
	}
}

static void make_addr_word(char *word, size_t cap)
{
	if (roll(2))
		make_net4(word, cap);
	else
		(void)snprintf(word, cap, "%s", roll(2) ? PICK(globs4) : PICK(words6));
}

static void make_name_word(char *word, size_t cap)
{
	switch (roll(6)) {
	case 0: (void)snprintf(word, cap, "*.%s", PICK(domains)); break;
	case 1: (void)snprintf(word, cap, "*%s", PICK(domains)); break;
	case 2: (void)snprintf(word, cap, "%s*.com", PICK(hosts)); break;
	case 3: (void)snprintf(word, cap, "%s", PICK(regexes)); break;
	default: (void)snprintf(word, cap, "%s.%s", PICK(hosts), PICK(domains)); break;
	}
}

static void make_host_word(char *word, size_t cap)
{
	if (roll(2))
		make_addr_word(word, cap);
	else
		make_name_word(word, cap);
}

static void make_hosts_word(char *word, size_t cap)
{
	char inner[96];
	if (roll(4) == 0)
		(void)snprintf(inner, sizeof inner, "%s", roll(2) ? "KNOWN" : "UNKNOWN");
	else if (roll(4) == 0)
		(void)snprintf(inner, sizeof inner, "RBL.%s", PICK(zones));
	else
		make_host_word(inner, sizeof inner);
	(void)snprintf(word, cap, "NS=%s", inner);
}

static void make_source_word(char *word, size_t cap)
{
	char host[96];
	make_host_word(host, sizeof host);
	switch (roll(10)) {
	case 0: (void)snprintf(word, cap, "%s", PICK(words_source)); break;
	case 1: (void)snprintf(word, cap, "%s@%s", roll(4) ? PICK(locals) : roll(2) ? "b*" : "/^.ob$/", host); break;
	case 2: (void)snprintf(word, cap, "%s@%s", roll(3) ? "ALL" : roll(2) ? "KNOWN" : "UNKNOWN", host); break;
	case 3: (void)snprintf(word, cap, "RBL.%s", PICK(zones)); break;
	case 4: make_hosts_word(word, cap); break;
	default: (void)snprintf(word, cap, "%s", host); break;
	}
}

static void make_address_word(char *word, size_t cap, bool is_from)
{
	char inner[96];
	switch (roll(13)) {
	case 0: (void)snprintf(word, cap, "%s", is_from ? PICK(words_from) : "ALL"); break;
	case 1: (void)snprintf(word, cap, "*@%s", PICK(domains)); break;
	case 2: (void)snprintf(word, cap, "ALL@%s", PICK(domains)); break;
	case 3: (void)snprintf(word, cap, "*%s@*.%s", PICK(locals), PICK(domains)); break;
	case 4: (void)snprintf(word, cap, "*@*%s", PICK(domains)); break;
	case 5: (void)snprintf(word, cap, "%s@%s", PICK(locals), roll(2) ? "ALL" : "*"); break;
	case 6: (void)snprintf(word, cap, "*%s", PICK(domains)); break;
	case 7: (void)snprintf(word, cap, "%s", PICK(locals)); break;
	case 8: (void)snprintf(word, cap, "%s%s", roll(2) ? "" : roll(2) ? "*@" : "ALL@", PICK(regexes)); break;
	case 9:
		make_hosts_word(inner, sizeof inner);
		if (roll(2))
			(void)snprintf(word, cap, "%s", inner);
		else
			(void)snprintf(word, cap, "%s@%s", PICK(locals), inner);
		break;
	case 10:
		if (is_from)
			(void)snprintf(word, cap, "RHS.%s", PICK(zones));
		else
			(void)snprintf(word, cap, "*@*.%s", PICK(domains));
		break;
	default: (void)snprintf(word, cap, "%s@%s", PICK(locals), PICK(domains)); break;
	}
}

/* What a line of a source list says in its own way, and the same in the way of the rule file. */
static void make_source_line(char *line, char *word, size_t cap)
{
	const char *host = PICK(hosts), *domain = PICK(domains);
	unsigned a = roll(2), b = roll(3);
	switch (roll(8)) {
	case 0:
		(void)snprintf(line, cap, "%s", domain);
		(void)snprintf(word, cap, "%s *.%s", domain, domain);
		break;
	case 1:
		(void)snprintf(line, cap, "%s.%s%s", host, domain, roll(3) ? "" : ".");
		(void)snprintf(word, cap, "%s.%s *.%s.%s", host, domain, host, domain);
		break;
	case 2:
		(void)snprintf(line, cap, ".%s", domain);
		(void)snprintf(word, cap, "*.%s", domain);
		break;
	case 3:
		(void)snprintf(line, cap, "ALL@%s.%s", host, domain);
		(void)snprintf(word, cap, "%s.%s", host, domain);
		break;
	case 4:
		(void)snprintf(line, cap, "10.%u%s", a, roll(2) ? "" : ".");
		(void)snprintf(word, cap, "10.%u.0.0/16", a);
		break;
	case 5:
		(void)snprintf(line, cap, roll(2) ? "10.0.%u" : "10.0.%u.", b);
		(void)snprintf(word, cap, "10.0.%u.0/24", b);
		break;
	case 6:
		(void)snprintf(line, cap, roll(2) ? "2001:db8::%u" : "2001:DB8:0:0::%u/128", a);
		(void)snprintf(word, cap, "[2001:db8::%u]", a);
		break;
	default:
		(void)snprintf(line, cap, "2001:db8:0:%u::/64", b);
		(void)snprintf(word, cap, "[2001:db8:0:%u::]/64", b);
		break;
	}
}

/* ---- rule sets */

static void append(char *text, size_t cap, const char *more)
{
	size_t len = strlen(text);
	assert_true(len + strlen(more) < cap);
	memcpy(text + len, more, strlen(more) + 1);
}

static void append_both(struct made_rules *s, const char *more)
{
	append(s->plain, MADE_TEXT_CAP, more);
	append(s->filed, MADE_TEXT_CAP, more);
}

/* Returns its path. */
static const char *add_file(struct made_rules *s, const char *text)
{
	unsigned at = s->file_count++;
	(void)snprintf(s->paths[at], sizeof s->paths[at], "/f%u", at);
	(void)snprintf(s->texts[at], sizeof s->texts[at], "%s", text);
	s->files[at] = (struct world_file){ s->paths[at], s->texts[at] };
	s->files[at + 1] = (struct world_file){ NULL, NULL };
	return s->paths[at];
}

static void make_part(struct made_rules *s, unsigned which)
{
	char word[256], line[256], words[4096] = "", lines[MADE_FILE_CAP] = "";
	unsigned n = 1 + roll(roll(4) ? 2 : 12);
	bool is_filed = s->file_count < MADE_FILES_MAX && roll(3) == 0;
	for (unsigned i = 0; i < n; i++) {
		if (which == 0)
			make_source_word(word, sizeof word);
		else
			make_address_word(word, sizeof word, which == 1);
		(void)snprintf(line, sizeof line, "%s", word);
		/* A line that is a plain name says more than the word. */
		bool is_name = which == 0 && !strpbrk(word, "*@/=[") && strspn(word, "0123456789.") != strlen(word) && strpbrk(word, ".") &&
			       strncmp(word, "RBL.", 4) != 0;
		if (is_filed && which == 0 && (is_name || roll(2)))
			make_source_line(line, word, sizeof word);
		append(words, sizeof words, i ? " " : "");
		append(words, sizeof words, word);
		append(lines, sizeof lines, line);
		append(lines, sizeof lines, "\n");
	}
	append(s->plain, MADE_TEXT_CAP, words);
	if (is_filed) {
		append(s->filed, MADE_TEXT_CAP, "FILE=");
		append(s->filed, MADE_TEXT_CAP, add_file(s, lines));
	} else {
		append(s->filed, MADE_TEXT_CAP, words);
	}
}

static void make_list(struct made_rules *s, unsigned which)
{
	make_part(s, which);
	for (unsigned n = roll(5) ? 0 : 1 + roll(3); n; n--) {
		append_both(s, " EXCEPT ");
		make_part(s, which);
	}
}

static void make_access_key(char *key, size_t cap)
{
	switch (roll(9)) {
	case 0: (void)snprintf(key, cap, "%s@", PICK(locals)); break;
	case 1: (void)snprintf(key, cap, "%s@%s", PICK(locals), PICK(domains)); break;
	case 2: (void)snprintf(key, cap, "10.%u", roll(2)); break;
	case 3: (void)snprintf(key, cap, "10.0.%u", roll(3)); break;
	case 4: (void)snprintf(key, cap, "10.0.%u.%u", roll(3), roll(3)); break;
	case 5: (void)snprintf(key, cap, "[2001:db8::]/%u", 32 + 16 * roll(3)); break;
	case 6: (void)snprintf(key, cap, "%s", roll(2) ? "<>" : "[2001:db8::1]"); break;
	case 7: (void)snprintf(key, cap, "%s.%s", PICK(hosts), PICK(domains)); break;
	default: (void)snprintf(key, cap, "%s", PICK(domains)); break;
	}
}

static void make_access(struct made_rules *s)
{
	static const char *const tags[] = { "", "", "Connect:", "From:", "To:" };
	static const char *const values[] = { "OK", "OK", "REJECT", "550 5.7.1 no", "SKIP" };
	char text[MADE_FILE_CAP] = "\n", key[64], begin[96];
	for (unsigned n = 1 + roll(8); n; n--) {
		make_access_key(key, sizeof key);
		(void)snprintf(begin, sizeof begin, "\n%s%s\t", PICK(tags), key);
		/* Of the same key twice, which is warned of, only the first counts: not here. */
		if (strcasestr(text, begin))
			continue;
		append(text, sizeof text, begin + 1);
		append(text, sizeof text, PICK(values));
		append(text, sizeof text, "\n");
	}
	append_both(s, "access:");
	append_both(s, add_file(s, text + 1));
	append_both(s, "\n");
}

void make_rules(struct made_rules *s, unsigned max_lines)
{
	static const char *const actions[] = { "allow", "deny", "deny", "tarpit", "noto", "debug", "dry-run noto", "dry-run deny", "noto_delay",
					       "allow-filter", "allow-extchk|allow-filter", "mark=1", "mark=0x6/0x6",
					       "drop", "pass" };
	s->plain[0] = s->filed[0] = '\0';
	s->file_count = 0;
	s->files[0] = (struct world_file){ NULL, NULL };
	for (unsigned lines = 1 + roll(max_lines); lines; lines--) {
		if (roll(12) == 0 && s->file_count < MADE_FILES_MAX) {
			make_access(s);
			continue;
		}
		const char *action = PICK(actions);
		append_both(s, action);
		for (unsigned which = 0; which < 3; which++) {
			append_both(s, ":");
			make_list(s, which);
		}
		append_both(s, (action[0] == 'n' || strcmp(action, "deny") == 0) && roll(3) == 0 ? ":550 5.7.1 no\n" : "\n");
	}
}

/* ---- what they are asked */

static void make_address(char text[128])
{
	if (roll(12) == 0)
		(void)snprintf(text, 128, "%s", PICK(locals));
	else if (roll(20) == 0)
		(void)snprintf(text, 128, "%s@[192.0.2.1]", PICK(locals));
	else
		(void)snprintf(text, 128, "%s@%s%s", PICK(locals), roll(3) ? "" : "a.", PICK(domains));
}

static void make_addr(struct addr *out)
{
	static const char *const others[] = { "2001:db8::1", "2001:db8::", "2001:db8:0:1::5", "2001:db9::1", "::1", "192.168.0.1" };
	char text[64];
	(void)snprintf(text, sizeof text, "%s10.%u.%u.%u", roll(8) ? "" : "::ffff:", roll(2), roll(3), roll(3));
	assert_int_equal(addr_parse(span_of(roll(4) ? text : PICK(others)), out), 0);
}

static enum world_answer make_answer(void)
{
	return roll(3) ? (enum world_answer)roll(2) : (enum world_answer)roll(3);
}

void make_case(struct made_case *c)
{
	static const char *const helos[] = { "mail.foo.com", "x", "" };
	static const char *const users[] = { "bob", "eve", "postmaster" };
	static const char *const names[] = { "mail.foo.com", "a.bar.org", "ns.oo.com" };
	static const struct addr answers[] = { { ADDR_V4, { 127, 0, 0, 2 } }, { ADDR_V4, { 127, 0, 0, 2 } }, { ADDR_V4, { 127, 0, 0, 9 } },
					       { ADDR_V4, { 127, 255, 255, 254 } }, { ADDR_V4, { 192, 0, 2, 1 } } };
	struct world *w = &c->world;
	(void)snprintf(c->name, sizeof c->name, "%s%s.%s", roll(4) ? "" : "deep.", PICK(hosts), PICK(domains));
	*w = (struct world){ .name_text = c->name, .ident_text = PICK(users) };
	w->name = roll(3) ? WORLD_PRESENT : (enum world_answer)roll(3);
	w->ident = make_answer();
	for (int i = 0; i < 8; i++) {
		w->listed[i] = roll(2) ? WORLD_ABSENT : make_answer();
		w->answers[i] = PICK(answers);
	}
	for (int i = 0; i < 4; i++) {
		w->hosts[i] = (struct world_hosts){ .answer = make_answer(), .exact = roll(2), .name = roll(4) ? PICK(names) : NULL };
		if (roll(4))
			make_addr(&w->hosts[i].addr);
	}
	c->client = (struct rules_client){ .trusted = roll(2), .iface = span_of(roll(2) ? "eth0" : "eth1"), .helo = span_of(PICK(helos)),
					   .mark = roll(3) };
	make_addr(&c->client.addr);
	if (roll(4))
		make_addr(&c->client.dst);
	make_address(c->from);
	if (roll(12) == 0)
		c->from[0] = '\0';
	make_address(c->to);
}

void make_options(struct rules_options *options)
{
	rules_options_defaults(options);
	options->on_unknown = roll(3) ? ON_UNKNOWN_TEMPFAIL : ON_UNKNOWN_SKIP;
	options->no_match = roll(2) ? NO_MATCH_ALLOW : NO_MATCH_NOTO;
}
