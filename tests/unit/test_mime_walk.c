/* The walk through messages: what mail programs show of them.  Each message whole, byte by byte and cut at each position, in wire form and plain. */
#include "mime_walk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "buf.h"
#include "mime_param.h"
#include "smtp_dot.h"

/* "H:" fields, "T:" lines and "N:" names, one a line; pieces of one are joined. */
struct record {
	struct buf text;
	enum mime_kind kind;
	bool is_open;
	unsigned flags;
};

static void take(void *owner, const struct mime_piece *piece)
{
	struct record *r = owner;
	assert_true(piece->text.len <= MIME_PIECE_MAX);
	assert_int_equal(piece->is_first, !r->is_open);
	assert_true(piece->is_first || piece->kind == r->kind);
	if (piece->is_first)
		assert_int_equal(buf_printf(&r->text, "%c:", "HTN"[piece->kind]), 0);
	assert_int_equal(buf_append_span(&r->text, piece->text), 0);
	if (piece->is_last)
		assert_int_equal(buf_append(&r->text, "\n", 1), 0);
	r->is_open = !piece->is_last;
	r->kind = piece->kind;
}

static struct mime_walk *begin(enum mime_form form, struct record *r)
{
	struct mime_walk *walk = NULL;
	*r = (struct record){ .is_open = false };
	assert_int_equal(mime_walk_open(form, take, r, &walk), 0);
	return walk;
}

static void end(struct mime_walk **walk, struct record *r)
{
	assert_int_equal(mime_walk_finish(*walk), 0);
	assert_false(r->is_open);
	r->flags = mime_walk_flags(*walk);
	mime_walk_close(walk);
	assert_int_equal(buf_append(&r->text, "", 1), 0);
}

static void walk_cut(enum mime_form form, struct span message, size_t step, size_t cut, struct record *out)
{
	struct mime_walk *walk = begin(form, out);
	for (size_t at = 0; at < message.len;) {
		size_t to = at < cut ? cut : at + step;
		/* A copy, so that a sanitizer sees what is read beyond the piece. */
		struct span piece = span_sub(message, at, to);
		char *copy = malloc(piece.len ? piece.len : 1);
		assert_non_null(copy);
		memcpy(copy, piece.ptr, piece.len);
		assert_int_equal(mime_walk_push(walk, (struct span){ copy, piece.len }), 0);
		free(copy);
		at = to;
	}
	end(&walk, out);
}

static void check(struct span message, const char *expected, unsigned flags)
{
	struct record r;
	struct buf wire = { .cap = 0 };
	struct smtp_dot dot;
	walk_cut(MIME_PLAIN, message, SIZE_MAX / 2, 0, &r);
	if (strcmp(r.text.data, expected) != 0)
		print_error("got:\n%s\nexpected:\n%s\n", r.text.data, expected);
	assert_string_equal(r.text.data, expected);
	assert_int_equal(r.flags, flags);
	buf_free(&r.text);
	walk_cut(MIME_PLAIN, message, 1, 0, &r);
	assert_string_equal(r.text.data, expected);
	buf_free(&r.text);
	for (size_t cut = 1; cut < message.len; cut++) {
		walk_cut(MIME_PLAIN, message, SIZE_MAX / 2, cut, &r);
		assert_string_equal(r.text.data, expected);
		buf_free(&r.text);
	}
	if (memchr(message.ptr, '\0', message.len) || memchr(message.ptr, '\r', message.len))
		return;
	smtp_dot_init(&dot);
	assert_int_equal(smtp_dot_push(&dot, message, &wire), 0);
	assert_int_equal(smtp_dot_finish(&dot, &wire), 0);
	for (size_t step = 1; step < 8; step += 2) {
		walk_cut(MIME_WIRE, buf_span(&wire), step, 0, &r);
		assert_string_equal(r.text.data, expected);
		buf_free(&r.text);
	}
	buf_free(&wire);
}

#define CHECK(message, expected) check(SPAN_LIT(message), expected, 0)

