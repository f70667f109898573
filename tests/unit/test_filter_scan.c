/* One message and the content filter: lines, decoded text and names of attachments, however the bytes are cut. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "filter_scan.h"

static struct filter_set *compile(const char *text)
{
	struct rules_diags diags = { 0 };
	struct filter_set *set = NULL;
	if (filter_set_compile(SPAN_LIT("f"), span_of(text), &diags, &set) != 0)
		fail_msg("%s", diags.first ? diags.first->text.ptr : "?");
	rules_diags_free(&diags);
	return set;
}

/* "RULE kind text", or "pass", in pieces of `cut` bytes. */
static void scan(struct filter_set *set, struct span message, size_t cut, char *out, size_t cap)
{
	struct filter_scan *s = NULL;
	struct filter_result result;
	assert_int_equal(filter_scan_create(set, &s), 0);
	for (size_t at = 0; at < message.len; at += cut) {
		struct span piece = span_sub(message, at, at + cut);
		char *copy = malloc(piece.len);
		memcpy(copy, piece.ptr, piece.len);
		filter_scan_push_all(s, (struct span){ copy, piece.len });
		free(copy);
	}
	filter_scan_end(s, &result);
	if (result.outcome == FILTER_MATCHED)
		(void)snprintf(out, cap, "%u %s %.*s", result.rule_line, filter_kind_name(result.kind), SPAN_FMT(result.text));
	else
		(void)snprintf(out, cap, "%s", result.outcome == FILTER_PASS ? "pass" : result.why);
	filter_scan_destroy(&s);
	assert_null(s);
}

static void expect(const char *filter, const char *message, const char *expected)
{
	static const size_t cuts[] = { 1, 2, 3, 7, 64, 1u << 20 };
	struct filter_set *set = compile(filter);
	char out[512];
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		scan(set, span_of(message), cuts[i], out, sizeof out);
		if (strcmp(out, expected) != 0)
			fail_msg("%s (cut at %zu), expected %s\n%s", out, cuts[i], expected, filter);
	}
	filter_set_release(&set);
}

static const char message[] =
	"From: a@b.example\r\n"
	"Subject: =?utf-8?B?R3LDvMOfZSBhdXM=?= =?iso-8859-1?Q?_K=F6ln?=\r\n"
	"MIME-Version: 1.0\r\n"
	"Content-Type: multipart/mixed; boundary=\"out\"\r\n"
	"\r\n"
	"preamble\r\n"
	"--out\r\n"
	"Content-Type: multipart/alternative; boundary=\"in\"\r\n"
	"\r\n"
	"--in\r\n"
	"Content-Type: text/plain; charset=windows-1251\r\n"
	"Content-Transfer-Encoding: quoted-printable\r\n"
	"\r\n"
	"=CF=F0=E8=E2=E5=F2 you can=\r\n"
	"not miss it\r\n"
	"--in\r\n"
	"Content-Type: text/html; charset=utf-8\r\n"
	"Content-Transfer-Encoding: base64\r\n"
	"\r\n"
	"PGI+QnV5IHZpYWdyYSBub3c8L2I+CuS7iuaXpeOBrw==\r\n"
	"--in--\r\n"
	"--out\r\n"
	"Content-Type: application/octet-stream; name*0*=utf-8''love%20let; name*1=ter.VBS\r\n"
	"Content-Transfer-Encoding: base64\r\n"
	"\r\n"
	"AAAA\r\n"
	"--out--\r\n"
	"..dots\r\n"
	".\r\n";

static void test_kinds(void **state)
{
	(void)state;
	expect("viagra\n", message, "pass");
	expect("decode: viagra\n", message, "1 decode <b>Buy viagra now</b>");
	expect("decode: cannot miss\n", message, "1 decode \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 you cannot miss it");
	expect("decode: \xd0\xbf\xd1\x80\xd0\x98\xd0\x92\xd0\xb5\n", message, "1 decode \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82 you cannot miss it");
	expect("decode: \xe4\xbb\x8a\xe6\x97\xa5\n", message, "1 decode \xe4\xbb\x8a\xe6\x97\xa5\xe3\x81\xaf");
	expect("decode: ^subject: gr\xc3\x9c\xc3\x9f" "e aus k.ln$\n", message, "1 decode Subject: Gr\xc3\xbc\xc3\x9f" "e aus K\xc3\xb6ln");
	expect("attachment: \\.vbs$\n", message, "1 attachment love letter.VBS");
	expect("attachment: ^love letter\n", message, "1 attachment love letter.VBS");
	expect("attachment: viagra\n", message, "pass");
	expect("decode: AAAA\n", message, "pass");
	expect("^AAAA$\n", message, "1 line AAAA");
	expect("^\\.dots$\n", message, "1 line .dots");
	expect("^dots\n^\\.$\n", message, "pass");
	expect("# nothing\n", message, "pass");
	expect("nothere\nFROM:.*b\\.example\n", message, "2 line From: a@b.example");
}

