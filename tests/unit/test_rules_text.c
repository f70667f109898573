/* The small parts: wildcards, regexes, three-valued logic, lines, fields, words, messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "glob.h"
#include "regex.h"
#include "rules_lex.h"
#include "rules_message.h"
#include "tri.h"

static bool glob(const char *pattern, const char *text)
{
	return glob_match(span_of(pattern), span_of(text));
}

static void test_glob(void **state)
{
	(void)state;
	assert_true(glob("*", ""));
	assert_true(glob("", ""));
	assert_false(glob("", "a"));
	assert_false(glob("a", ""));
	assert_true(glob("*.FOO.com", "mail.foo.COM"));
	assert_false(glob("*.foo.com", "foo.com"));
	assert_true(glob("a*b*c", "a-b-b-c"));
	assert_false(glob("a*b*c", "a-c-b"));
	assert_true(glob("*ab", "aab"));
	assert_false(glob("a?", "ab"));
	assert_true(glob("192.168.20.*", "192.168.20.7"));
}

static void test_glob_is_not_exponential(void **state)
{
	static char pattern[2001], text[4001];
	(void)state;
	for (size_t i = 0; i < 2000; i++)
		pattern[i] = i % 2 ? 'a' : '*';
	memset(text, 'a', 4000);
	pattern[1999] = 'b';
	assert_false(glob(pattern, text));
}

static enum tri regex(enum regex_syntax syntax, const char *expression, const char *text)
{
	struct regex *r = NULL;
	struct reason why;
	if (regex_compile(span_of(expression), syntax, &r, &why))
		fail_msg("%s: %s", expression, why.text);
	enum tri result = regex_match(r, span_of(text));
	regex_destroy(&r);
	assert_null(r);
	return result;
}

static void test_regex(void **state)
{
	struct regex *r = NULL;
	struct reason why;
	(void)state;
	assert_int_equal(regex(REGEX_EXTENDED, "^(dial|ppp)[0-9]+\\.", "PPP12.isp.net"), TRI_TRUE);
	assert_int_equal(regex(REGEX_EXTENDED, "^(dial|ppp)[0-9]+\\.", "xppp12.isp.net"), TRI_FALSE);
	assert_int_equal(regex(REGEX_EXTENDED, "[[:digit:]]{3}$", "a123"), TRI_TRUE);
	assert_int_equal(regex(REGEX_EXTENDED, "a", ""), TRI_FALSE);
	/* Basic: + and | are plain, \{ \} counts; the seeds' filter file. */
	assert_int_equal(regex(REGEX_BASIC, "a+b", "a+b"), TRI_TRUE);
	assert_int_equal(regex(REGEX_BASIC, "a+b", "aab"), TRI_FALSE);
	assert_int_equal(regex(REGEX_BASIC, "^\\(x\\)\\{2\\}$", "xx"), TRI_TRUE);
	assert_int_equal(regex(REGEX_BASIC, "name\\=\".*\\.vbs\"", "Content-Type: a; NAME=\"love.vbs\""), TRI_TRUE);
	assert_int_equal(regex(REGEX_BASIC, "From: Friend@public.com", "from: friend@public.com"), TRI_TRUE);
	assert_int_equal(regex_compile(SPAN_LIT("a("), REGEX_EXTENDED, &r, &why), ERR_SYNTAX);
	assert_int_equal(regex_compile(SPAN_LIT("["), REGEX_EXTENDED, &r, &why), ERR_SYNTAX);
	assert_int_equal(regex_compile(SPAN_LIT("a\\"), REGEX_EXTENDED, &r, &why), ERR_SYNTAX);
	assert_int_equal(regex_compile(SPAN_LIT(""), REGEX_BASIC, &r, &why), ERR_SYNTAX);
	assert_null(r);
}