static void test_plain(void **unused)
{
	(void)unused;
	CHECK("", "");
	CHECK("\n", "");
	CHECK("Subject: hello\n\none\n..two\n\n.\nthree", "H:Subject: hello\nT:one\nT:..two\nT:\nT:.\nT:three\n");
	CHECK("Subject: a\n b\n\tc\nTo:x\n\n", "H:Subject: a b\tc\nH:To: x\n");
	CHECK("From me Mon Jan  1 00:00:00 2001\nA: b\n\nc\n", "H:A: b\nT:c\n");
	CHECK("A: b\r\rc\rd\n\r\ne\r\n", "H:A: b\nT:c\nT:d\nT:\nT:e\n");
	CHECK("A : b\n\n", "H:A: b\n");
	/* No empty line behind the header. */
	CHECK("A: b\nwords\nC: d\n\nmore\n", "H:A: b\nT:words\nT:C: d\nT:\nT:more\n");
	CHECK("no header\n", "T:no header\n");
	CHECK("A: b", "H:A: b\n");
	/* Bytes of no charset. */
	CHECK("A: \xe4 \xc3\xa4\n\n\xe4\xc3\xa4\xe2\x82\n", "H:A: \xc3\xa4 \xc3\xa4\nT:\xc3\xa4\xc3\xa4\xc3\xa2\xe2\x80\x9a\n");
}

static void test_words(void **unused)
{
	(void)unused;
	CHECK("Subject: =?utf-8?B?w6RiYw==?=\n\n", "H:Subject: \xc3\xa4" "bc\n");
	CHECK("Subject: =?iso-8859-1?Q?a=E4_b?= c\n\n", "H:Subject: a\xc3\xa4 b c\n");
	CHECK("Subject: =?us-ascii?q?a?= \n =?us-ascii*en?Q?b?=\n\n", "H:Subject: ab\n");
	CHECK("Subject: =?utf-8?q?=C3?= =?utf-8?q?=A4?=\n\n", "H:Subject: \xc3\xa4\n");
	CHECK("Subject: x=?utf-8?q?a?=y=?utf-8?q?b?=z\n\n", "H:Subject: xaybz\n");
	CHECK("Subject: =?koi8-r?B?8NLJ18XU?=\n\n", "H:Subject: \xd0\x9f\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82\n");
	CHECK("Subject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\n\n", "H:Subject: \xe6\x97\xa5\xe6\x9c\xac\n");
	CHECK("Subject: =?gb2312?B?1tC5+g==?=\n\n", "H:Subject: \xe4\xb8\xad\xe5\x9b\xbd\n");
	CHECK("Subject: =?no-such?Q?=E4?= =?x?y?z?= =?a?= =?\n\n", "H:Subject: \xc3\xa4 =?x?y?z?= =?a?= =?\n");
	CHECK("Subject: =?utf-8?q?a b?=\n\n", "H:Subject: a b\n");
}

