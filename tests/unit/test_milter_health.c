/* What a worker remembers of its filters (proxy/milter_health.c): who is left alone for how long, and how often the log speaks of it. */
#include "milter_health.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "log.h"

static const struct milter_spec one = { .name = "one", .host = "192.0.2.1", .port = 1 }, other = { .name = "other", .host = "192.0.2.2", .port = 1 };
static struct milter_health health;
static struct counter_slot slot;

static int setup(void **unused)
{
	(void)unused;
	memset(&health, 0, sizeof health);
	memset(&slot, 0, sizeof slot);
	return 0;
}

static void fails(int err, bool has_spoken, uint64_t now_ms)
{
	milter_health_failed(&health, 0, &one, "connection", err, has_spoken, &slot, now_ms);
}

static void test_a_silent_one_is_left_alone(void **unused)
{
	uint64_t now_ms = 5000;
	(void)unused;
	assert_true(milter_health_may_try(&health, 0, &one, now_ms));
	fails(ERR_TIMEOUT, false, now_ms);
	assert_int_equal(slot.milters[0].state, MILTER_DOWN);
	/* Those that were spared fail, too, and prolong nothing. */
	for (unsigned i = 1; i < 10; i++) {
		uint64_t later_ms = now_ms + i * MILTER_HEALTH_PAUSE_MS / 10;
		assert_false(milter_health_may_try(&health, 0, &one, later_ms));
		fails(ERR_TIMEOUT, false, later_ms);
	}
	now_ms += MILTER_HEALTH_PAUSE_MS;
	/* One tries, the others don't wait with it. */
	assert_true(milter_health_may_try(&health, 0, &one, now_ms));
	assert_false(milter_health_may_try(&health, 0, &one, now_ms));
	milter_health_answers(&health, 0, &one, &slot);
	assert_int_equal(slot.milters[0].state, MILTER_UP);
	assert_true(milter_health_may_try(&health, 0, &one, now_ms));
	assert_true(milter_health_may_try(&health, 0, &one, now_ms));
}

static void test_others_are_asked_each_time(void **unused)
{
	(void)unused;
	/* At once: nothing is gained by leaving it alone. */
	fails(ERR_REFUSED, false, 1);
	assert_true(milter_health_may_try(&health, 0, &one, 2));
	assert_int_equal(slot.milters[0].state, MILTER_DOWN);
	/* It is there, and slow with one message. */
	fails(ERR_TIMEOUT, true, 3);
	assert_true(milter_health_may_try(&health, 0, &one, 4));
	assert_int_equal(slot.milters[0].state, MILTER_UP);
	/* A reload has put another one there. */
	fails(ERR_TIMEOUT, false, 5);
	assert_false(milter_health_may_try(&health, 0, &one, 6));
	assert_true(milter_health_may_try(&health, 0, &other, 6));
}

/* How many lines fn makes the log write. */
static size_t lines_of(void (*fn)(void))
{
	static char text[65536];
	size_t count = 0;
	int pipes[2], saved = dup(STDERR_FILENO);
	assert_int_equal(pipe(pipes), 0);
	assert_true(dup2(pipes[1], STDERR_FILENO) >= 0);
	fn();
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	(void)close(saved);
	(void)close(pipes[1]);
	ssize_t n = read(pipes[0], text, sizeof text);
	(void)close(pipes[0]);
	for (ssize_t i = 0; i < n; i++)
		count += text[i] == '\n';
	return count;
}

static void fail_for_a_minute(void)
{
	for (uint64_t ms = 0; ms < MILTER_HEALTH_LOG_MS; ms += 100)
		fails(ERR_REFUSED, false, 1000 + ms);
}

static void fail_later(void)
{
	fails(ERR_REFUSED, false, 1000 + MILTER_HEALTH_LOG_MS);
}

static void answer(void)
{
	milter_health_answers(&health, 0, &one, &slot);
}

static void test_the_log_is_not_flooded(void **unused)
{
	(void)unused;
	log_setup("test", LOG_FORM_TERMINAL, LOG_LEVEL_INFO);
	assert_int_equal(lines_of(answer), 0);
	assert_int_equal(lines_of(fail_for_a_minute), 1);
	assert_int_equal(lines_of(fail_later), 1);
	assert_int_equal(lines_of(answer), 1);
	assert_int_equal(lines_of(answer), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_a_silent_one_is_left_alone, setup),
		cmocka_unit_test_setup(test_others_are_asked_each_time, setup),
		cmocka_unit_test_setup(test_the_log_is_not_flooded, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