static void test_regex_limit_is_unknown(void **state)
{
	(void)state;
	assert_int_equal(regex(REGEX_EXTENDED, "^(a|aa|aaa)*(a|aa|aaa)*[bd]$", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"), TRI_UNKNOWN);
}

static void test_tri(void **state)
{
	(void)state;
	assert_int_equal(tri_and(TRI_FALSE, TRI_UNKNOWN), TRI_FALSE);
	assert_int_equal(tri_and(TRI_FALSE, TRI_PENDING), TRI_FALSE);
	assert_int_equal(tri_and(TRI_TRUE, TRI_UNKNOWN), TRI_UNKNOWN);
	assert_int_equal(tri_and(TRI_PENDING, TRI_UNKNOWN), TRI_PENDING);
	assert_int_equal(tri_or(TRI_PENDING, TRI_UNKNOWN), TRI_PENDING);
	assert_int_equal(tri_or(TRI_TRUE, TRI_UNKNOWN), TRI_TRUE);
	assert_int_equal(tri_or(TRI_FALSE, TRI_UNKNOWN), TRI_UNKNOWN);
	assert_int_equal(tri_not(TRI_UNKNOWN), TRI_UNKNOWN);
	assert_int_equal(tri_not(TRI_FALSE), TRI_TRUE);
}

static void test_lines(void **state)
{
	struct arena arena = { 0 };
	struct rules_lex lex = { .file = SPAN_LIT("f"), .rest = SPAN_LIT("one\r\n\ntwo\\\n  three\\\r\nfour\nlast\\"), .arena = &arena };
	struct lex_line line;
	(void)state;
	assert_int_equal(rules_lex_next(&lex, &line), 0);
	assert_true(span_eq(line.text, SPAN_LIT("one")));
	assert_int_equal(rules_lex_next(&lex, &line), 0);
	assert_int_equal(line.text.len, 0);
	assert_int_equal(rules_lex_next(&lex, &line), 0);
	assert_true(span_eq(line.text, SPAN_LIT("two  threefour")));
	assert_int_equal(line.line, 3);
	struct rules_place place = lex_place(&line, line.text.ptr + 5);
	assert_int_equal(place.line, 4);
	assert_int_equal(place.column, 3);
	place = lex_place(&line, line.text.ptr + 10);
	assert_int_equal(place.line, 5);
	assert_int_equal(place.column, 1);
	assert_int_equal(rules_lex_next(&lex, &line), 0);
	assert_true(span_eq(line.text, SPAN_LIT("last")));
	assert_int_equal(rules_lex_next(&lex, &line), ERR_EOF);
	arena_free(&arena);
}

static void test_fields(void **state)
{
	struct span f[RULES_FIELDS_MAX];
	(void)state;
	assert_int_equal(lex_fields(SPAN_LIT("a: [2001:db8::]/32 x :c"), f), 3);
	assert_true(span_eq(f[1], SPAN_LIT("[2001:db8::]/32 x")));
	assert_int_equal(lex_fields(SPAN_LIT("a:/[[:alpha:]]+/:c:d"), f), 4);
	assert_true(span_eq(f[1], SPAN_LIT("/[[:alpha:]]+/")));
	/* A bracket that is escaped, or never closed, protects nothing. */
	assert_int_equal(lex_fields(SPAN_LIT("a:/^\\[x/:c:d]"), f), 4);
	assert_int_equal(lex_fields(SPAN_LIT("a:[x y:c:d]"), f), 4);
	assert_int_equal(lex_fields(SPAN_LIT("a:b:c:d:e:f:g"), f), 6);
	assert_true(span_eq(f[5], SPAN_LIT("f:g")));
	assert_int_equal(lex_fields(SPAN_LIT(""), f), 1);
}

static void test_words(void **state)
{
	struct span rest = SPAN_LIT(" a,b\t/x, y\\/z/@q HELO=/a b/ FILE=/etc/x 10.0.0.0/8 /open end"), word;
	const char *const expected[] = { "a", "b", "/x, y\\/z/@q", "HELO=/a b/", "FILE=/etc/x", "10.0.0.0/8", "/open", "end" };
	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		assert_true(lex_word(&rest, &word));
		assert_true(span_eq(word, span_of(expected[i])));
	}
	assert_false(lex_word(&rest, &word));
}

static void check_message(const char *text, const char *expected)
{
	struct arena arena = { 0 };
	struct rules_message message;
	struct rules_facts facts = { .client.addr = { .family = ADDR_V4, .bytes = { 192, 0, 2, 1 } } };
	struct reason why = { "" };
	char reply[VERDICT_REPLY_CAP];
	size_t at = 999;
	int err = rules_message_parse(&arena, span_of(text), &message, &at, &why);
	if (expected) {
		assert_int_equal(err, 0);
		rules_message_render(&message, &facts, SPAN_LIT("a\r\n\xff@b"), SPAN_LIT("c@d"), reply);
		assert_string_equal(reply, expected);
	} else {
		assert_int_equal(err, ERR_SYNTAX);
		assert_true(at < strlen(text) + 1);
		assert_true(why.text[0]);
	}
	arena_free(&arena);
}

static void test_messages(void **state)
{
	(void)state;
	check_message("550 no", "550 5.7.1 no");
	check_message("450 later", "450 4.7.1 later");
	check_message("551 5.1.6 moved", "551 5.1.6 moved");
	check_message("550", "550 5.7.1");
	check_message("550 5.7 x", "550 5.7.1 5.7 x");
	check_message("550 %F %T %H %I %U http%C//x 100%%", "550 5.7.1 a???@b c@d UNKNOWN 192.0.2.1 UNKNOWN http://x 100%");
	check_message("550 4.7.1 no", NULL);
	check_message("250 ok", NULL);
	check_message("399 x", NULL);
	check_message("600 x", NULL);
	check_message("no code", NULL);
	check_message("5500 x", NULL);
	check_message("550-x", NULL);
	check_message("550 %X", NULL);
	check_message("550 %", NULL);
}

static void test_message_is_capped(void **state)
{
	struct arena arena = { 0 };
	struct rules_message message;
	struct rules_facts facts = { 0 };
	struct reason why;
	static char long_value[400], text[1200];
	char reply[VERDICT_REPLY_CAP];
	size_t at;
	(void)state;
	memset(long_value, 'x', sizeof long_value);
	memset(text, 'y', sizeof text);
	memcpy(text, "550 %F ", 7);
	assert_int_equal(rules_message_parse(&arena, (struct span){ text, sizeof text }, &message, &at, &why), 0);
	rules_message_render(&message, &facts, (struct span){ long_value, sizeof long_value }, SPAN_NONE, reply);
	assert_int_equal(strlen(reply), 510);
	assert_int_equal(strspn(reply + 10, "x"), 128);
	arena_free(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_glob),
		cmocka_unit_test(test_glob_is_not_exponential),
		cmocka_unit_test(test_regex),
		cmocka_unit_test(test_regex_limit_is_unknown),
		cmocka_unit_test(test_tri),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_fields),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_message_is_capped),
	};
	return cmocka_run_group_tests_name("rules_text", tests, NULL, NULL);
}