static void test_encodings(void **unused)
{
	(void)unused;
	CHECK("Content-Transfer-Encoding: base64\n\naGVs\nbG8K\nd29ybGQ=\n", "H:Content-Transfer-Encoding: base64\nT:hello\nT:world\n");
	CHECK("Content-Transfer-Encoding: BASE64 (yes)\n\naG!Vs bG8=aGk\n", "H:Content-Transfer-Encoding: BASE64 (yes)\nT:hellohi\n");
	CHECK("Content-Transfer-Encoding: quoted-printable\n\na=3Db=\n c= \nd=zz=4\n=", "H:Content-Transfer-Encoding: quoted-printable\nT:a=b cd=zz=4\n");
	CHECK("Content-Type: text/plain; charset=koi8-r\n\n\xd0\xd2\n", "H:Content-Type: text/plain; charset=koi8-r\nT:\xd0\xbf\xd1\x80\n");
	CHECK("Content-Type: text/plain; charset=\"utf-16\"\nContent-Transfer-Encoding: base64\n\n/v8AaABpAAoAeA==\n",
	      "H:Content-Type: text/plain; charset=\"utf-16\"\nH:Content-Transfer-Encoding: base64\nT:hi\nT:x\n");
	CHECK("Content-Type: text/plain; charset=shift_jis\n\n\x83\x5c" "a\n", "H:Content-Type: text/plain; charset=shift_jis\nT:\xe3\x82\xbd" "a\n");
	/* Said twice. */
	CHECK("Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n",
	      "H:Content-Transfer-Encoding: 7bit\nH:Content-Transfer-Encoding: base64\nT:hello\n");
	CHECK("Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n\nhello, you\n",
	      "H:Content-Transfer-Encoding: base64\nH:Content-Transfer-Encoding: 7bit\nT:hello, you\n");
	CHECK("Content-Transfer-Encoding: base64 x\n\nhello, you\n", "H:Content-Transfer-Encoding: base64 x\nT:hello, you\n");
	CHECK("Content-Transfer-Encoding: =?us-ascii?q?base64?=\n\naGVsbG8=\n", "H:Content-Transfer-Encoding: base64\nT:hello\n");
	/* Padding where none can be. */
	check(SPAN_LIT("Content-Transfer-Encoding: base64\n\naG=VsbG=8=aGk=\n"), "H:Content-Transfer-Encoding: base64\nT:hellohi\n", MIME_FLAG_BASE64);
	check(SPAN_LIT("Content-Transfer-Encoding: base64\n\na=Gk\n"), "H:Content-Transfer-Encoding: base64\nT:hi\n", MIME_FLAG_BASE64);
	CHECK("Content-Transfer-Encoding: base64\n\naA==aGk==a\nQ=\n", "H:Content-Transfer-Encoding: base64\nT:hhii\n");
	/* The mark of UTF-16, in what does not say that it is; one byte of it is none. */
	CHECK("Content-Transfer-Encoding: base64\n\n//5oAGkA\n", "H:Content-Transfer-Encoding: base64\nT:hi\n");
	CHECK("Content-Type: a/b\nContent-Transfer-Encoding: base64\n\n/v8AaABp\n", "H:Content-Type: a/b\nH:Content-Transfer-Encoding: base64\nT:hi\n");
	CHECK("\n\xff\n", "T:\xc3\xbf\n");
	/* Which charset? */
	check(SPAN_LIT("Content-Type: text/plain; charset=us-ascii; charset*=x''utf-7\n\na\n"),
	      "H:Content-Type: text/plain; charset=us-ascii; charset*=x''utf-7\nT:a\n", MIME_FLAG_CHARSET);
	CHECK("Content-Type: text/plain; charset=koi8-r; charset*0=KOI8; charset*1=-r\n\n\xd0\n",
	      "H:Content-Type: text/plain; charset=koi8-r; charset*0=KOI8; charset*1=-r\nT:\xd0\xbf\n");
	/* A body without an empty line in front. */
	CHECK("Content-Transfer-Encoding: base64\naGVsbG8=\n", "H:Content-Transfer-Encoding: base64\nT:hello\n");
	/* What is no text, and what only says so. */
	CHECK("Content-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgoAAAANSUhEUgo=\n",
	      "H:Content-Type: image/png\nH:Content-Transfer-Encoding: base64\n");
	CHECK("Content-Type: application/octet-stream\n\nbuy now\n", "H:Content-Type: application/octet-stream\nT:buy now\n");
}

#define MIXED "Content-Type: multipart/mixed; boundary=\"b\"\n"
#define H_MIXED "H:Content-Type: multipart/mixed; boundary=\"b\"\n"

