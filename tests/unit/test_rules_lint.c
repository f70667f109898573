/* Warnings about rules that are legal, but hardly meant. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "rules_lint.h"
#include "rules_world.h"

/* The line of the first warning that holds the words, 0 for none. */
static unsigned warned(const char *text, const char *words)
{
	struct rules_options options;
	struct rules_diags diags = { 0 };
	unsigned line = 0;
	rules_options_defaults(&options);
	struct rules *rules = world_compile(text, NULL, &options);
	assert_int_equal(rules_lint(rules, &diags), 0);
	for (const struct rules_diag *d = diags.first; d && !line; d = d->next)
		if (strstr(d->text.ptr, words))
			line = d->place.line;
	rules_diags_free(&diags);
	rules_release(&rules);
	return line;
}

static void test_shadowed(void **state)
{
	static const char *const yes[] = {
		"allow:ALL:ALL:ALL\ndeny:1.2.3.4:ALL:ALL\n",
		"allow:10/8:ALL:ALL\ndeny:10.1.0.0/16 10.2.3.4:*@x:ALL\n",
		"noto:ALL:*@*.foo.com:ALL\nnoto:ALL:bob@*.x.foo.com:ALL\n",
		"noto:KNOWN:ALL:ALL\nnoto:*.foo.com /bar/:ALL:ALL\n",
		"noto:RBL.z:ALL:ALL\nallow:RBL.z EXCEPT 1.2.3.4:ALL:a@b\n",
		"noto:[2001:db8::]/32:ALL:ALL\nnoto:[2001:db8:1::]/48:ALL:ALL\n",
	};
	static const char *const no[] = {
		"allow:10/8 EXCEPT 10.1/16:ALL:ALL\ndeny:10.1.2.3:ALL:ALL\n",
		"debug:ALL:ALL:ALL\ndeny:1.2.3.4:ALL:ALL\n",
		"dry-run noto:ALL:ALL:ALL\ndeny:1.2.3.4:ALL:ALL\n",
		"allow:10.1/16:ALL:ALL\ndeny:10/8:ALL:ALL\n",
		"noto:*.foo.com:ALL:ALL\nnoto:KNOWN:ALL:ALL\n",
		"noto:ALL:*.foo.com:ALL\nnoto:ALL:a@x.foo.com:ALL\n",
		"noto:10/8:a@b:ALL\nnoto:10/8:ALL:ALL\n",
	};
	(void)state;
	for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++)
		if (warned(yes[i], "never matches") != 2)
			fail_msg("not found: %s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof no[0]; i++)
		if (warned(no[i], "never matches"))
			fail_msg("a false claim: %s", no[i]);
}

/* Nothing but long lists that differ in their last words: who compares all of them compares for a minute. */
static void test_long_lists(void **state)
{
	enum { RULES = 6000, WORDS = 60 };
	static const char shadowed[] = "noto:ALL:gone@x.example:ALL\nnoto:ALL:gone@x.example:bob@x.example\n";
	size_t size = (size_t)RULES * (WORDS * 18 + 40) + sizeof shadowed, len;
	char *text = malloc(size);
	(void)state;
	assert_non_null(text);
	len = (size_t)snprintf(text, size, "%s", shadowed);
	for (int i = 0; i < RULES; i++) {
		len += (size_t)snprintf(text + len, size - len, "noto:");
		for (int k = 0; k < WORDS; k++)
			len += (size_t)snprintf(text + len, size - len, "10.%d.0.0/16 ", k);
		len += (size_t)snprintf(text + len, size - len, ":ALL:x%d@ALL\n", i);
	}
	clock_t begin = clock();
	/* What comes early is found all the same. */
	assert_int_equal(warned(text, "never matches"), 2);
	assert_true(clock() - begin < 20 * CLOCKS_PER_SEC);
	free(text);
}

/* Each kind of warning about one pattern or two: where it must come, and where it must not. */
static void test_single(void **state)
{
	static const struct {
		unsigned line; /* 0: nowhere */
		const char *says, *text;
	} cases[] = {
		{ 1, "belongs into the source list", "noto:ALL:192.168.1.1:ALL\n" },
		{ 1, "belongs into the source list", "noto:ALL:ALL:10.0.0.0/8\n" },
		{ 0, "belongs into the source list", "noto:192.168.1.1:*@1.2.3.4 postmaster /10[.]0/:*@[192.168.1.1]\n" },
		{ 1, "was an address meant", "noto:mail.10.0.0.1-20:ALL:ALL\n" },
		{ 1, "was an address meant", "noto:ALL EXCEPT 10.0.0.1-20:ALL:ALL\n" },
		{ 0, "was an address meant", "noto:10.0.0.1 10.1/16 10.2.* *.foo.com 1.foo.com foo-1 [2001:db8::1] HELO=10.0.0.1-2:ALL:ALL\n" },
		{ 1, "asks the DNS in front", "noto:RBL.z 1.2.3.4:ALL:ALL\n" },
		{ 2, "asks the DNS in front", "noto:1.2.3.4:ALL:ALL\nnoto:ALL:RHS.z *@a.b:ALL\n" },
		{ 1, "asks the DNS in front", "noto:NS=10/8 TRUSTED:ALL:ALL\n" },
		{ 0, "asks the DNS in front", "noto:1.2.3.4 TRUSTED RBL.z NS=10/8:ALL:*@a.b NS=KNOWN\n" },
		{ 0, "asks the DNS in front", "noto:*.foo.com 1.2.3.4:ALL:ALL\n" },
		{ 1, "better behind", "noto:*.foo.com:ALL:ALL\nnoto:1.2.3.4:ALL:ALL\n" },
		{ 1, "better behind", "noto:RBL.z:ALL:ALL:550 x\nnoto:ALL:*@a.b:ALL:550 x\n" },
		{ 0, "better behind", "noto:1.2.3.4:ALL:ALL\nnoto:*.foo.com:ALL:ALL\n" },
		{ 0, "better behind", "noto:*.foo.com:ALL:ALL\nallow:1.2.3.4:ALL:ALL\n" },
		{ 0, "better behind", "noto:*.foo.com:ALL:ALL:550 x\nnoto:1.2.3.4:ALL:ALL:550 y\n" },
		{ 0, "better behind", "debug:*.foo.com:ALL:ALL\ndebug:1.2.3.4:ALL:ALL\n" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		if (warned(cases[i].text, cases[i].says) != cases[i].line)
			fail_msg("'%s' at line %u, not %u:\n%s", cases[i].says, warned(cases[i].text, cases[i].says), cases[i].line, cases[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_shadowed), cmocka_unit_test(test_single),
					     cmocka_unit_test(test_long_lists) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
