/* The forward vocabulary: what is read, what is refused, and that it is written as it was read. */
#include "forward_spec.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void reads_what_it_writes(void **state)
{
	static const struct {
		const char *text, *written;
		enum forward_kind kind;
		const char *host, *path;
		unsigned port;
	} cases[] = {
		{ "original", "original", FORWARD_ORIGINAL, "", "", 0 },
		{ "ORIGINAL", "original", FORWARD_ORIGINAL, "", "", 0 },
		{ "smtp:mail.example", "smtp:mail.example:25", FORWARD_SMTP, "mail.example", "", 25 },
		{ "smtp:192.0.2.1:2525", "smtp:192.0.2.1:2525", FORWARD_SMTP, "192.0.2.1", "", 2525 },
		{ "smtp:[2001:db8::1]", "smtp:[2001:db8::1]:25", FORWARD_SMTP, "2001:db8::1", "", 25 },
		{ "smtp:[2001:db8::1]:65535", "smtp:[2001:db8::1]:65535", FORWARD_SMTP, "2001:db8::1", "", 65535 },
		{ "lmtp:host:24", "lmtp:host:24", FORWARD_LMTP, "host", "", 24 },
		{ "lmtp:host", "lmtp:host:24", FORWARD_LMTP, "host", "", 24 },
		{ "lmtp:/run/lmtp", "lmtp:/run/lmtp", FORWARD_LMTP_UNIX, "", "/run/lmtp", 0 },
		{ "sendmail:/usr/sbin/sendmail", "sendmail:/usr/sbin/sendmail", FORWARD_SENDMAIL, "", "/usr/sbin/sendmail", 0 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct forward_spec spec;
		struct reason why = { "" };
		char text[FORWARD_SPEC_TEXT_CAP];
		assert_int_equal(forward_spec_parse(span_of(cases[i].text), &spec, &why), 0);
		assert_int_equal(spec.kind, cases[i].kind);
		assert_string_equal(spec.host, cases[i].host);
		assert_string_equal(spec.path, cases[i].path);
		if (cases[i].port)
			assert_int_equal(spec.port, cases[i].port);
		assert_string_equal(forward_spec_format(&spec, text), cases[i].written);
		assert_int_equal(forward_spec_parse(span_of(text), &spec, &why), 0);
	}
}

static void refuses_with_a_reason(void **state)
{
	static const char *const cases[] = { "",	     "smtp",	   "smtp:",	     "smtp::25",       "smtp:host:",	    "smtp:host:0",
					     "smtp:host:65536", "smtp:host:x", "smtp:2001:db8::1", "smtp:[192.0.2.1]", "smtp:[2001:db8::1", "smtp:[]",
					     "smtp:a b",     "smtp:a/b",   "lmtp:",	     "lmtp:smtp:host", "sendmail:",	    "sendmail:prog",
					     "original:",    "carrier:x",  "http://x/",	     " original",      "smtp:host:25 ",	    "sendmail:smtp:host",
					     "smtp:no..dots", "smtp:.host", "smtp:.", "lmtp:/", "sendmail:/usr/" };
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct forward_spec spec = { .port = 77 };
		struct reason why = { "" };
		if (forward_spec_parse(span_of(cases[i]), &spec, &why) == 0)
			fail_msg("'%s' was read", cases[i]);
		assert_true(why.text[0] != '\0');
		assert_int_equal(spec.port, 77);
	}
	/* The kernel takes 107 bytes for the name of a socket. */
	struct forward_spec spec;
	struct reason why;
	char path[130];
	for (int len = 107; len <= 108; len++) {
		(void)snprintf(path, sizeof path, "lmtp:/%0*d", len - 1, 0);
		assert_int_equal(forward_spec_parse(span_of(path), &spec, &why) == 0, len == 107);
	}
}

/* Whatever is cut off or too long is an error or another good one, never a crash. */
static void cut_and_long(void **state)
{
	char text[600] = "sendmail:/";
	struct forward_spec spec;
	struct reason why = { "" };
	(void)state;
	for (size_t len = 0; len <= strlen("smtp:[2001:db8::1]:2525"); len++)
		(void)forward_spec_parse((struct span){ "smtp:[2001:db8::1]:2525", len }, &spec, &why);
	memset(text + 10, 'x', sizeof text - 11);
	assert_int_not_equal(forward_spec_parse(span_of(text), &spec, &why), 0);
	assert_int_equal(forward_spec_parse((struct span){ text, 9 + 255 }, &spec, &why), 0);
	assert_int_not_equal(forward_spec_parse((struct span){ text, 9 + 256 }, &spec, &why), 0);
	assert_int_not_equal(forward_spec_parse((struct span){ "sendmail:/a\0b", 13 }, &spec, &why), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_what_it_writes),
		cmocka_unit_test(refuses_with_a_reason),
		cmocka_unit_test(cut_and_long),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
