/* Lines of key=value pairs: what is written is read back, whatever bytes a peer put in. */
#include "kv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <stdlib.h>

#include "err.h"

static void test_form(void **unused)
{
	(void)unused;
	struct kv kv;
	struct addr a;
	struct endpoint e;
	assert_int_equal(addr_parse(SPAN_LIT("2001:db8::1"), &a), 0);
	assert_int_equal(endpoint_parse(SPAN_LIT("192.0.2.1:25"), &e), 0);
	kv_init(&kv);
	kv_text(&kv, "ev", "rcpt");
	kv_u64(&kv, "n", 450);
	kv_i64(&kv, "i", -1);
	kv_text(&kv, "why", "two words \"\\\n");
	kv_text(&kv, "empty", NULL);
	kv_text(&kv, "eq", "a=b");
	kv_addr(&kv, "a", &a);
	kv_endpoint(&kv, "e", &e);
	kv_printf(&kv, "p", "%d%%", 7);
	assert_string_equal(
		kv.text,
		"ev=rcpt n=450 i=-1 why=\"two words \\\"\\\\\\x0a\" empty=\"\" eq=\"a=b\" a=2001:db8::1 e=192.0.2.1:25 p=7%");
	assert_int_equal(kv.len, strlen(kv.text));
}

static void test_round_trip(void **unused)
{
	(void)unused;
	srand(2);
	for (int round = 0; round < 2000; round++) {
		char value[KV_VALUE_CAP];
		struct span original = { value, (size_t)rand() % sizeof value };
		struct kv kv;
		struct kv_pair pair;
		for (size_t i = 0; i < original.len; i++)
			value[i] = (char)(rand() % (round % 2 ? 256 : 128));
		kv_init(&kv);
		kv_span(&kv, "k", original);
		kv_text(&kv, "last", "x");
		struct span rest = { kv.text, kv.len };
		assert_int_equal(kv_next(&rest, &pair), 0);
		assert_true(span_eq(pair.key, SPAN_LIT("k")));
		assert_true(span_eq((struct span){ pair.value, pair.value_len }, original));
		assert_int_equal(kv_next(&rest, &pair), 0);
		assert_string_equal(pair.value, "x");
		assert_int_equal(kv_next(&rest, &pair), ERR_EOF);
	}
}

static void test_caps(void **unused)
{
	(void)unused;
	static char huge[5000];
	struct kv kv;
	struct kv_pair pair;
	memset(huge, 'x', sizeof huge);
	kv_init(&kv);
	kv_span(&kv, "k", (struct span){ huge, sizeof huge });
	struct span rest = { kv.text, kv.len };
	assert_int_equal(kv_next(&rest, &pair), 0);
	assert_int_equal(pair.value_len, KV_VALUE_CAP + 3);
	assert_string_equal(pair.value + KV_VALUE_CAP, "...");
	for (int i = 0; i < 100; i++)
		kv_text(&kv, "key", "some value with spaces");
	assert_true(kv.len < KV_LINE_CAP && kv.text[kv.len] == '\0');
	rest = (struct span){ kv.text, kv.len };
	int err;
	while ((err = kv_next(&rest, &pair)) == 0)
		;
	assert_int_equal(err, ERR_EOF);
}

static void test_hostile(void **unused)
{
	(void)unused;
	static const char *const bad[] = { "x",        "=x",     "a b=c",     "a=\"",       "a=\"x",
					   "a=\"x\"y", "a=\"\\", "a=\"\\x\"", "a=\"\\x1\"", "a=\"\\q\"" };
	struct kv_pair pair;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct span rest = span_of(bad[i]);
		assert_int_equal(kv_next(&rest, &pair), ERR_SYNTAX);
	}
	static char huge[600];
	memset(huge, 'x', sizeof huge);
	memcpy(huge, "k=", 2);
	struct span rest = { huge, sizeof huge };
	assert_int_equal(kv_next(&rest, &pair), ERR_TOOLONG);
	memcpy(huge, "k=\"", 3);
	assert_int_equal(kv_next(&rest, &pair), ERR_TOOLONG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_form),
		cmocka_unit_test(test_round_trip),
		cmocka_unit_test(test_caps),
		cmocka_unit_test(test_hostile),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