static void test_order(void **state)
{
	(void)state;
	/* Of several kinds, and of several rules of one line. */
	expect("attachment: vbs\ndecode: viagra\npreamble\n", message, "3 line preamble");
	expect("attachment: vbs\ndecode: viagra\n", message, "2 decode <b>Buy viagra now</b>");
	expect("now\nVIA\ndecode: zzzz\ndecode: [vw].agra\ndecode: now\ndecode: viagra\n", message, "4 decode <b>Buy viagra now</b>");
}

static void test_equal_letters(void **state)
{
	static const char strange[] = "Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nTa\xe2\x84\xaa" "e pa\xc5\xbf\xc5\xbfword\r\n.\r\n";
	(void)state;
	expect("decode: take password\n", strange, "1 decode Take password");
}

static void test_unfinished(void **state)
{
	(void)state;
	/* What the client did not end is looked at all the same. */
	expect("decode: viagra\n", "Content-Transfer-Encoding: base64\r\n\r\ndmlhZ3Jh", "1 decode viagra");
	expect("half\n", "Subject: half", "1 line Subject: half");
	expect("^$\n", "", "pass");
}

static void test_long_text(void **state)
{
	/* A base64 part that is one line of 300,000 bytes when it is decoded; what matches lies behind. */
	const size_t lines = 5264;
	char *text = malloc(lines * 78 + 200), *at = text, out[512];
	struct filter_set *set = compile("decode: end$\nattachment: x\n");
	(void)state;
	at += sprintf(at, "Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n");
	for (size_t i = 0; i < lines; i++) {
		for (unsigned j = 0; j < 19; j++)
			at += sprintf(at, "YWFh");
		at += sprintf(at, "\r\n");
	}
	at += sprintf(at, "IGVuZA==\r\n.\r\n");
	static const size_t cuts[] = { 1000, 65536, 1u << 20 };
	for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
		scan(set, (struct span){ text, (size_t)(at - text) }, cuts[i], out, sizeof out);
		assert_int_equal(strncmp(out, "1 decode aaa", 12), 0);
		assert_int_equal(strlen(out), strlen("1 decode ") + FILTER_TEXT_CAP);
	}
	filter_set_release(&set);
	free(text);
}

/* A message that is made to be slow takes one slice of it a call, whatever is pushed at once, and the verdict is the one of all in one go. */
static void test_slices(void **state)
{
	enum { LINE = 200, LINES = 1000 };
	struct filter_set *set = compile("\\(a\\|b\\|[ab]x\\)*[0-9]-c\nthe end$\ndecode: \\(a\\|b\\|[ab]x\\)*[0-9]-c\n");
	static char text[LINE * LINES + 32];
	struct filter_scan *s = NULL;
	struct filter_result whole, sliced;
	size_t len = 0, turns = 0;
	(void)state;
	text[len++] = '\r';
	text[len++] = '\n';
	for (unsigned i = 0; i < LINES; i++, len += LINE) {
		memset(text + len, i % 2 ? 'a' : 'b', LINE - 2);
		memcpy(text + len + LINE - 6, "zz-c\r\n", 6);
	}
	len += (size_t)sprintf(text + len, "this is the END\r\n.\r\n");
	assert_int_equal(filter_scan_create(set, &s), 0);
	filter_scan_push_all(s, (struct span){ text, len });
	filter_scan_end(s, &whole);
	filter_scan_destroy(&s);
	assert_int_equal(filter_scan_create(set, &s), 0);
	bool is_done = filter_scan_push(s, span_sub((struct span){ text, len }, 0, len / 2));
	assert_false(is_done); /* not even half of it in one slice */
	/* More before it is done with: it waits as well. */
	is_done = filter_scan_push(s, span_sub((struct span){ text, len }, len / 2, len));
	for (; !is_done; turns++)
		is_done = filter_scan_go_on(s);
	for (is_done = filter_scan_finish(s); !is_done; turns++)
		is_done = filter_scan_go_on(s);
	filter_scan_tell(s, &sliced);
	filter_scan_destroy(&s);
	assert_true(turns > 3);
	assert_int_equal(whole.outcome, sliced.outcome);
	assert_int_equal(whole.rule_line, sliced.rule_line);
	filter_set_release(&set);
}

static void test_held_set(void **state)
{
	struct filter_set *set = compile("x\n");
	struct filter_scan *s = NULL;
	struct filter_result result;
	(void)state;
	assert_int_equal(filter_scan_create(set, &s), 0);
	assert_true(filter_set_is_shared(set));
	filter_set_release(&set);
	filter_scan_push_all(s, SPAN_LIT("ax\r\n"));
	filter_scan_end(s, &result);
	assert_int_equal(result.outcome, FILTER_MATCHED);
	filter_scan_destroy(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_equal_letters),
		cmocka_unit_test(test_unfinished),
		cmocka_unit_test(test_long_text),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_held_set),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
