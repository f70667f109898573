/* Paths of MAIL and RCPT. */
#include "smtp_path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

static enum smtp_path_kind kind_of(struct span args)
{
	return args.ptr[0] == 'T' ? SMTP_FORWARD_PATH : SMTP_REVERSE_PATH;
}

static int parse(struct span args, bool strict, struct smtp_path *path, struct span *rest, const struct smtp_reply_text **why)
{
	memset(path, 0, sizeof *path);
	*rest = SPAN_NONE;
	*why = NULL;
	int err = smtp_path_parse(args, kind_of(args), strict, path, rest, why);
	assert_int_equal(err != 0, *why != NULL);
	return err;
}

static void accepts(const char *args, bool strict, const char *local, const char *domain, const char *rest)
{
	struct smtp_path path;
	struct span behind;
	const struct smtp_reply_text *why;
	assert_int_equal(parse(span_of(args), strict, &path, &behind, &why), 0);
	assert_true(span_eq(path.local, span_of(local)));
	assert_true(span_eq(path.domain, span_of(domain)));
	assert_true(span_eq(behind, span_of(rest)));
	assert_int_equal(path.path.len, strlen(local) + strlen(domain) + (*domain ? 1 : 0));
	assert_int_equal(path.is_null, *local == '\0');
}

static void refuses(struct span args, bool strict, int expected, unsigned code, const char *enhanced)
{
	struct smtp_path path;
	struct span rest;
	const struct smtp_reply_text *why;
	assert_int_equal(parse(args, strict, &path, &rest, &why), expected);
	assert_int_equal(why->code, code);
	assert_string_equal(why->enhanced, enhanced);
}

static void test_accepted(void **unused)
{
	(void)unused;
	for (int strict = 0; strict <= 1; strict++) {
		accepts("FROM:<>", strict, "", "", "");
		accepts("FROM:<> BODY=7BIT", strict, "", "", " BODY=7BIT");
		accepts("FROM:<a@b.example>", strict, "a", "b.example", "");
		accepts("FROM:<a.b+c=d%e!f@b.example> SIZE=1", strict, "a.b+c=d%e!f", "b.example", " SIZE=1");
		accepts("TO:<Postmaster>", strict, "Postmaster", "", "");
		accepts("TO:<a@[192.0.2.1]>", strict, "a", "[192.0.2.1]", "");
		accepts("TO:<a@[IPv6:2001:db8::1]>", strict, "a", "[IPv6:2001:db8::1]", "");
		accepts("TO:<@x.example,@y.example:a@b>", strict, "a", "b", "");
		accepts("TO:<\"a b>@\\\"c\"@d>", strict, "\"a b>@\\\"c\"", "d", "");
		accepts("TO:<\"\"@d> NOTIFY=NEVER", strict, "\"\"", "d", " NOTIFY=NEVER");
	}
}

static void tolerates(const char *args, const char *local, const char *domain, const char *rest)
{
	struct smtp_path path;
	struct span behind;
	const struct smtp_reply_text *why;
	accepts(args, false, local, domain, rest);
	assert_int_not_equal(parse(span_of(args), true, &path, &behind, &why), 0);
}

static void test_tolerated(void **unused)
{
	(void)unused;
	tolerates("FROM: <a@b>", "a", "b", "");
	tolerates("FROM:a@b SIZE=3", "a", "b", " SIZE=3");
	tolerates("TO:   \"x y\"@b NOTIFY=NEVER", "\"x y\"", "b", " NOTIFY=NEVER");
	tolerates("FROM:<root>", "root", "", "");
	tolerates("TO:<a..b.@c>", "a..b.", "c", "");
	tolerates("TO:<.a@c>", ".a", "c", "");
	tolerates("TO:<a@b_c>", "a", "b_c", "");
}

