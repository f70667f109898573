/* Access tables: the text form, which key wins, and what the rule makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <cmocka.h>

#include "access.h"
#include "rules.h"

struct loaded {
	struct arena arena;
	struct rules_diags diags;
	struct access_table *table;
	int err;
};

static struct loaded load(const char *text)
{
	struct loaded l = { .table = NULL };
	struct rules_source_file file = { .path = SPAN_LIT("access"), .text = span_of(text) };
	l.err = access_table_build(&l.arena, &file, &l.diags, &l.table);
	return l;
}

static void unload(struct loaded *l)
{
	rules_diags_free(&l->diags);
	arena_free(&l->arena);
}

/* What a value says: "ok", "-" for none, or the reply. */
static const char *say(const struct access_value *value, char text[VERDICT_REPLY_CAP])
{
	struct rules_facts facts = { .last_id = 0 };
	if (!value)
		return "-";
	if (value->kind == ACCESS_ALLOW)
		return "ok";
	rules_message_render(&value->message, &facts, SPAN_NONE, SPAN_NONE, text);
	return text;
}

static void check_client(const struct loaded *l, const char *client, const char *expected)
{
	char text[VERDICT_REPLY_CAP];
	struct addr addr;
	assert_int_equal(addr_parse(span_of(client), &addr), 0);
	assert_string_equal(say(access_of_client(l->table, &addr), text), expected);
}

static void check_address(const struct loaded *l, enum access_tag tag, const char *address, const char *expected)
{
	char text[VERDICT_REPLY_CAP];
	assert_string_equal(say(access_of_address(l->table, tag, span_of(address)), text), expected);
}

static void check_name(const struct loaded *l, const char *name, const char *expected)
{
	char text[VERDICT_REPLY_CAP];
	assert_string_equal(say(access_of_name(l->table, span_of(name)), text), expected);
}

/* The tables of the page that made the 8.9 rules known. */
static void test_seed(void **state)
{
	struct loaded l = load("206.129.191 relay\n208.215.241\trelay\nfriend.example relay\ngood.example ok\n"
			       "spammer.example \"503 another thanks\"\n205.199.266 OK\n");
	(void)state;
	assert_int_equal(l.err, 0);
	assert_int_equal(l.diags.warnings, 1); /* 266 is no octet */
	assert_int_equal(l.diags.first->place.line, 6);
	check_client(&l, "206.129.191.7", "ok");
	check_client(&l, "206.129.19.1", "-");
	check_client(&l, "208.215.241.255", "ok");
	check_name(&l, "mail.FRIEND.example", "ok");
	check_name(&l, "notfriend.example", "-");
	check_address(&l, ACCESS_FROM, "a@b.spammer.example", "503 5.7.1 another thanks");
	check_address(&l, ACCESS_FROM, "a@good.example", "ok");
	unload(&l);
	l = load("205.199.166 \"503 This domain eats crabs for lunch\"\n33 \"503 Stanford University? We eat trees for lunch\"\n");
	assert_int_equal(l.err, 0);
	check_client(&l, "33.1.2.3", "503 5.7.1 Stanford University? We eat trees for lunch");
	check_client(&l, "205.199.166.1", "503 5.7.1 This domain eats crabs for lunch");
	unload(&l);
}

static void test_longest_wins(void **state)
{
	struct loaded l = load("example.com REJECT\nlab.example.com OK\nbad@lab.example.com 550 bad\nroot@ 551 no root\n"
			       "10 REJECT\n10.1. OK\n10.1.2 550 two\n10.1.2.3 OK\n<> 550 no bounces\n");
	(void)state;
	assert_int_equal(l.err, 0);
	check_address(&l, ACCESS_FROM, "a@example.com", "550 5.7.1 Access denied");
	check_address(&l, ACCESS_FROM, "a@x.y.example.com", "550 5.7.1 Access denied");
	check_address(&l, ACCESS_FROM, "a@x.lab.example.com", "ok");
	check_address(&l, ACCESS_FROM, "Bad@LAB.example.com", "550 5.7.1 bad");
	check_address(&l, ACCESS_FROM, "root@lab.example.com", "551 5.7.1 no root");
	check_address(&l, ACCESS_FROM, "root", "551 5.7.1 no root");
	check_address(&l, ACCESS_FROM, "example.com", "-");
	check_address(&l, ACCESS_FROM, "", "550 5.7.1 no bounces");
	check_address(&l, ACCESS_FROM, "a@1.2.3.10", "-");
	check_client(&l, "10.2.0.1", "550 5.7.1 Access denied");
	check_client(&l, "10.1.0.1", "ok");
	check_client(&l, "10.1.2.4", "550 5.7.1 two");
	check_client(&l, "10.1.2.3", "ok");
	check_client(&l, "110.1.2.3", "-");
	unload(&l);
}

