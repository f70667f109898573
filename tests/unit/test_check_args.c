/* The packet of arguments for the external command, and the words that it becomes (content/check_args.c). */
#include "check_args.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "err.h"

static void test_there_and_back(void **unused)
{
	struct buf packet = { 0 };
	struct check_args args;
	(void)unused;
	assert_int_equal(check_args_begin(&packet, "192.0.2.10", SPAN_LIT("")), 0);
	assert_int_equal(check_args_recipient(&packet, SPAN_LIT("-x@b.example")), 0);
	assert_int_equal(check_args_recipient(&packet, SPAN_LIT("\"a b\"@b.example")), 0);
	/* What can't be an argument leaves no trace. */
	assert_int_equal(check_args_recipient(&packet, SPAN_LIT("a\nb@c.example")), ERR_INVAL);
	assert_int_equal(check_args_recipient(&packet, SPAN_LIT("a\0b@c.example")), ERR_INVAL);
	assert_int_equal(check_args_parse(buf_span(&packet), &args), 0);
	buf_free(&packet);
	assert_string_equal(args.client, "192.0.2.10");
	assert_string_equal(args.sender, "<>");
	assert_int_equal(args.recipient_count, 2);

	char **words = check_args_vector(&args, " /usr/bin/check  -v\tx ", "/place/1/message");
	const char *const expected[] = { "/usr/bin/check", "-v", "x", "-s", "/place/1/message", "-a", "192.0.2.10", "-f", "<>",
					 "-t", "2", "<-x@b.example>", "<\"a b\"@b.example>" };
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++)
		assert_string_equal(words[i], expected[i]);
	assert_null(words[sizeof expected / sizeof expected[0]]);
	free(words);
	check_args_free(&args);
}

static void test_many(void **unused)
{
	struct buf packet = { .cap = CHECK_ARGS_BYTES_MAX };
	struct check_args args;
	char text[64];
	(void)unused;
	assert_int_equal(check_args_begin(&packet, "2001:db8::1", SPAN_LIT("a@b.example")), 0);
	for (unsigned i = 0; i < 10000; i++) {
		(void)snprintf(text, sizeof text, "r%u@b.example", i);
		assert_int_equal(check_args_recipient(&packet, span_of(text)), 0);
	}
	assert_int_equal(check_args_parse(buf_span(&packet), &args), 0);
	assert_int_equal(args.recipient_count, 10000);
	char **words = check_args_vector(&args, "/c", "/f");
	assert_string_equal(words[8], "10000");
	assert_string_equal(words[9], "<r0@b.example>");
	assert_string_equal(words[10008], "<r9999@b.example>");
	assert_null(words[10009]);
	free(words);
	check_args_free(&args);
	buf_free(&packet);
}

static void refused(const char *bytes, size_t len)
{
	struct check_args args;
	assert_int_equal(check_args_parse((struct span){ bytes, len }, &args), ERR_SYNTAX);
}

#define REFUSED(text) refused(text, sizeof(text) - 1)

static void test_what_is_refused(void **unused)
{
	static const char good[] = "192.0.2.10\0<a@b>\0<c@d>";
	struct check_args args;
	(void)unused;
	assert_int_equal(check_args_parse((struct span){ good, sizeof good }, &args), 0);
	check_args_free(&args);
	for (size_t len = 0; len < sizeof good; len++)
		refused(good, len);
	REFUSED("192.0.2.10\0<a@b>\0"); /* nobody */
	REFUSED("--help\0<a@b>\0<c@d>\0");
	REFUSED("192.0.2.10\0-a@b\0<c@d>\0");
	REFUSED("192.0.2.10\0<a@b>\0-c@d>\0");
	REFUSED("192.0.2.10\0<a@b>\0<c@d\0");
	REFUSED("192.0.2.10\0<a@b>\0<\0");
	REFUSED("192.0.2.10\0<a@b>\0\0");
	REFUSED("192.0.2.10\0<a@b>\0<c\n@d>\0");
	REFUSED("192.0.2.10\0<a\x7f@b>\0<c@d>\0");
	REFUSED("192.0.2.10\0<a@b>\0<c@d>\0x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_what_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
