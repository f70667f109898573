/* test_dns_shares - the room for questions: never full, whatever clients do, and given back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "dns_shares.h"
#include "err.h"

#define ROOM 4096u

static struct addr v4(unsigned n)
{
	return (struct addr){ ADDR_V4, { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } };
}

static unsigned take_all(struct dns_shares *all, const struct addr *client, struct dns_share *taken[ROOM])
{
	unsigned n = 0;
	while (dns_shares_take(all, client, &taken[n]) == 0)
		n++;
	assert_int_equal(dns_shares_take(all, client, &taken[n]), ERR_BUSY);
	return n;
}

static void test_alone(void **state)
{
	static struct dns_share *taken[ROOM];
	struct dns_shares all = { .room = ROOM };
	const struct addr client = { ADDR_V6, { 0x20, 1, [7] = 1, [15] = 1 } }, same_net = { ADDR_V6, { 0x20, 1, [7] = 1, [15] = 2 } };
	const struct addr other_net = { ADDR_V6, { 0x20, 1, [7] = 2, [15] = 1 } };
	struct dns_share *other = NULL, *nobody = NULL;
	(void)state;
	unsigned n = take_all(&all, &client, taken);
	assert_int_equal(n, ROOM / (DNS_SHARE_PART + 1) + 1);
	assert_int_equal(dns_shares_take(&all, &same_net, &other), ERR_BUSY);
	assert_null(other);
	assert_int_equal(dns_shares_take(&all, &other_net, &other), 0);
	assert_int_equal(all.taken, n + 1);
	dns_shares_give_back(&all, &other);
	assert_null(other);
	dns_shares_give_back(&all, &nobody);
	/* One back, one taken. */
	dns_shares_give_back(&all, &taken[0]);
	assert_int_equal(dns_shares_take(&all, &same_net, &taken[0]), 0);
	for (unsigned i = 0; i < n; i++)
		dns_shares_give_back(&all, &taken[i]);
	assert_int_equal(all.taken, 0);
	for (unsigned i = 0; i < DNS_SHARES_BUCKETS; i++)
		assert_null(all.buckets[i]);
}

/* Each takes what it gets: the next one still gets something, and fewer than those before. */
static void test_crowd(void **state)
{
	static struct dns_share *taken[ROOM + 1];
	struct dns_shares all = { .room = ROOM };
	unsigned last = ROOM, sum = 0;
	(void)state;
	for (unsigned client = 0; client < 500; client++) {
		const struct addr addr = v4(client);
		unsigned n = take_all(&all, &addr, taken + sum);
		assert_in_range(n, client <= 25 ? 20 : 0, last);
		last = n;
		sum += n;
	}
	assert_int_equal(all.taken, sum);
	assert_in_range(sum, ROOM * 3 / 4, ROOM);
	while (sum)
		dns_shares_give_back(&all, &taken[--sum]);
	assert_int_equal(all.taken, 0);
	assert_int_equal(take_all(&all, &(struct addr){ .family = ADDR_NONE }, taken), ROOM / (DNS_SHARE_PART + 1) + 1);
	while (all.taken)
		dns_shares_give_back(&all, &taken[all.taken - 1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_alone), cmocka_unit_test(test_crowd) };
	return cmocka_run_group_tests_name("dns_shares", tests, NULL, NULL);
}
