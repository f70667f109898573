/* Rates for networks and for all, on a clock of the test's. */
#include "net_rates.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static unsigned take(struct net_rates *rates, const char *text, unsigned tries, uint32_t of_all, uint32_t of_net, uint64_t now_ms)
{
	struct addr addr;
	unsigned taken = 0;
	assert_int_equal(addr_parse(span_of(text), &addr), 0);
	while (tries-- > 0)
		taken += net_rates_take(rates, &addr, of_all, of_net, now_ms);
	return taken;
}

static void test_rates(void **unused)
{
	static const struct siphash_key key = { 1, 2 };
	struct net_rates *r = NULL;
	(void)unused;
	assert_int_equal(net_rates_create(&key, &r), 0);
	/* Of one network, whichever of its addresses; then another; then all. */
	assert_int_equal(take(r, "192.0.2.1", 15, 50, 20, 1000), 15);
	assert_int_equal(take(r, "192.0.2.200", 15, 50, 20, 1000), 5);
	assert_int_equal(take(r, "192.0.3.1", 100, 50, 20, 1000), 20);
	assert_int_equal(take(r, "2001:db8:1::1", 8, 50, 20, 1000), 8);
	assert_int_equal(take(r, "2001:db8:1:ffff::1", 8, 50, 20, 1000), 2);
	assert_int_equal(take(r, "198.51.100.1", 8, 50, 20, 1000), 0);
	/* A second later all of it is back, half a second later half of it. */
	assert_int_equal(take(r, "192.0.2.1", 100, 50, 20, 2000), 20);
	assert_int_equal(take(r, "192.0.2.1", 100, 50, 20, 2500), 10);
	assert_int_equal(take(r, "192.0.2.1", 100, 50, 20, 1000000), 20);
	/* A clock that goes back gives nothing, and takes nothing. */
	assert_int_equal(take(r, "192.0.2.1", 100, 50, 20, 999000), 0);
	assert_int_equal(take(r, "192.0.4.1", 100, 0, 20, 2000000), 0);
	net_rates_destroy(&r);
	assert_null(r);
	net_rates_destroy(&r);
}

static unsigned take_alone(struct rate_bucket *bucket, unsigned tries, uint32_t per_s, uint64_t now_ms)
{
	unsigned taken = 0;
	while (tries-- > 0)
		taken += rate_bucket_take(bucket, per_s, now_ms);
	return taken;
}

/* However long nobody asked: what is given at once is a second's. */
static void test_one_rate(void **unused)
{
	struct rate_bucket bucket = { 0, 0 };
	(void)unused;
	assert_int_equal(take_alone(&bucket, 100, 20, 3600000), 20);
	assert_int_equal(take_alone(&bucket, 100, 20, 3600100), 2);
	assert_int_equal(take_alone(&bucket, 100, 20, 7200000), 20);
	assert_int_equal(take_alone(&bucket, 100, 0, 9000000), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rates), cmocka_unit_test(test_one_rate) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