static void test_refused(void **unused)
{
	(void)unused;
	static const char *const bad[] = {
		"TO:",           "TO:<",
		"TO:<>",         "TO:<a",
		"TO:<a@>",       "TO:<@b>",
		"TO:<a@b@c>",    "TO:<a@b>c",
		"TO:<a b@c>",    "TO:<a@b c>",
		"TO:<a@b-.c>",   "TO:<a@.b>",
		"TO:<a@b.>",     "TO:<a@[b]>",
		"TO:<a@[]>",     "TO:<a@[1.2.3.4>",
		"TO:<\"a@b>",    "TO:<\"a\"b@c>",
		"TO:<a\\b@c>",   "TO:<(a)@b>",
		"TO:<a,b@c>",    "TO:<@x a@b>",
		"TO:<@x,y:a@b>", "TO:<@:a@b>",
		"TO:<<a@b>>",    "TO:<\"a\tb\"@c>",
		"TO:<a@b>\tX",   "TO:<a\x01@b>",
		"TO:<a@b\x7f>",  "TO:<a@b/c>",
		"TO:<|a b>",     "TO:\"a",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		for (int strict = 0; strict <= 1; strict++)
			refuses(span_of(bad[i]), strict, ERR_SYNTAX, 501, "5.1.3");
	refuses(SPAN_LIT("FROM:<a@b@c>"), false, ERR_SYNTAX, 501, "5.1.7");
	refuses(SPAN_LIT("FROM:"), false, ERR_SYNTAX, 501, "5.1.7");
	refuses(SPAN_LIT("F"), false, ERR_SYNTAX, 501, "5.5.4");
	refuses(SPAN_LIT("FROM <a@b>"), false, ERR_SYNTAX, 501, "5.5.4");
	refuses(SPAN_LIT("TO<a@b>"), false, ERR_SYNTAX, 501, "5.5.4");
	refuses(SPAN_LIT("TO:<a\0@b>"), false, ERR_SYNTAX, 501, "5.1.3");
}

static void test_8bit(void **unused)
{
	(void)unused;
	refuses(SPAN_LIT("FROM:<\xc3\xa4@b>"), false, ERR_UNSUPPORTED, 553, "5.6.7");
	refuses(SPAN_LIT("TO:<a@\xc3\xa4.example>"), false, ERR_UNSUPPORTED, 553, "5.6.7");
	refuses(SPAN_LIT("TO:<\"\xff\"@b>"), true, ERR_UNSUPPORTED, 553, "5.6.7");
}

static void check_length(size_t local_len, size_t domain_len, bool strict, int expected)
{
	char args[1024];
	size_t len = (size_t)snprintf(args, sizeof args, "TO:<");
	memset(args + len, 'l', local_len);
	len += local_len;
	args[len++] = '@';
	for (size_t i = 0; i < domain_len; i++)
		args[len++] = i % 50 == 49 && i + 1 < domain_len ? '.' : 'd';
	args[len++] = '>';
	if (expected)
		return refuses((struct span){ args, len }, strict, expected, 501, "5.1.3");
	struct smtp_path path;
	struct span rest;
	const struct smtp_reply_text *why;
	assert_int_equal(parse((struct span){ args, len }, strict, &path, &rest, &why), 0);
	assert_int_equal(path.domain.len, domain_len);
}

static void test_lengths(void **unused)
{
	(void)unused;
	check_length(64, 20, true, 0);
	check_length(65, 20, true, ERR_TOOLONG);
	check_length(64, 189, true, 0);
	check_length(64, 190, true, ERR_TOOLONG);
	check_length(255, 255, false, 0);
	check_length(256, 20, false, ERR_TOOLONG);
	check_length(1, 256, false, ERR_TOOLONG);
}

/* No prefix of a path is read beyond its end (the sanitizers see it) and none is taken for the whole. */
static void test_cut(void **unused)
{
	(void)unused;
	static const char args[] = "TO:<@x.example:\"a\\\" b\"@[IPv6:2001:db8::1]>";
	struct smtp_path path;
	struct span rest;
	const struct smtp_reply_text *why;
	for (size_t len = 1; len < sizeof args - 1; len++) {
		char copy[sizeof args];
		memcpy(copy, args, len);
		assert_int_equal(parse((struct span){ copy, len }, false, &path, &rest, &why), ERR_SYNTAX);
	}
	assert_int_equal(parse(SPAN_LIT(args), false, &path, &rest, &why), 0);
}

static void test_mailbox(void **unused)
{
	(void)unused;
	struct smtp_path path;
	assert_int_equal(smtp_mailbox_parse(SPAN_LIT("a@b"), true, &path), 0);
	assert_true(span_eq(path.path, SPAN_LIT("a@b")));
	assert_int_equal(smtp_mailbox_parse(SPAN_LIT(""), false, &path), ERR_SYNTAX);
	assert_int_equal(smtp_mailbox_parse(SPAN_NONE, false, &path), ERR_SYNTAX);
	assert_int_equal(smtp_mailbox_parse(SPAN_LIT("<a@b>"), false, &path), ERR_SYNTAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_accepted), cmocka_unit_test(test_tolerated), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_8bit),     cmocka_unit_test(test_lengths),   cmocka_unit_test(test_cut),
		cmocka_unit_test(test_mailbox),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