static void test_tags(void **state)
{
	struct loaded l = load("spam.example REJECT\nFrom:spam.example OK\nTo:friend@ OK\nconnect:10.9 OK\nFrom:10.8 OK\n"
			       "From:deep.spam.example SKIP\nGreetPause:10 0\nTo:spam.example ERROR:5.1.1:\"550 nobody here\"\n");
	(void)state;
	assert_int_equal(l.err, 0);
	assert_int_equal(l.diags.warnings, 1);
	check_address(&l, ACCESS_FROM, "a@spam.example", "ok");
	check_address(&l, ACCESS_FROM, "a@deep.spam.example", "-");
	check_name(&l, "a.spam.example", "550 5.7.1 Access denied");
	check_address(&l, ACCESS_TO, "friend@spam.example", "ok");
	check_client(&l, "10.9.1.1", "ok");
	check_client(&l, "10.8.1.1", "-");
	unload(&l);
}

static void test_values(void **state)
{
	struct loaded l = load("a.x ERROR:\"550 quoted\"\nb.x \"ERROR:5.7.9:554 both\"\nc.x ERROR:554 5.1.2 own\nd.x DISCARD\n"
			       "e.x 450 100% later\nf.x\t \"550 percent %H\" \n");
	(void)state;
	assert_int_equal(l.err, 0);
	assert_int_equal(l.diags.warnings, 1);
	check_name(&l, "a.x", "550 5.7.1 quoted");
	check_name(&l, "b.x", "554 5.7.9 both");
	check_name(&l, "c.x", "554 5.1.2 own");
	check_name(&l, "d.x", "550 5.7.1 Access denied");
	check_name(&l, "e.x", "450 4.7.1 100% later");
	check_name(&l, "f.x", "550 5.7.1 percent %H");
	unload(&l);
}

static void test_ipv6(void **state)
{
	struct loaded l = load("IPv6:2001:db8 REJECT\nIPv6:2001:db8:1:2 OK\nConnect:2001:db8:1:2:3:4:5:6 550 one\n[2001:db8:8000::]/33 OK\n"
			       "2001:db9:: 550 net\n[::ffff:192.0.2.1] 550 mapped\nIPv6:2001:db8:7::1 OK\n[2001:db8::8] OK\n");
	(void)state;
	assert_int_equal(l.err, 0);
	check_client(&l, "2001:db8::1", "550 5.7.1 Access denied");
	check_client(&l, "2001:db8:1:2::1", "ok");
	check_client(&l, "2001:db8:1:2:3:4:5:6", "550 5.7.1 one");
	check_client(&l, "2001:db8:9000::1", "ok");
	check_client(&l, "2001:db9:ffff::1", "550 5.7.1 net");
	check_client(&l, "2001:db7::1", "-");
	check_client(&l, "2001:db8:7::1", "ok");
	check_client(&l, "2001:db8:7::2", "550 5.7.1 Access denied");
	check_client(&l, "2001:db8::8", "ok");
	check_client(&l, "192.0.2.1", "550 5.7.1 mapped");
	unload(&l);
}