static void test_multiparts(void **unused)
{
	(void)unused;
	CHECK(MIXED "\npreamble\n--b\n\none\n--b\nContent-Type: text/html\n\n<p>\n--b--\nepilogue\n",
	      H_MIXED "T:preamble\nT:one\nH:Content-Type: text/html\nT:<p>\nT:epilogue\n");
	/* Nested, the inner one not closed; its boundary begins like the outer one. */
	CHECK(MIXED "\n--b\nContent-Type: multipart/alternative; boundary=bb\n\n--bb\n\none\n--bb \t\n\ntwo\n--b\n\nthree\n--b--\n",
	      H_MIXED "H:Content-Type: multipart/alternative; boundary=bb\nT:one\nT:two\nT:three\n");
	/* The same boundary in both. */
	CHECK(MIXED "\n--b\n" MIXED "\n--b\n\none\n--b--\n--b\nA: b\n\ntwo\n--b--\n", H_MIXED H_MIXED "T:one\nH:A: b\nT:two\n");
	/* Parts behind the end. */
	CHECK(MIXED "\n--b--\n--b\nA: b\n\none\n", H_MIXED "H:A: b\nT:one\n");
	/* More behind the boundary (RFC 2046 section 5.1.1), and a boundary that is not one of ours. */
	CHECK(MIXED "\n--b junk\nA: b\n\none\n--c\ntwo\n", H_MIXED "H:A: b\nT:one\nT:--c\nT:two\n");
	CHECK("Content-Type: multipart; boundary=b\n\n--b\nA: b\n\n", "H:Content-Type: multipart; boundary=b\nH:A: b\n");
	/* No boundary named, none used, no end of the header. */
	CHECK("Content-Type: multipart/mixed\n\n--x\nA: b\n\none\n--x--\n", "H:Content-Type: multipart/mixed\nH:A: b\nT:one\n");
	CHECK(MIXED "\nwords\n", H_MIXED "T:words\n");
	CHECK(MIXED "--b\nA: b\n\none\n", H_MIXED "H:A: b\nT:one\n");
	CHECK(MIXED " \n--b\nA: b\n--b\nC: d\n\none\n", H_MIXED "H:A: b\nH:C: d\nT:one\n");
	/* Two types, two boundaries. */
	CHECK("Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=a; boundary=b\n\n--a\nA: b\n\n--b\nC: d\n\n",
	      "H:Content-Type: text/plain\nH:Content-Type: multipart/mixed; boundary=a; boundary=b\nH:A: b\nH:C: d\n");
	CHECK("Content-Type: multipart/mixed; boundary*0=a; boundary*1=%62\n\n--a%62\nA: b\n\n",
	      "H:Content-Type: multipart/mixed; boundary*0=a; boundary*1=%62\nH:A: b\n");
	CHECK("Content-Type: multipart/digest; boundary=b\n\n--b\n\nSubject: x\n\none\n--b--\n",
	      "H:Content-Type: multipart/digest; boundary=b\nH:Subject: x\nT:one\n");
	CHECK("Content-Type: =?us-ascii?q?multipart/mixed=3Bboundary=3Db?=\n\n--b\nA: b\n\none\n", "H:Content-Type: multipart/mixed;boundary=b\nH:A: b\nT:one\n");
	check(SPAN_LIT("Content-Type: multipart/mixed; boundary=\"\"\n\n-- \n--x\nA: b\n\none\n"),
	      "H:Content-Type: multipart/mixed; boundary=\"\"\nT:-- \nH:A: b\nT:one\n", MIME_FLAG_BOUNDARY);
	/* The header of a message is broken, and what matters comes behind. */
	CHECK("A: b\nrubbish\n" MIXED "\n--b\nC: d\n\none\n", "H:A: b\nT:rubbish\nT:Content-Type: multipart/mixed; boundary=\"b\"\nH:C: d\nT:one\n");
}

static void test_messages(void **unused)
{
	(void)unused;
	CHECK("Content-Type: message/rfc822\n\nSubject: in\n\nbody\n", "H:Content-Type: message/rfc822\nH:Subject: in\nT:body\n");
	CHECK(MIXED "\n--b\nContent-Type: message/rfc822\n\nContent-Transfer-Encoding: base64\n\naGk=\n--b--\nend\n",
	      H_MIXED "H:Content-Type: message/rfc822\nH:Content-Transfer-Encoding: base64\nT:hi\nT:end\n");
	/* Encoded: forbidden, and done. "Subject: in\n\nhi\n" */
	CHECK(MIXED "\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaW4KCmhpCg==\n--b--\n",
	      H_MIXED "H:Content-Type: message/rfc822\nH:Content-Transfer-Encoding: base64\nH:Subject: in\nT:hi\nT:U3ViamVjdDogaW4KCmhpCg==\n");
	/* "--b\nContent-Disposition: attachment; filename=x.exe\n\n" */
	CHECK(MIXED "Content-Transfer-Encoding: base64\n\nLS1iCkNvbnRlbnQtRGlzcG9zaXRpb246IGF0dGFjaG1lbnQ7IGZpbGVuYW1lPXguZXhlCgo=\n",
	      H_MIXED "H:Content-Transfer-Encoding: base64\nH:Content-Disposition: attachment; filename=x.exe\nN:x.exe\n"
	      "T:LS1iCkNvbnRlbnQtRGlzcG9zaXRpb246IGF0dGFjaG1lbnQ7IGZpbGVuYW1lPXguZXhlCgo=\n");
}

