/* Token buckets, and the table of clients: what it counts, what it forgets, and what it does not. */
#include "client_table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "load_average.h"

/* ---- buckets */

static void bucket_gives_what_it_has(void **state)
{
	struct token_bucket b = { 0 };
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		assert_true(token_bucket_take(&b, 10, 1000));
	assert_false(token_bucket_take(&b, 10, 1000));
	assert_int_equal(token_bucket_left_ms(&b, 10, 1000), 60000);
	/* One comes back in six seconds, and not a millisecond before. */
	assert_false(token_bucket_take(&b, 10, 6999));
	assert_true(token_bucket_take(&b, 10, 7000));
	assert_false(token_bucket_take(&b, 10, 7000));
	/* A minute brings all of it back, and no more than that. */
	assert_int_equal(token_bucket_left_ms(&b, 10, 67000), 0);
	for (unsigned i = 0; i < 10; i++)
		assert_true(token_bucket_take(&b, 10, 10000000));
	assert_false(token_bucket_take(&b, 10, 10000000));
}

static void bucket_over_a_long_time(void **state)
{
	(void)state;
	for (uint64_t rate = 1; rate <= TOKEN_BUCKET_RATE_MAX; rate *= 10) {
		struct token_bucket b = { 0 };
		uint64_t taken = 0;
		/* Asked every 7 ms for three minutes. */
		for (uint64_t now = 5; now < 5 + 180000; now += 7)
			for (unsigned n = 0; n < 150 && token_bucket_take(&b, rate, now); n++)
				taken++;
		uint64_t most = rate + rate * 3;
		assert_true(taken <= most);
		if (rate <= 100000)
			assert_true(taken + 2 + rate * 7 / 60000 >= most); /* the last turn may have come 7 ms early */
	}
}

static void bucket_at_the_edges(void **state)
{
	struct token_bucket b = { 0 };
	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		assert_true(token_bucket_take(&b, 0, 0));
	assert_int_equal(b.debt, 0);
	assert_true(token_bucket_take(&b, TOKEN_BUCKET_RATE_MAX, UINT64_MAX - 1));
	assert_true(token_bucket_take(&b, TOKEN_BUCKET_RATE_MAX, UINT64_MAX));
	/* A clock that steps back gives nothing away and takes nothing. */
	struct token_bucket c = { 0 };
	assert_true(token_bucket_take(&c, 1, 5000));
	assert_false(token_bucket_take(&c, 1, 100));
	/* The rate was lowered by a reload: what is owed takes longer than the minute no more. */
	for (unsigned i = 0; i < 100; i++)
		(void)token_bucket_take(&b, 100, 5000);
	assert_true(token_bucket_take(&b, 1, 66000));
}

/* ---- clients */

static struct addr address(const char *text)
{
	struct addr a;
	assert_int_equal(addr_parse(span_of(text), &a), 0);
	return a;
}

static struct addr numbered(uint32_t n)
{
	struct addr a = { .family = ADDR_V4 };
	memcpy(a.bytes, &n, sizeof n);
	return a;
}

static enum client_answer enter(struct client_table *t, const char *text, const struct client_limits *limits, uint64_t now, struct client **out)
{
	const struct addr a = address(text);
	return client_table_enter(t, &a, limits, now, out);
}

static void connections_at_once(void **state)
{
	const struct client_limits limits = { .connections = 2 };
	struct client_table *t;
	struct client *a, *b, *c, *other;
	(void)state;
	assert_int_equal(client_table_create(&t), 0);
	assert_int_equal(enter(t, "192.0.2.1", &limits, 0, &a), CLIENT_WELCOME);
	assert_int_equal(enter(t, "192.0.2.1", &limits, 0, &b), CLIENT_WELCOME);
	assert_ptr_equal(a, b);
	assert_int_equal(enter(t, "192.0.2.1", &limits, 0, &c), CLIENT_TOO_MANY);
	assert_int_equal(enter(t, "192.0.2.2", &limits, 0, &other), CLIENT_WELCOME);
	client_table_leave(t, &limits, 0, &b);
	assert_null(b);
	assert_int_equal(enter(t, "192.0.2.1", &limits, 0, &c), CLIENT_WELCOME);
	assert_int_equal(client_connections(c), 2);
	client_table_leave(t, &limits, 0, &a);
	client_table_leave(t, &limits, 0, &c);
	client_table_leave(t, &limits, 0, &other);
	client_table_leave(t, &limits, 0, &other);
	/* Without a rate nothing is owed: nobody is kept. */
	assert_int_equal(client_table_count(t), 0);
	client_table_destroy(&t);
	assert_null(t);
}

