/* test_cli_conf_sample - dist/postern.conf.sample says what lib/conf_options.c does.
 * Every option stands in it as `#name = default`.  With all of these taken out of their comments it must load to the same values as a file
 * that says nothing, and it must name every option that the program knows: both fall apart when one of the two is changed alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "buf.h"
#include "conf.h"
#include "conf_options.h"

#define SAMPLE "dist/postern.conf.sample"
#define PAGE "man/postern.conf.5"

static void read_file(const char *path, struct buf *out)
{
	char chunk[4096];
	size_t n;
	FILE *file = fopen(path, "r");
	if (!file)
		fail_msg("%s cannot be opened: run the tests from the top of the source", path);
	while ((n = fread(chunk, 1, sizeof chunk, file)) > 0)
		assert_int_equal(buf_append(out, chunk, n), 0);
	(void)fclose(file);
	assert_int_equal(buf_append(out, "", 1), 0);
	out->len--;
}

static void write_file(const char *path, const char *text, size_t len)
{
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

/* A commented option is "#name = ..." with nothing between # and name; prose has a space there. */
static void uncomment(struct span text, struct buf *out)
{
	struct span line;
	while (span_cut(&text, '\n', &line)) {
		size_t start = 0;
		while (start < line.len && (line.ptr[start] == ' ' || line.ptr[start] == '\t'))
			start++;
		if (start + 1 < line.len && line.ptr[start] == '#' && line.ptr[start + 1] >= 'a' && line.ptr[start + 1] <= 'z')
			line = span_sub(line, start + 1, line.len);
		assert_int_equal(buf_append_span(out, line), 0);
		assert_int_equal(buf_append(out, "\n", 1), 0);
	}
}

static void load(struct span text, struct conf *out)
{
	char path[] = "/tmp/postern-sample-XXXXXX";
	struct reason why = { "" };
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	(void)close(fd);
	write_file(path, text.ptr, text.len);
	int err = conf_read(path, out, &why);
	(void)unlink(path);
	if (err)
		fail_msg("%s", why.text);
}

static void sample_as_it_is(void **state)
{
	static struct conf sample, expected;
	struct buf text = { 0 };
	(void)state;
	read_file(SAMPLE, &text);
	load(buf_span(&text), &sample);
	conf_defaults(&expected);
	conf_default_hostname(&expected);
	assert_int_equal(sample.listen_count, 1);
	assert_string_equal(sample.listen[0].iface, "wan");
	memcpy(expected.listen, sample.listen, sizeof expected.listen);
	expected.listen_count = 1;
	assert_memory_equal(&sample, &expected, sizeof sample);
	buf_free(&text);
}

static void sample_without_comments(void **state)
{
	static struct conf sample, expected;
	struct buf text = { 0 }, bare = { 0 };
	(void)state;
	read_file(SAMPLE, &text);
	uncomment(buf_span(&text), &bare);
	load(buf_span(&bare), &sample);
	/* The name of the host is an example there: it has no fixed default.  So is the section's name. */
	load(SPAN_LIT("listen \"wan\" { }\n"), &expected);
	memcpy(expected.hostname, sample.hostname, sizeof expected.hostname);
	assert_memory_equal(&sample, &expected, sizeof sample);
	buf_free(&text);
	buf_free(&bare);
}

static void for_each_option(void (*check)(const char *name, const char *text), const char *text)
{
	const struct conf_option_table *const tables[] = { &conf_options, &conf_listen_options };
	for (size_t t = 0; t < sizeof tables / sizeof tables[0]; t++)
		for (size_t i = 0; i < tables[t]->count; i++)
			check(tables[t]->options[i].name, text);
}

static void is_in_sample(const char *name, const char *text)
{
	char line[80];
	(void)snprintf(line, sizeof line, "#%s = ", name);
	if (!strstr(text, line))
		fail_msg("%s has no line '%s...'", SAMPLE, line);
}

static void is_in_page(const char *name, const char *text)
{
	char line[80];
	(void)snprintf(line, sizeof line, ".It Cm %s ", name);
	if (!strstr(text, line))
		fail_msg("%s has no '%s'", PAGE, line);
}

static void every_option_is_in_the_sample(void **state)
{
	struct buf text = { 0 };
	(void)state;
	read_file(SAMPLE, &text);
	for_each_option(is_in_sample, text.data);
	buf_free(&text);
}

static void every_option_is_in_the_manual(void **state)
{
	struct buf text = { 0 };
	(void)state;
	read_file(PAGE, &text);
	for_each_option(is_in_page, text.data);
	buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sample_as_it_is),
		cmocka_unit_test(sample_without_comments),
		cmocka_unit_test(every_option_is_in_the_sample),
		cmocka_unit_test(every_option_is_in_the_manual),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
