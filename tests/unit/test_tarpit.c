/* The pace of replies in the tarpit. */
#include "tarpit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void grows_up_to_its_bound(void **state)
{
	static const uint64_t expected[] = { 1000, 2000, 4000, 8000, 10000, 10000, 10000 };
	const struct tarpit_options options = { 1000, 2, 10000 };
	struct tarpit pit = { 0 };
	uint64_t now = 77;
	(void)state;
	for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
		uint64_t hold = tarpit_hold_ms(&pit, &options, now);
		assert_int_equal(hold, expected[i]);
		now += hold + 5; /* the client speaks again when it has its reply */
	}
}

static void stays_the_same_without_multiplier(void **state)
{
	const struct tarpit_options options = { 3000, 1, 60000 };
	struct tarpit pit = { 0 };
	(void)state;
	for (uint64_t now = 0; now < 1000000; now += 5000)
		assert_int_equal(tarpit_hold_ms(&pit, &options, now), 3000);
}

/* All at once: the replies leave one behind the other. */
static void pipelined_replies_wait_in_a_row(void **state)
{
	const struct tarpit_options options = { 1000, 2, 4000 };
	struct tarpit pit = { 0 };
	(void)state;
	assert_int_equal(tarpit_hold_ms(&pit, &options, 500), 1000);
	assert_int_equal(tarpit_hold_ms(&pit, &options, 500), 3000);
	assert_int_equal(tarpit_hold_ms(&pit, &options, 700), 6800);
	assert_int_equal(tarpit_hold_ms(&pit, &options, 7500), 4000);
}

static void extreme_options(void **state)
{
	static const struct tarpit_options odd[] = { { 0, 5, 1000 }, { 1000, 5, 0 }, { 5000, 2, 1000 }, { 1, 100, UINT64_MAX / 4 } };
	(void)state;
	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		struct tarpit pit = { 0 };
		uint64_t now = 0;
		for (unsigned n = 0; n < 4; n++) {
			uint64_t hold = tarpit_hold_ms(&pit, &odd[i], now);
			assert_true(hold <= odd[i].max_ms);
			now += hold;
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(grows_up_to_its_bound),
		cmocka_unit_test(stays_the_same_without_multiplier),
		cmocka_unit_test(pipelined_replies_wait_in_a_row),
		cmocka_unit_test(extreme_options),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