/* Encoded as a whole, boundaries and all: what decodes it sees another name than what does not. */
static void test_encoded_multipart(void **unused)
{
	(void)unused;
	CHECK(MIXED "Content-Transfer-Encoding: quoted-printable\n\n--b\nContent-Disposition: x; filename=3Dx=2Eexe\n\nca=66=E9\n--b--\n",
	      H_MIXED "H:Content-Transfer-Encoding: quoted-printable\nH:Content-Disposition: x; filename=x.exe\nN:x.exe\n"
	      "H:Content-Disposition: x; filename=3Dx=2Eexe\nN:3Dx=2Eexe\nT:caf\xc3\xa9\nT:ca=66=E9\n");
}

/* The names alone, joined by "|". */
static void check_names(struct span message, const char *expected)
{
	struct record r;
	char names[4096] = "";
	for (size_t step = SIZE_MAX / 2; step; step = step > 1 ? 1 : 0) {
		walk_cut(MIME_PLAIN, message, step, 0, &r);
		names[0] = '\0';
		struct span rest = { r.text.data, r.text.len - 1 }, line;
		while (span_cut(&rest, '\n', &line))
			if (span_starts_nocase(line, SPAN_LIT("N:")))
				(void)snprintf(names + strlen(names), sizeof names - strlen(names), "%s%.*s", names[0] ? "|" : "",
					       SPAN_FMT(span_sub(line, 2, line.len)));
		assert_string_equal(names, expected);
		buf_free(&r.text);
	}
}

#define NAMES(field, expected) check_names(SPAN_LIT(field "\n\n"), expected)
#define CD "Content-Disposition: attachment; "

static void test_names(void **unused)
{
	(void)unused;
	NAMES(CD "filename=x.exe", "x.exe");
	NAMES(CD "FileName = \"a b.exe\"", "a b.exe");
	NAMES("Content-Type: application/zip; name=\"x.zip\"\n" CD "filename=x.zip", "x.zip");
	NAMES("Content-Type: application/zip name=x.zip", "x.zip");
	NAMES("content-type: application/octet-stream;\n name=\"=?utf-8?B?w6QuZXhl?=\"", "\xc3\xa4.exe");
	NAMES(CD "filename*=utf-8''%c3%a4.exe", "\xc3\xa4.exe");
	NAMES(CD "filename*1=\"e.exe\"; filename*0=\"nam\"", "name.exe");
	NAMES(CD "filename*0*=iso-8859-1'de'%e4; filename*1=b%20; filename*2*=%2eexe", "\xc3\xa4" "b%20.exe");
	/* A byte, and a character, cut in two between sections; but not with one that is not encoded. */
	NAMES(CD "filename*0*=utf-8''a%c3; filename*1*=%a; filename*2*=4%; filename*3*=2eexe", "a\xc3\xa4.exe");
	NAMES(CD "filename*0*=utf-8''x%; filename*1=\"2eexe\"; filename*2*=%2", "x%2eexe%2");
	NAMES(CD "filename*=x.exe", "x.exe");
	NAMES(CD "filename=a.txt; filename*=utf-8''b.exe", "a.txt|b.exe");
	NAMES(CD "filename*0=a.txt; filename*0=b.exe", "a.txt|b.exe");
	NAMES(CD "filename*=utf-8''b.exe; filename*0=a; filename*1=.txt", "b.exe|a.txt");
	/* Disputed: each reading that some program has. */
	NAMES(CD "filename=\"x.exe", "x.exe");
	NAMES(CD "filename=\"x.exe; size=3", "x.exe; size=3|x.exe");
	NAMES(CD "filename=\"x.ex\"e", "x.exe|x.ex");
	NAMES(CD "filename=my file.exe", "my file.exe|my");
	NAMES(CD "filename=x.(comment)exe", "x.exe|x.(comment)exe");
	NAMES(CD "filename=file(1).exe; x=\"", "file.exe|file(1).exe");
	NAMES(CD "filename=(a.exe; x=y", "(a.exe");
	NAMES(CD "filename=\"c:\\dir\\x.exe\"", "c:dirx.exe|c:\\dir\\x.exe");
	NAMES(CD "x=\"; filename=y.exe", "y.exe");
	NAMES(CD "filename=\"a; name=b.exe\"", "a; name=b.exe|b.exe");
	NAMES(CD "filename='a b.exe'", "'a b.exe'|'a|a b.exe");
	NAMES(CD "filename=\"x.exe. .\"", "x.exe. .|x.exe");
	NAMES(CD "filename=\"x.\texe\"", "x.\texe|x.exe");
	NAMES(CD "filename=x.exe\0.txt", "x.exe|x.exe|x.exe.txt"); /* the first is printed up to its NUL */
	NAMES(CD "filename=", "");
	NAMES(CD "filename", "");
	NAMES("Content-Disposition: filename=x.exe", "x.exe");
	NAMES("Content-Type: filename=x.exe", "x.exe");
	NAMES("Content-Description: x; name=y.exe", "");
	NAMES(CD "=?us-ascii?q?filename=3Dx.exe?=", "3Dx.exe?=|x.exe");
	NAMES("Content-Type: =?utf-8?b?YS9iOyBuYW1lPSJ4IHkuZXhlIg==?=", "x y.exe");
	NAMES(CD "filename==?utf-8?q?x=2Eexe?=", "x.exe");
	/* Behind a line that is no field. */
	NAMES("A: b\nrubbish\n" CD "filename=x.exe", "x.exe");
}

