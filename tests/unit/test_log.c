/* Log lines: one event one line whatever is in it, levels, each form, and a reader that does not read. */
#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "kv.h"

static int read_fd, saved_stderr;

/* What was written since the last call, as a string. */
static const char *written(void)
{
	static char text[70000];
	ssize_t n = read(read_fd, text, sizeof text - 1);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static void forms(void **state)
{
	char expected[64];
	(void)state;
	log_setup("tester", LOG_FORM_PRIORITY, LOG_LEVEL_INFO);
	log_event(LOG_LEVEL_WARN, "odd", "%d things", 3);
	(void)snprintf(expected, sizeof expected, "<4>tester[%ld]: ev=odd msg=\"3 things\"\n", (long)getpid());
	assert_string_equal(written(), expected);
	log_setup("tester", LOG_FORM_JOURNAL, LOG_LEVEL_INFO);
	log_event(LOG_LEVEL_WARN, "odd", "%d things", 3);
	assert_string_equal(written(), "<4>ev=odd msg=\"3 things\"\n");
	log_setup("tester", LOG_FORM_TERMINAL, LOG_LEVEL_INFO);
	log_event(LOG_LEVEL_ERR, "odd", "x");
	const char *line = written();
	assert_true(strlen(line) > 13 && line[2] == ':' && line[5] == ':' && line[8] == '.');
	(void)snprintf(expected, sizeof expected, " tester[%ld] err: ev=odd msg=x\n", (long)getpid());
	assert_string_equal(line + 12, expected);
}

static void levels(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_WARN);
	assert_true(log_enabled(LOG_LEVEL_ERR));
	assert_false(log_enabled(LOG_LEVEL_INFO));
	log_event(LOG_LEVEL_INFO, "quiet", "x");
	log_event(LOG_LEVEL_DEBUG, "quiet", "x");
	assert_string_equal(written(), "");
	log_set_level(LOG_LEVEL_DEBUG);
	log_event(LOG_LEVEL_DEBUG, "loud", "x");
	assert_non_null(strstr(written(), "ev=loud"));
}

static void one_line_whatever_is_in_it(void **state)
{
	char all[256], huge[20000];
	(void)state;
	for (int i = 0; i < 255; i++)
		all[i] = (char)(i + 1);
	all[255] = '\0';
	memset(huge, '"', sizeof huge - 1);
	huge[sizeof huge - 1] = '\0';
	log_event(LOG_LEVEL_ERR, "all", "%s", all);
	log_event(LOG_LEVEL_ERR, "huge", "%s", huge);
	const char *text = written();
	unsigned lines = 0;
	for (const char *p = text; *p; p++) {
		assert_true(*p == '\n' || (*p >= ' ' && *p < 0x7f));
		lines += *p == '\n';
	}
	assert_int_equal(lines, 2);
}

static void full_pipe_loses_lines_and_says_so(void **state)
{
	uint64_t before = log_lost();
	(void)state;
	while (log_lost() < before + 5)
		log_event(LOG_LEVEL_ERR, "flood", "a line that fills the pipe sooner or later");
	while (written()[0])
		;
	log_event(LOG_LEVEL_ERR, "after", "x");
	const char *text = written();
	const char *lost = strstr(text, "ev=log-lost lines=5");
	assert_non_null(lost);
	assert_non_null(strstr(lost, "ev=after"));
	log_event(LOG_LEVEL_ERR, "again", "x");
	assert_null(strstr(written(), "log-lost"));
}

static int take_stderr(void **state)
{
	int fds[2];
	(void)state;
	if (pipe2(fds, O_NONBLOCK) != 0)
		return -1;
	read_fd = fds[0];
	saved_stderr = dup(STDERR_FILENO);
	return dup2(fds[1], STDERR_FILENO) < 0 || close(fds[1]) != 0;
}

static int give_stderr_back(void **state)
{
	(void)state;
	return dup2(saved_stderr, STDERR_FILENO) < 0;
}

#define LOG_TEST(fn) cmocka_unit_test_setup_teardown(fn, take_stderr, give_stderr_back)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(forms),
		LOG_TEST(levels),
		LOG_TEST(one_line_whatever_is_in_it),
		LOG_TEST(full_pipe_loses_lines_and_says_so),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
