/* test_cli_record - answers of daemons as JSON, peers' words as harmless text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli_record.h"
#include "cli_text.h"
#include "kv.h"

static void numbers_are_numbers(void **state)
{
	(void)state;
	json_t *r = cli_record_parse(SPAN_LIT("pid=12 age=-3 zero=0 octal=007 big=99999999999999999999 word=a1 none=\"\""));
	assert_int_equal(cli_record_number(r, "pid"), 12);
	assert_int_equal(cli_record_number(r, "age"), -3);
	assert_true(json_is_integer(json_object_get(r, "zero")));
	assert_string_equal(cli_record_text(r, "octal"), "007");
	assert_string_equal(cli_record_text(r, "big"), "99999999999999999999");
	assert_string_equal(cli_record_text(r, "word"), "a1");
	assert_string_equal(cli_record_text(r, "none"), "");
	assert_int_equal(cli_record_number(r, "nothing"), 0);
	json_decref(r);
}

static void names_stay_text(void **state)
{
	(void)state;
	json_t *r = cli_record_parse(SPAN_LIT("id=34567890123456 from=1 helo=10 client=7 error=550"));
	const char *keys[] = { "id", "from", "helo", "client", "error" };
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
		assert_true(json_is_string(json_object_get(r, keys[i])));
	json_decref(r);
}

static void what_is_taken_out(void **state)
{
	(void)state;
	char what[CLI_WHAT_CAP];
	json_t *r = cli_record_parse(SPAN_LIT("what=worker pid=1"));
	assert_string_equal(cli_record_take_what(r, what), "worker");
	assert_int_equal(json_object_size(r), 1);
	assert_string_equal(cli_record_take_what(r, what), "");
	json_decref(r);
}

/* Every byte value, as a daemon would send it, comes out as UTF-8 JSON and as printable ASCII. */
static void any_byte_is_harmless(void **state)
{
	(void)state;
	for (unsigned c = 0; c < 256; c++) {
		char bytes[3] = { 'a', (char)c, 'b' };
		struct kv kv;
		struct buf text = { 0 };
		kv_init(&kv);
		kv_span(&kv, "helo", (struct span){ bytes, 3 });
		json_t *r = cli_record_parse((struct span){ kv.text, kv.len });
		assert_int_equal(json_object_size(r), 1);
		assert_int_equal(cli_record_format(json_object_get(r, "helo"), &text), 0);
		for (size_t i = 0; i < text.len; i++)
			assert_true(text.data[i] >= 0x20 && text.data[i] < 0x7f);
		assert_true(text.data[0] == 'a' && text.data[text.len - 1] == 'b');
		char *dump = json_dumps(r, 0);
		assert_non_null(dump);
		free(dump);
		buf_free(&text);
		json_decref(r);
	}
}

static void cut_lines_give_what_is_whole(void **state)
{
	(void)state;
	struct span line = SPAN_LIT("what=message id=3 from=\"<a b@x>\" size=12");
	for (size_t len = 0; len <= line.len; len++) {
		json_t *r = cli_record_parse(span_sub(line, 0, len));
		assert_non_null(r);
		assert_in_range(json_object_size(r), 0, 4);
		json_decref(r);
	}
}

static void lines_are_kept_but_nothing_else(void **state)
{
	(void)state;
	struct buf out = { 0 };
	assert_int_equal(cli_text_append(&out, SPAN_LIT("a\r\nb\n\tc\x1b[2J\rd\x7f\xc2\x9b"), true), 0);
	struct span want = SPAN_LIT("a\nb\n\tc\\x1b[2J\\x0dd\\x7f\\xc2\\x9b");
	assert_true(span_eq(buf_span(&out), want));
	buf_free(&out);
}

static void ages_and_sizes(void **state)
{
	(void)state;
	char age[CLI_AGE_CAP], size[CLI_SIZE_CAP];
	assert_string_equal(cli_text_age(0, age), "0 s");
	assert_string_equal(cli_text_age(119, age), "119 s");
	assert_string_equal(cli_text_age(120, age), "2 min");
	assert_string_equal(cli_text_age(3 * 3600, age), "3 h");
	assert_string_equal(cli_text_age(5 * 86400, age), "5 d");
	assert_string_equal(cli_text_size(1023, size), "1023 B");
	assert_string_equal(cli_text_size(1536, size), "1.5 KiB");
	assert_string_equal(cli_text_size(UINT64_MAX, size), "16777216.0 TiB");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_numbers),	  cmocka_unit_test(names_stay_text),
		cmocka_unit_test(what_is_taken_out),	  cmocka_unit_test(any_byte_is_harmless),
		cmocka_unit_test(cut_lines_give_what_is_whole), cmocka_unit_test(lines_are_kept_but_nothing_else),
		cmocka_unit_test(ages_and_sizes),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