static void test_files_in_text(void **unused)
{
	(void)unused;
	check_names(SPAN_LIT("\nsee\nbegin 644 x y.exe\n#86)C\n`\nend\n"), "x y.exe");
	check_names(SPAN_LIT("\nbegin-base64 644 x.exe\nYWJj\n====\n"), "x.exe");
	check_names(SPAN_LIT("\nbegin  x.exe\n#86)C\n`\nend\n"), "x.exe");
	check_names(SPAN_LIT("\nbegin 644 of the story\nIt was a dark and stormy night.\n"), "");
	check_names(SPAN_LIT("\nbegin\t100644\tx.exe\n#86)C\n`\nend\n"), "x.exe");
	check_names(SPAN_LIT("\nbegin with it\n#86)C\n"), "");
	check_names(SPAN_LIT("\n=ybegin line=128 size=123 name=x.exe\n"), "x.exe");
	/* "begin 644 x.exe\n#86)C\n" */
	check_names(SPAN_LIT("Content-Transfer-Encoding: base64\n\nYmVnaW4gNjQ0IHguZXhlCiM4NilDCg==\n"), "x.exe");
}

static void append(struct buf *b, const char *text, size_t times)
{
	for (size_t i = 0; i < times; i++)
		assert_int_equal(buf_append(b, text, strlen(text)), 0);
}

static bool holds(const struct record *r, const char *text)
{
	return strstr(r->text.data, text) != NULL;
}

static void walk_both(struct buf *message, struct record *out)
{
	struct record other;
	walk_cut(MIME_PLAIN, buf_span(message), SIZE_MAX / 2, 0, out);
	walk_cut(MIME_PLAIN, buf_span(message), 7, 0, &other);
	assert_int_equal(out->text.len, other.text.len);
	assert_memory_equal(out->text.data, other.text.data, out->text.len);
	buf_free(&other.text);
	buf_free(message);
}

