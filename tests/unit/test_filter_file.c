/* The file of the content filter: what is a pattern, what its prefix says, and where an error is. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "filter_file.h"
#include "filter_set.h"

/* Every rule as "LINE:COLUMN:KIND:PATTERN\n". */
static void parse(struct span text, char *out, size_t cap)
{
	struct filter_file file;
	out[0] = '\0';
	assert_int_equal(filter_file_parse(SPAN_LIT("f"), text, NULL, &file), 0);
	for (size_t i = 0; i < file.count; i++) {
		const struct filter_rule *r = &file.rules[i];
		(void)snprintf(out + strlen(out), cap - strlen(out), "%u:%u:%s:%.*s\n", r->line, r->column, filter_kind_name(r->kind), SPAN_FMT(r->pattern));
	}
	filter_file_free(&file);
}

static void test_lines(void **state)
{
	char out[1024];
	(void)state;
	/* The example of Spammer Deterrent, to the letter. */
	parse(SPAN_LIT("# ban friend@public emails\nFrom: Friend@public.com\nTo: Friend@public.com\n\n# ban the snowwhite virius\n"
		       "From: hahaha@sexyfun.net\n# ban any emails with VisualBasic Script attachments\nname\\=\".*\\.vbs\"\n"),
	      out, sizeof out);
	assert_string_equal(out, "2:1:line:From: Friend@public.com\n3:1:line:To: Friend@public.com\n6:1:line:From: hahaha@sexyfun.net\n"
				 "8:1:line:name\\=\".*\\.vbs\"\n");
	parse(SPAN_LIT("decode: viagra\nattachment:\t\\.vbs$\ndecode:x\n\\decode: y\nDecode: z\n  a b\r\n \t\r\ndecoded: q\nlast"), out, sizeof out);
	assert_string_equal(out, "1:9:decode:viagra\n2:13:attachment:\\.vbs$\n3:8:decode:x\n4:1:line:\\decode: y\n5:1:line:Decode: z\n"
				 "6:1:line:  a b\n8:1:line:decoded: q\n9:1:line:last\n");
	parse(SPAN_LIT(""), out, sizeof out);
	assert_string_equal(out, "");
}

/* What filter_set_compile says of it, all lines of it; "" for nothing. */
static int compile(struct span text, char *out, size_t cap)
{
	struct rules_diags diags = { 0 };
	struct filter_set *set = NULL;
	char line[RULES_DIAG_LINE_CAP];
	out[0] = '\0';
	int err = filter_set_compile(SPAN_LIT("f"), text, &diags, &set);
	for (const struct rules_diag *d = diags.first; d; d = d->next)
		(void)snprintf(out + strlen(out), cap - strlen(out), "%s\n", rules_diag_format(d, line));
	assert_true(err ? set == NULL : set != NULL);
	assert_int_equal(err ? ERR_SYNTAX : 0, err);
	assert_int_equal(diags.errors > 0, err != 0);
	filter_set_release(&set);
	rules_diags_free(&diags);
	return err;
}

static void test_errors(void **state)
{
	char out[2048];
	(void)state;
	assert_int_equal(compile(SPAN_LIT("good\n\\(bad\ndecode: x[z-a]\nattachment:\nattachment: a\\)\nq\0r\n"), out, sizeof out), ERR_SYNTAX);
	assert_string_equal(out, "f:2:6: error: \\( is not closed by \\)\n"
				 "f:3:14: error: range out of order in character class\n"
				 "f:4:12: error: expected a pattern behind attachment:\n"
				 "f:5:14: error: \\) without \\(\n"
				 "f:6:2: error: a byte that is 0: is this a text?\n");
	/* Not UTF-8: as bytes it may be meant, as characters it can't. */
	assert_int_equal(compile(SPAN_LIT("caf\xe9\n"), out, sizeof out), 0);
	assert_int_equal(compile(SPAN_LIT("decode: caf\xe9\n"), out, sizeof out), ERR_SYNTAX);
	assert_non_null(strstr(out, "f:1:"));
	assert_non_null(strstr(out, "UTF-8"));
}

static void test_warnings(void **state)
{
	char out[2048];
	(void)state;
	assert_int_equal(compile(SPAN_LIT("a*\nok\n^$\nattachment: .*\n # not a comment\nends \n"), out, sizeof out), 0);
	assert_string_equal(out, "f:1:1: warning: the pattern matches an empty line, which is in every message\n"
				 "f:3:1: warning: the pattern matches an empty line, which is in every message\n"
				 "f:4:13: warning: the pattern matches every name\n"
				 "f:5:1: warning: a comment begins with # at the beginning of the line: this is a pattern\n"
				 "f:6:5: warning: the blank at the end belongs to the pattern; [ ] says that it is meant\n");
}

static void test_limits(void **state)
{
	char *text = malloc(FILTER_RULES_MAX * 2 + 4);
	char out[1024];
	(void)state;
	memset(text, 'x', FILTER_PATTERN_MAX + 1);
	assert_int_equal(compile((struct span){ text, FILTER_PATTERN_MAX }, out, sizeof out), 0);
	assert_int_equal(compile((struct span){ text, FILTER_PATTERN_MAX + 1 }, out, sizeof out), ERR_SYNTAX);
	assert_string_equal(out, "f:1:1: error: the pattern is too long: at most 4096 bytes\n");
	for (size_t i = 0; i <= FILTER_RULES_MAX; i++)
		memcpy(text + 2 * i, "x\n", 2);
	struct filter_file file;
	assert_int_equal(filter_file_parse(SPAN_LIT("f"), (struct span){ text, FILTER_RULES_MAX * 2 }, NULL, &file), 0);
	assert_int_equal(file.count, FILTER_RULES_MAX);
	filter_file_free(&file);
	assert_int_equal(filter_file_parse(SPAN_LIT("f"), (struct span){ text, FILTER_RULES_MAX * 2 + 2 }, NULL, &file), ERR_SYNTAX);
	filter_file_free(&file);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_warnings),
		cmocka_unit_test(test_limits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