static void who_is_one_client(void **state)
{
	const struct client_limits limits = { .connections = 1 };
	struct client_table *t;
	struct client *a, *b;
	(void)state;
	assert_int_equal(client_table_create(&t), 0);
	assert_int_equal(enter(t, "2001:db8:1:2::1", &limits, 0, &a), CLIENT_WELCOME);
	assert_int_equal(enter(t, "2001:db8:1:2:ffff::1", &limits, 0, &b), CLIENT_TOO_MANY);
	assert_int_equal(enter(t, "2001:db8:1:3::1", &limits, 0, &b), CLIENT_WELCOME);
	client_table_leave(t, &limits, 0, &a);
	client_table_leave(t, &limits, 0, &b);
	/* The same eight bytes in both families are two clients. */
	assert_int_equal(enter(t, "32.1.13.184", &limits, 0, &a), CLIENT_WELCOME);
	assert_int_equal(enter(t, "2001:db8::", &limits, 0, &b), CLIENT_WELCOME);
	client_table_leave(t, &limits, 0, &a);
	client_table_leave(t, &limits, 0, &b);
	client_table_destroy(&t);
}

static void rates_outlive_connections(void **state)
{
	const struct client_limits limits = { .connection_rate = 3, .recipient_rate = 5 };
	struct client_table *t;
	struct client *c;
	(void)state;
	assert_int_equal(client_table_create(&t), 0);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(enter(t, "192.0.2.1", &limits, 0, &c), CLIENT_WELCOME);
		for (unsigned n = 0; n < 5; n++)
			assert_int_equal(client_take_recipient(c, &limits, 0), i == 0);
		client_table_leave(t, &limits, 0, &c);
	}
	assert_int_equal(enter(t, "192.0.2.1", &limits, 0, &c), CLIENT_TOO_FAST);
	assert_int_equal(client_table_count(t), 1);
	assert_int_equal(enter(t, "192.0.2.1", &limits, 20000, &c), CLIENT_WELCOME);
	assert_true(client_take_recipient(c, &limits, 20000));
	client_table_leave(t, &limits, 80000, &c);
	assert_int_equal(client_table_count(t), 0);
	assert_true(client_take_recipient(NULL, &limits, 0));
	client_table_destroy(&t);
}

static void use_up(struct client_table *t, const struct client_limits *limits, struct addr *a)
{
	struct client *c;
	while (client_table_enter(t, a, limits, 0, &c) == CLIENT_WELCOME)
		client_table_leave(t, limits, 0, &c);
}

/* Half a million addresses that come once each: memory stays bounded, and who has used his rate up is remembered. */
static void a_crowd_does_not_wash_the_busy_away(void **state)
{
	const struct client_limits limits = { .connections = 5, .connection_rate = 20 };
	struct client_table *t;
	struct client *c, *open;
	struct addr busy[50];
	(void)state;
	assert_int_equal(client_table_create(&t), 0);
	assert_int_equal(enter(t, "198.51.100.1", &limits, 0, &open), CLIENT_WELCOME);
	for (uint32_t i = 0; i < 50; i++) {
		busy[i] = numbered(0xfe000000u + i);
		use_up(t, &limits, &busy[i]);
	}
	for (uint32_t i = 1; i < 500000; i++) {
		const struct addr a = numbered(i);
		assert_int_equal(client_table_enter(t, &a, &limits, 0, &c), CLIENT_WELCOME);
		client_table_leave(t, &limits, 0, &c);
		assert_true(client_table_count(t) <= CLIENT_TABLE_IDLE_MAX + 1);
	}
	assert_int_equal(client_table_count(t), CLIENT_TABLE_IDLE_MAX + 1);
	for (unsigned i = 0; i < 50; i++)
		assert_int_equal(client_table_enter(t, &busy[i], &limits, 0, &c), CLIENT_TOO_FAST);
	assert_int_equal(client_connections(open), 1);
	client_table_leave(t, &limits, 0, &open);
	client_table_destroy(&t);
}

static void load_is_what_the_kernel_says(void **state)
{
	unsigned whole, hundredths;
	FILE *file = fopen("/proc/loadavg", "r");
	(void)state;
	if (!file)
		skip();
	assert_int_equal(fscanf(file, "%u.%u", &whole, &hundredths), 2);
	(void)fclose(file);
	long difference = (long)load_average_hundredths() - (long)(whole * 100 + hundredths);
	/* The kernel works it out anew every five seconds, and rounds. */
	assert_in_range(difference + 200, 0, 400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bucket_gives_what_it_has),
		cmocka_unit_test(bucket_over_a_long_time),
		cmocka_unit_test(bucket_at_the_edges),
		cmocka_unit_test(connections_at_once),
		cmocka_unit_test(who_is_one_client),
		cmocka_unit_test(rates_outlive_connections),
		cmocka_unit_test(a_crowd_does_not_wash_the_busy_away),
		cmocka_unit_test(load_is_what_the_kernel_says),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
