/* What paranoid mode takes and what it refuses. */
#include "paranoid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void hello_names(void **state)
{
	static const char *const fine[] = { "mail.example.com", "[192.0.2.1]", "[IPv6:2001:db8::1]", "win_box", "x" };
	static const char *const bad[] = { "a b", "`id`", "a|b", "a;b", "\x1b[2J", "m\xc3\xbcller", "<x>", "a\"b", "../x", "a,b", "$x" };
	(void)state;
	for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
		assert_null(paranoid_helo(span_of(fine[i])));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_non_null(paranoid_helo(span_of(bad[i])));
	assert_non_null(paranoid_helo((struct span){ "a\0b", 3 }));
}

static const char *path(const char *text)
{
	struct smtp_path p;
	assert_int_equal(smtp_mailbox_parse(span_of(text), false, &p), 0);
	return paranoid_path(&p);
}

static void paths(void **state)
{
	static const char *const fine[] = { "a@b.example", "o'brien@b.example", "srs0=hx=ab=b.example=u@c.example", "a+b-c_d@[192.0.2.1]", "postmaster",
					    "bounce-17=u=b.example@c.example", "a/b@c.example", "#1@b.example" };
	static const char *const bad[] = { "|/bin/sh@b.example", "-oQ/tmp@b.example", "/etc/passwd@b.example", "a`id`@b.example", "$HOME@b.example",
					   "u%c.example@b.example", "c.example!u@b.example", "a&b@c.example", "\"a b\"@c.example", "\"a;b\"@c.example",
					   "\":include:/x\"@c.example" };
	struct smtp_path null_path = { .path = SPAN_LIT(""), .is_null = true };
	(void)state;
	for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++)
		if (path(fine[i]))
			fail_msg("%s", fine[i]);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		if (!path(bad[i]))
			fail_msg("%s", bad[i]);
	assert_null(paranoid_path(&null_path));
}

/* Whole, and cut at every position. */
static void check_header(const char *wire, size_t len, bool is_fine)
{
	for (size_t cut = 0; cut <= len; cut++) {
		struct paranoid_header h = { 0 };
		paranoid_header_push(&h, (struct span){ wire, cut });
		paranoid_header_push(&h, (struct span){ wire + cut, len - cut });
		assert_int_equal(h.found == NULL, is_fine);
	}
}

#define CHECK(text, is_fine) check_header(text, sizeof text - 1, is_fine)

static void headers(void **state)
{
	(void)state;
	CHECK("Subject: x\r\n\tfolded\r\n\r\nb\xc3\xb6" "dy \x1b\r\n.\r\n", true);
	CHECK("\r\n\x1b\r\n.\r\n", true);
	CHECK(".\r\n\x1b", true);
	CHECK("..x: y\r\n.z\r\n\r\n\x80\r\n", true);
	CHECK("Subject: \x1b[2J\r\n\r\n", false);
	CHECK("Subject: x\r\nX: \xc3\xb6\r\n\r\n", false);
	CHECK("Subject: x\r\n y\x7f\r\n\r\n", false);
	CHECK(".x\r\nX: \x01\r\n", false);
}

static void long_lines(void **state)
{
	char line[PARANOID_LINE_CAP + 8];
	(void)state;
	for (size_t len = PARANOID_LINE_CAP - 1; len <= PARANOID_LINE_CAP + 1; len++) {
		memset(line, 'x', len);
		memcpy(line + len, "\r\n", 2);
		check_header(line, len + 2, len <= PARANOID_LINE_CAP);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hello_names),
		cmocka_unit_test(paths),
		cmocka_unit_test(headers),
		cmocka_unit_test(long_lines),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