static void test_bounds(void **unused)
{
	(void)unused;
	struct buf m = { .cap = 0 };
	struct record r;
	/* Long lines come in pieces, whatever they are made of. */
	append(&m, "\n", 1);
	append(&m, "\xe4x", 3 * MIME_PIECE_MAX);
	append(&m, "\nend\n", 1);
	walk_both(&m, &r);
	assert_int_equal(r.text.len, 2 + 9 * (size_t)MIME_PIECE_MAX + 1 + 6 + 1);
	assert_int_equal(r.flags, 0);
	buf_free(&r.text);
	/* A long field: a name at its end, and what is beyond. */
	append(&m, "Content-Disposition: attachment; x=", 1);
	append(&m, "y", MIME_FIELD_MAX - 100);
	append(&m, ";\n filename=x.exe;\n ", 1);
	append(&m, "z", 200);
	append(&m, "\n more\n words\nA: b\n\nbody\n", 1);
	walk_both(&m, &r);
	assert_true(holds(&r, "N:x.exe\n") && holds(&r, "\nT:zzzz") && holds(&r, "\nT: more\nT: words\nH:A: b\nT:body\n"));
	assert_int_equal(r.flags, MIME_FLAG_FIELD);
	buf_free(&r.text);
	/* Many parameters: the name behind them is still found by the simple reader. */
	append(&m, "Content-Type: a/b", 1);
	append(&m, "; name=y", MIME_PARAMS_MAX);
	append(&m, "; name=x.exe\n\n", 1);
	walk_both(&m, &r);
	assert_true(holds(&r, "N:x.exe\n"));
	assert_int_equal(r.flags, MIME_FLAG_PARAMS);
	buf_free(&r.text);
	/* Of those that nobody asks for there may be any number: a name that only the careful reader finds is not lost behind them. */
	append(&m, "Content-Type: a/b", 1);
	append(&m, "; x=y; z*0*=y", MIME_PARAMS_MAX);
	append(&m, "; name*=utf-8''x%2eexe\n\n", 1);
	walk_both(&m, &r);
	assert_true(holds(&r, "N:x.exe\n"));
	assert_int_equal(r.flags, 0);
	buf_free(&r.text);
	/* Deeper than we follow: the rest is text. */
	for (unsigned i = 0; i < 2 * MIME_DEPTH_MAX; i++)
		append(&m, i % 2 ? "Content-Type: message/rfc822\n\n" : "Content-Type: multipart/mixed; boundary=b\n\n--b\n", 1);
	append(&m, "Content-Disposition: attachment; filename=x.exe\n\nbody\n", 1);
	walk_both(&m, &r);
	assert_true(holds(&r, "T:Content-Disposition: attachment; filename=x.exe\n"));
	assert_int_equal(r.flags, MIME_FLAG_DEPTH);
	buf_free(&r.text);
	/* A boundary that is too long, the longest that is not, and white space behind them. */
	for (size_t len = MIME_BOUNDARY_MAX; len <= MIME_BOUNDARY_MAX + 1; len++) {
		append(&m, "Content-Type: multipart/mixed; boundary=", 1);
		append(&m, "q", len);
		append(&m, "\n\n--", 1);
		append(&m, "q", len);
		append(&m, " ", 3000);
		append(&m, "\nA: b\n\n", 1);
		walk_both(&m, &r);
		assert_int_equal(holds(&r, "H:A: b\n"), len == MIME_BOUNDARY_MAX);
		assert_int_equal(r.flags, len == MIME_BOUNDARY_MAX ? 0 : MIME_FLAG_BOUNDARY);
		buf_free(&r.text);
	}
	check(SPAN_LIT("Content-Type: message/partial; id=x; number=1\n\nSubject: y\n\n"),
	      "H:Content-Type: message/partial; id=x; number=1\nH:Subject: y\n", MIME_FLAG_PARTIAL);
}

static void test_flags_text(void **unused)
{
	(void)unused;
	char text[64];
	mime_walk_flags_text(MIME_FLAG_DEPTH | MIME_FLAG_PARTIAL, text, sizeof text);
	assert_string_equal(text, "depth,partial");
	mime_walk_flags_text(MIME_FLAG_BASE64 | MIME_FLAG_CODING | MIME_FLAG_CHARSET, text, sizeof text);
	assert_string_equal(text, "base64,coding,charset");
	mime_walk_flags_text(63, text, 8);
	assert_string_equal(text, "depth,f");
	mime_walk_flags_text(0, text, sizeof text);
	assert_string_equal(text, "");
}

/* A walk that is given up in the middle leaves nothing behind. */
static void test_given_up(void **unused)
{
	(void)unused;
	struct span message = SPAN_LIT(MIXED "\n--b\nContent-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogaW4K\nCmhpCg==\n--b\nX");
	for (size_t len = 0; len <= message.len; len++) {
		struct record r;
		struct mime_walk *walk = begin(MIME_PLAIN, &r);
		assert_int_equal(mime_walk_push(walk, span_sub(message, 0, len)), 0);
		mime_walk_close(&walk);
		assert_null(walk);
		mime_walk_close(&walk);
		buf_free(&r.text);
	}
}

int main(void)
{
	mime_walk_init_prepriv();
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),	      cmocka_unit_test(test_words),   cmocka_unit_test(test_encodings), cmocka_unit_test(test_multiparts),
		cmocka_unit_test(test_messages), cmocka_unit_test(test_encoded_multipart), cmocka_unit_test(test_names),   cmocka_unit_test(test_files_in_text),
		cmocka_unit_test(test_bounds),	      cmocka_unit_test(test_flags_text), cmocka_unit_test(test_given_up),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