static void test_errors(void **state)
{
	static const struct {
		const char *line;
		unsigned column;
	} bad[] = { { "nokey", 1 }, { "foo.com MAYBE", 9 }, { "  foo.com\t250 yes", 11 },
		    { "foo.com 550 4.7.1 no", 9 }, { "[10.0.0.0]/12 OK", 1 }, { "[2001::/32 OK", 1 }, { "IPv6:2001:xyz OK", 1 }, { "@ OK", 1 },
		    { ".foo OK", 1 }, { "foo*bar OK", 1 }, { "1:2:3:4:5:6:7:8:9 OK", 1 } };
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		char text[128];
		(void)snprintf(text, sizeof text, "# comment\n\ngood.example OK\n%s\n", bad[i].line);
		struct loaded l = load(text);
		if (l.err != ERR_SYNTAX || l.diags.errors != 1 || l.diags.first->place.line != 4 || l.diags.first->place.column != bad[i].column)
			fail_msg("%s: err %d, %u errors, column %u", bad[i].line, l.err, l.diags.errors, l.diags.first ? l.diags.first->place.column : 0);
		assert_true(span_eq(l.diags.first->place.file, SPAN_LIT("access")));
		unload(&l);
	}
	struct loaded l = load("foo.com OK\nFOO.com REJECT\n");
	assert_int_equal(l.err, 0);
	assert_int_equal(l.diags.warnings, 1);
	check_name(&l, "foo.com", "ok");
	unload(&l);
}

