/* ESMTP parameters of MAIL and RCPT, and xtext. */
#include "smtp_params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"
#include "smtp_xtext.h"

static struct smtp_mail_params mail(const char *args)
{
	struct smtp_path path;
	struct smtp_mail_params params;
	const struct smtp_reply_text *why = NULL;
	assert_int_equal(smtp_mail_parse(span_of(args), false, &path, &params, &why), 0);
	assert_null(why);
	return params;
}

static struct smtp_rcpt_params rcpt(const char *args)
{
	struct smtp_path path;
	struct smtp_rcpt_params params;
	const struct smtp_reply_text *why = NULL;
	assert_int_equal(smtp_rcpt_parse(span_of(args), false, &path, &params, &why), 0);
	assert_null(why);
	return params;
}

static void test_mail(void **unused)
{
	(void)unused;
	struct smtp_mail_params p = mail("FROM:<a@b>");
	assert_false(p.has_size);
	assert_int_equal(p.body, SMTP_BODY_NONE);
	p = mail("FROM:<>  size=0  Body=8bitmime RET=HDRS ENVID=QQ+2B1 AUTH=<>");
	assert_true(p.has_size);
	assert_int_equal(p.size_bytes, 0);
	assert_int_equal(p.body, SMTP_BODY_8BITMIME);
	assert_int_equal(p.ret, SMTP_RET_HDRS);
	assert_true(span_eq(p.envid, SPAN_LIT("QQ+2B1")));
	assert_true(span_eq(p.auth, SPAN_LIT("<>")));
	p = mail("FROM:a@b BODY=7BIT RET=FULL SIZE=18446744073709551615");
	assert_int_equal(p.body, SMTP_BODY_7BIT);
	assert_int_equal(p.ret, SMTP_RET_FULL);
	assert_true(p.size_bytes == UINT64_MAX);
	assert_true(mail("FROM:<> SIZE=99999999999999999999").size_bytes == UINT64_MAX);
}

static void test_rcpt(void **unused)
{
	(void)unused;
	assert_int_equal(rcpt("TO:<a@b>").notify, 0);
	assert_int_equal(rcpt("TO:<a@b> NOTIFY=NEVER").notify, SMTP_NOTIFY_NEVER);
	assert_int_equal(rcpt("TO:<a@b> notify=success,DELAY,Failure").notify,
			 SMTP_NOTIFY_SUCCESS | SMTP_NOTIFY_DELAY | SMTP_NOTIFY_FAILURE);
	assert_true(span_eq(rcpt("TO:<a@b> ORCPT=rfc822;a+2Bc@b").orcpt, SPAN_LIT("rfc822;a+2Bc@b")));
}

static void refuses(const char *args, int expected, unsigned code)
{
	struct smtp_path path;
	struct smtp_mail_params mail_params;
	struct smtp_rcpt_params rcpt_params;
	const struct smtp_reply_text *why = NULL;
	struct span text = span_of(args);
	int err = args[0] == 'F' ? smtp_mail_parse(text, false, &path, &mail_params, &why)
				 : smtp_rcpt_parse(text, false, &path, &rcpt_params, &why);
	assert_int_equal(err, expected);
	assert_non_null(why);
	assert_int_equal(why->code, code);
	assert_string_equal(why->enhanced, "5.5.4");
}

static void test_refused(void **unused)
{
	(void)unused;
	static const char *const bad[] = {
		"FROM:<> SIZE",
		"FROM:<> SIZE=",
		"FROM:<> SIZE=-1",
		"FROM:<> SIZE=1x",
		"FROM:<> SIZE=100000000000000000000",
		"FROM:<> SIZE=1 SIZE=1",
		"FROM:<> BODY=BINARYMIME",
		"FROM:<> BODY",
		"FROM:<> RET=NONE",
		"FROM:<> ENVID=",
		"FROM:<> ENVID=a=b",
		"FROM:<> ENVID=+2",
		"FROM:<> ENVID=+GG",
		"FROM:<> ENVID=+0D+0AX:y",
		"FROM:<> AUTH=",
		"FROM:<> AUTH=+x",
		"TO:<a> ORCPT=rfc822;a+0A",
		"TO:<a> ORCPT=rfc822;+E4",
		"TO:<a> NOTIFY=",
		"TO:<a> NOTIFY=NEVER,DELAY",
		"TO:<a> NOTIFY=DELAY,",
		"TO:<a> NOTIFY=,",
		"TO:<a> NOTIFY=SOMETIMES",
		"TO:<a> ORCPT=a@b",
		"TO:<a> ORCPT=;a",
		"TO:<a> ORCPT=rfc822;",
		"TO:<a> ORCPT=rfc_822;a",
		"TO:<a> ORCPT=rfc822;+1",
		"TO:<a> NOTIFY=DELAY NOTIFY=DELAY",
	};
	static const char *const unknown[] = {
		"FROM:<> X=1",   "FROM:<> SMTPUTF8", "FROM:<> NOTIFY=NEVER", "FROM:<> SIZES=1", "FROM:<> =1",
		"TO:<a> SIZE=1", "TO:<a> \t",        "TO:<a> \xff",
	};
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		refuses(bad[i], ERR_SYNTAX, 501);
	for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++)
		refuses(unknown[i], ERR_UNSUPPORTED, 555);
}

static void test_caps(void **unused)
{
	(void)unused;
	char args[700];
	(void)snprintf(args, sizeof args, "FROM:<> ENVID=%0100d", 0);
	assert_int_equal(mail(args).envid.len, SMTP_ENVID_CAP);
	(void)snprintf(args, sizeof args, "FROM:<> ENVID=%0101d", 0);
	refuses(args, ERR_SYNTAX, 501);
	(void)snprintf(args, sizeof args, "TO:<a> ORCPT=rfc822;%0493d", 0);
	assert_int_equal(rcpt(args).orcpt.len, SMTP_ORCPT_CAP);
	(void)snprintf(args, sizeof args, "TO:<a> ORCPT=rfc822;%0494d", 0);
	refuses(args, ERR_SYNTAX, 501);
}

static void test_xtext(void **unused)
{
	(void)unused;
	struct buf text = { 0 }, back = { 0 };
	char every[256];
	for (size_t i = 0; i < sizeof every; i++)
		every[i] = (char)i;
	assert_int_equal(smtp_xtext_encode((struct span){ every, sizeof every }, &text), 0);
	assert_true(smtp_xtext_is_valid(buf_span(&text)));
	assert_int_equal(smtp_xtext_decode(buf_span(&text), &back), 0);
	assert_int_equal(back.len, sizeof every);
	assert_memory_equal(back.data, every, sizeof every);
	for (size_t cut = 0; cut < text.len; cut++) {
		struct span part = span_sub(buf_span(&text), 0, cut);
		buf_clear(&back);
		assert_int_equal(smtp_xtext_decode(part, &back), smtp_xtext_is_valid(part) ? 0 : ERR_SYNTAX);
		assert_true(smtp_xtext_is_valid(part) || back.len == 0);
	}
	buf_free(&text);
	buf_free(&back);
	back.cap = 4;
	assert_int_equal(smtp_xtext_encode(SPAN_LIT("a=b"), &back), ERR_TOOLONG);
	assert_int_equal(back.len, 0);
	assert_int_equal(smtp_xtext_decode(SPAN_LIT("a+3db"), &back), 0);
	assert_true(span_eq(buf_span(&back), SPAN_LIT("a=b")));
	buf_free(&back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mail), cmocka_unit_test(test_rcpt),  cmocka_unit_test(test_refused),
		cmocka_unit_test(test_caps), cmocka_unit_test(test_xtext),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