/* Each form of a key and of a value in a table of its own, with a subject that it fits and one that it does not. */
static void test_every_form(void **state)
{
	static const char denied[] = "550 5.7.1 Access denied";
	enum { CLIENT, NAME, FROM, TO };
	static const struct {
		const char *line;
		int kind;
		const char *fits, *other, *says;
	} forms[] = {
		/* keys */
		{ "10 OK", CLIENT, "10.255.1.2", "110.1.2.3", "ok" },
		{ "10.1 OK", CLIENT, "10.1.2.3", "10.10.2.3", "ok" },
		{ "10.1. OK", CLIENT, "10.1.2.3", "10.2.1.3", "ok" },
		{ "10.1.2 OK", CLIENT, "10.1.2.3", "10.1.20.3", "ok" },
		{ "10.1.2.3 OK", CLIENT, "10.1.2.3", "10.1.2.30", "ok" },
		{ "Connect:10.1.2.3 OK", CLIENT, "10.1.2.3", "10.1.2.4", "ok" },
		{ "CONNECT:10.1 OK", CLIENT, "10.1.2.3", "10.2.2.3", "ok" },
		{ "[10.1.0.0]/16 OK", CLIENT, "10.1.2.3", "10.2.2.3", "ok" },
		{ "[192.0.2.7] OK", CLIENT, "192.0.2.7", "192.0.2.8", "ok" },
		{ "10.1 OK", CLIENT, "::ffff:10.1.2.3", "2001:db8::1", "ok" },
		{ "IPv6:2001:db8 OK", CLIENT, "2001:db8:ffff::1", "2001:db9::1", "ok" },
		{ "ipv6:2001:DB8:0:1 OK", CLIENT, "2001:db8:0:1::9", "2001:db8:0:2::9", "ok" },
		{ "2001:db8:: OK", CLIENT, "2001:db8:1::1", "2001:db7::1", "ok" },
		{ "Connect:IPv6:2001:db8::1 OK", CLIENT, "2001:db8::1", "2001:db8::2", "ok" },
		{ "[2001:db8::]/33 OK", CLIENT, "2001:db8:7fff::1", "2001:db8:8000::1", "ok" },
		{ "Connect:[2001:db8::1] OK", CLIENT, "2001:db8::1", "2001:db8::2", "ok" },
		{ "foo.com OK", NAME, "foo.com", "notfoo.com", "ok" },
		{ "foo.com OK", NAME, "a.b.FOO.com", "foo.com.evil.net", "ok" },
		{ "Connect:foo.com OK", NAME, "mail.foo.com", "com", "ok" },
		{ "foo.com. OK", NAME, "mail.foo.com", "mail.bar.com", "ok" },
		{ "com OK", NAME, "foo.com", "foo.community", "ok" },
		{ "foo.com OK", FROM, "x@sub.foo.com", "x@foocom", "ok" },
		{ "From:foo.com OK", FROM, "x@foo.com", "x@bar.com", "ok" },
		{ "To:foo.com OK", TO, "x@foo.com", "x@ofoo.com", "ok" },
		{ "foo.com OK", TO, "x@y.foo.com", "foo.com@y", "ok" },
		{ "bob@foo.com OK", FROM, "Bob@Foo.Com", "bob@sub.foo.com", "ok" },
		{ "From:bob@foo.com OK", FROM, "bob@foo.com", "bobby@foo.com", "ok" },
		{ "To:bob@foo.com OK", TO, "bob@foo.com", "alice@foo.com", "ok" },
		{ "bob@ OK", FROM, "bob@anywhere.net", "bobby@anywhere.net", "ok" },
		{ "To:bob@ OK", TO, "BOB@anywhere.net", "x@bob", "ok" },
		{ "From:bob@ OK", FROM, "bob", "rob", "ok" },
		{ "<> OK", FROM, "", "x@y.net", "ok" },
		{ "From:<> REJECT", FROM, "", "x@y.net", denied },
		/* a tag speaks of nothing else */
		{ "From:10.1.2.3 OK", CLIENT, NULL, "10.1.2.3", "ok" },
		{ "To:foo.com OK", NAME, NULL, "foo.com", "ok" },
		{ "From:foo.com OK", TO, NULL, "x@foo.com", "ok" },
		{ "Connect:foo.com OK", FROM, NULL, "x@foo.com", "ok" },
		{ "bob@foo.com OK", NAME, NULL, "foo.com", "ok" },
		/* values */
		{ "a.x ok", NAME, "a.x", "b.x", "ok" },
		{ "a.x RELAY", NAME, "a.x", "b.x", "ok" },
		{ "a.x \"relay\"", NAME, "a.x", "b.x", "ok" },
		{ "a.x\tREJECT", NAME, "a.x", "b.x", denied },
		{ "a.x \t Reject \r", NAME, "a.x", "b.x", denied },
		{ "a.x DISCARD", NAME, "a.x", "b.x", denied },
		{ "a.x SKIP", NAME, NULL, "a.x", "" },
		{ "a.x 503 go away", NAME, "a.x", "b.x", "503 5.7.1 go away" },
		{ "a.x \"503 go away\"", NAME, "a.x", "b.x", "503 5.7.1 go away" },
		{ "a.x 450 4.7.9 later", NAME, "a.x", "b.x", "450 4.7.9 later" },
		{ "a.x ERROR:554 text", NAME, "a.x", "b.x", "554 5.7.1 text" },
		{ "a.x ERROR:\"554 text\"", NAME, "a.x", "b.x", "554 5.7.1 text" },
		{ "a.x error:5.1.1:550 text", NAME, "a.x", "b.x", "550 5.1.1 text" },
		{ "a.x ERROR:5.1.1:\"550 text\"", NAME, "a.x", "b.x", "550 5.1.1 text" },
		{ "a.x \"ERROR:4.2.2:450 mailbox: full\"", NAME, "a.x", "b.x", "450 4.2.2 mailbox: full" },
		{ "a.x 550 100% %F %", NAME, "a.x", "b.x", "550 5.7.1 100% %F %" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		struct loaded l = load(forms[i].line);
		if (l.err)
			fail_msg("%s: %d", forms[i].line, l.err);
		for (int is_other = 0; is_other < 2; is_other++) {
			const char *subject = is_other ? forms[i].other : forms[i].fits, *says = is_other ? "-" : forms[i].says;
			char text[VERDICT_REPLY_CAP];
			struct addr addr = { .family = ADDR_NONE };
			if (!subject)
				continue;
			if (forms[i].kind == CLIENT)
				assert_int_equal(addr_parse(span_of(subject), &addr), 0);
			const struct access_value *value = forms[i].kind == CLIENT ? access_of_client(l.table, &addr) :
							   forms[i].kind == NAME   ? access_of_name(l.table, span_of(subject)) :
							   access_of_address(l.table, forms[i].kind == FROM ? ACCESS_FROM : ACCESS_TO, span_of(subject));
			if (strcmp(say(value, text), says) != 0)
				fail_msg("'%s' for %s: %s, expected %s", forms[i].line, subject, text, says);
		}
		unload(&l);
	}
}

/* Lines that load, with a warning that says what becomes of them. */
static void test_warnings(void **state)
{
	static const struct {
		const char *line, *says;
	} cases[] = {
		{ "a.x DISCARD", "taken as REJECT" }, { "300.1 OK", "never matches" },     { "10.0.0.0.0 REJECT", "never matches" }, { "10..1 OK", "never matches" },
		{ "010.1 OK", "never matches" },      { "Spam:a.x FRIEND", "no meaning here" }, { "a.x OK\nA.X REJECT", "a second time" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct loaded l = load(cases[i].line);
		assert_int_equal(l.err, 0);
		assert_int_equal(l.diags.warnings, 1);
		if (!strstr(l.diags.first->text.ptr, cases[i].says))
			fail_msg("'%s': %s", cases[i].line, l.diags.first->text.ptr);
		unload(&l);
	}
	struct loaded l = load("a.x REJECT\n255.255.255.255 OK\n0 OK\nTo:x@ 550 no\n");
	assert_int_equal(l.diags.warnings, 0);
	unload(&l);
}

/* ---- the naive reading of the same lines: every key against every subject, the longest that fits */

struct line {
	char key[40];
	unsigned tag, value;
};

static bool fits(const char *key, const char *subject)
{
	size_t k = strlen(key), s = strlen(subject);
	const char *at = strrchr(subject, '@');
	if (strchr(key, '@'))
		return key[k - 1] == '@' ? at && strncasecmp(key, subject, k) == 0 && at == subject + k - 1 : strcasecmp(key, subject) == 0;
	const char *domain = at ? at + 1 : subject;
	s = strlen(domain);
	return s >= k && strcasecmp(domain + s - k, key) == 0 && (s == k || domain[s - k - 1] == '.');
}

/* A whole address is longer than a user, a user than any domain; a tag breaks a tie. */
static unsigned rank(const struct line *l)
{
	size_t len = strlen(l->key);
	const char *at = strchr(l->key, '@');
	return (unsigned)(2 * (len + (!at ? 0 : l->key[len - 1] == '@' ? 1000 : 2000)) + (l->tag ? 1 : 0));
}

static void random_name(char *out, unsigned labels)
{
	static const char *const words[] = { "a", "b", "Ab", "com", "x1" };
	for (unsigned i = 0; i < labels; i++)
		out += sprintf(out, "%s%s", i ? "." : "", words[rand() % 5]);
}

static void test_like_naive(void **state)
{
	static const char *const tag_names[] = { "", "Connect:", "From:", "To:" };
	(void)state;
	srand(7);
	for (int round = 0; round < 300; round++) {
		struct line lines[40];
		unsigned count = 0;
		char text[4096] = "";
		while (count < 40) {
			struct line l = { .tag = (unsigned)rand() % 4, .value = (unsigned)rand() % 2 };
			int form = rand() % 3;
			if (form)
				(void)sprintf(l.key, "%s@", rand() % 2 ? "u" : "V");
			if (form != 1)
				random_name(l.key + strlen(l.key), 1 + (unsigned)rand() % 3);
			bool is_new = true;
			for (unsigned i = 0; i < count; i++)
				is_new = is_new && (lines[i].tag != l.tag || strcasecmp(lines[i].key, l.key) != 0);
			if (!is_new && rand() % 4)
				continue;
			if (!is_new)
				break;
			lines[count++] = l;
			(void)sprintf(text + strlen(text), "%s%s\t%s\n", tag_names[l.tag], l.key, l.value ? "OK" : "REJECT");
		}
		struct loaded l = load(text);
		assert_int_equal(l.err, 0);
		for (int ask = 0; ask < 50; ask++) {
			char subject[64] = "", reply[VERDICT_REPLY_CAP];
			unsigned tag = 1 + (unsigned)rand() % 3;
			if (tag != ACCESS_CONNECT)
				(void)sprintf(subject, "%s@", rand() % 2 ? "u" : "v");
			random_name(subject + strlen(subject), 1 + (unsigned)rand() % 4);
			const struct line *best = NULL;
			for (unsigned i = 0; i < count; i++)
				if ((!lines[i].tag || lines[i].tag == tag) && fits(lines[i].key, subject) && (!best || rank(&lines[i]) > rank(best)))
					best = &lines[i];
			const struct access_value *value = tag == ACCESS_CONNECT ? access_of_name(l.table, span_of(subject)) :
										   access_of_address(l.table, (enum access_tag)tag, span_of(subject));
			const char *expected = !best ? "-" : best->value ? "ok" : "550 5.7.1 Access denied";
			if (strcmp(say(value, reply), expected) != 0)
				fail_msg("%s (tag %u): %s, expected %s in\n%s", subject, tag, reply, expected, text);
		}
		unload(&l);
	}
}

/* ---- the rule */

static void judge(const char *table, const char *rule_text, int name_state, const char *from, const char *to, struct rules_verdict *out)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_options options;
	struct rules_facts facts = { .client = { .addr = { ADDR_V4, { 192, 0, 2, 1 } } } };
	struct rules_eval eval;
	rules_options_defaults(&options);
	assert_int_equal(rules_source_from_text(SPAN_LIT("rules"), span_of(rule_text), &source), 0);
	assert_int_equal(rules_source_add(source, SPAN_LIT("/t"), span_of(table)), 0);
	assert_int_equal(rules_compile(source, &options, NULL, &rules), 0);
	rules_eval_start(&eval, rules, &facts, span_of(from), span_of(to), NULL);
	while (rules_eval_run(&eval, out) == STEP_WAIT) {
		const struct fact *f = facts_next_unasked(&facts, 0);
		assert_non_null(f);
		assert_int_equal(f->key.kind, FACT_NAME);
		if (name_state > 0)
			(void)facts_settle_present(&facts, f->id, &(struct fact_value){ .text = SPAN_LIT("mail.client.example") });
		else if (name_state == 0)
			(void)facts_settle_absent(&facts, f->id, SPAN_NONE);
		else
			(void)facts_settle_failed(&facts, f->id, SPAN_LIT("time-out"));
	}
	rules_eval_end(&eval);
	facts_free(&facts);
	rules_release(&rules);
	rules_source_release(&source);
}

static void test_rule(void **state)
{
	static const char two[] = "access:/t\nnoto:ALL:ALL:ALL:551 end\n";
	struct rules_verdict v;
	(void)state;
	judge("192.0.2 RELAY\n", two, 0, "a@b.c", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_ALLOW);
	assert_int_equal(v.rule_line, 1);
	judge("192.0.2 RELAY\nFrom:b.c 553 not you\n", two, 0, "<a@b.c>", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_NOTO);
	assert_string_equal(v.reply, "553 5.7.1 not you");
	judge("To:e.f OK\n", two, -1, "a@b.c", "<d@e.f>", &v);
	assert_int_equal(v.kind, VERDICT_ALLOW);
	judge("To:g.h OK\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_string_equal(v.reply, "551 5.7.1 end");
	/* The name decides, and is asked for only where it can. */
	judge("client.example REJECT\nTo:e.f OK\n", two, 1, "a@b.c", "d@e.f", &v);
	assert_string_equal(v.reply, "550 5.7.1 Access denied");
	judge("client.example REJECT\nTo:e.f OK\n", two, 0, "a@b.c", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_ALLOW);
	judge("client.example REJECT\nTo:e.f OK\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_TEMPFAIL);
	assert_int_equal(v.rule_line, 1);
	assert_non_null(strstr(v.unknown_reason, "time-out"));
	judge("client.example OK\nTo:e.f REJECT\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_string_equal(v.reply, "550 5.7.1 Access denied");
	/* ... nor when it would say the same. */
	judge("client.example REJECT\nFrom:b.c REJECT\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_string_equal(v.reply, "550 5.7.1 Access denied");
	judge("client.example REJECT\nother.example 550 away\nFrom:b.c REJECT\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_TEMPFAIL);
	judge("client.example 550 away\nFrom:b.c REJECT\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_TEMPFAIL);
	judge("client.example OK\n", two, -1, "a@b.c", "d@e.f", &v);
	assert_int_equal(v.kind, VERDICT_TEMPFAIL);
	/* An unknown rule in front is no matter when the table comes to the same end. */
	judge("192.0.2 550 5.7.1 no\n", "noto:mail.x:ALL:ALL:550 5.7.1 no\naccess:/t\n", -1, "a@b.c", "d@e.f", &v);
	assert_string_equal(v.reply, "550 5.7.1 no");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_seed),   cmocka_unit_test(test_longest_wins), cmocka_unit_test(test_tags), cmocka_unit_test(test_values),
		cmocka_unit_test(test_ipv6),   cmocka_unit_test(test_errors),	    cmocka_unit_test(test_like_naive), cmocka_unit_test(test_rule),
		cmocka_unit_test(test_every_form), cmocka_unit_test(test_warnings),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
