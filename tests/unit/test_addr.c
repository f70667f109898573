/* Addresses, endpoints and prefixes. */
#include "addr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <stdlib.h>

#include "err.h"

static struct addr parse(const char *text)
{
	struct addr a = { 0 };
	assert_int_equal(addr_parse(span_of(text), &a), 0);
	return a;
}

static void check_text(const char *text, const char *expected, enum addr_family family)
{
	char out[ADDR_TEXT_CAP];
	struct addr a = parse(text);
	assert_int_equal(a.family, family);
	assert_string_equal(addr_format(&a, out), expected);
}

static void test_addr(void **unused)
{
	(void)unused;
	check_text("192.0.2.1", "192.0.2.1", ADDR_V4);
	check_text("::ffff:192.0.2.1", "192.0.2.1", ADDR_V4);
	check_text("2001:DB8:0:0::1", "2001:db8::1", ADDR_V6);
	check_text("::", "::", ADDR_V6);
	static const char *const bad[] = {
		"", "1.2.3", "1.2.3.4.5", "1.2.3.256", "1.2.3.4 ", "[::1]", "fe80::1%lo", "g::", "::1::"
	};
	struct addr a;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(addr_parse(span_of(bad[i]), &a), ERR_SYNTAX);
	assert_int_equal(addr_parse(SPAN_LIT("1.2.3.4\0"), &a), ERR_SYNTAX);
	char out[ADDR_TEXT_CAP];
	assert_string_equal(addr_format(&(struct addr){ 0 }, out), "none");
}

static void test_kinds(void **unused)
{
	(void)unused;
	struct addr a = parse("127.9.9.9"), b = parse("::1"), c = parse("0.0.0.0"), d = parse("::"), e = parse("192.0.2.1");
	assert_true(addr_is_loopback(&a) && addr_is_loopback(&b) && !addr_is_loopback(&e) && !addr_is_loopback(&d));
	assert_true(addr_is_any(&c) && addr_is_any(&d) && !addr_is_any(&b) && !addr_is_any(&(struct addr){ 0 }));
	assert_true(addr_eq(&a, &a) && !addr_eq(&c, &d));
	assert_int_equal(addr_bits(&a), 32);
	assert_int_equal(addr_bits(&b), 128);
}

static void test_endpoint(void **unused)
{
	(void)unused;
	static const char *const good[] = { "192.0.2.1:25", "[2001:db8::1]:65535", "0.0.0.0:0" };
	static const char *const bad[] = {
		"",      ":25",     "192.0.2.1", "192.0.2.1:", "192.0.2.1:65536", "2001:db8::1:25", "[192.0.2.1]:25",
		"[::1]", "[::1]25", "host:25",
	};
	struct endpoint e;
	char text[ENDPOINT_TEXT_CAP];
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(endpoint_parse(span_of(good[i]), &e), 0);
		assert_string_equal(endpoint_format(&e, text), good[i]);
		struct sockaddr_storage sa;
		struct endpoint back;
		assert_true(endpoint_to_sockaddr(&e, &sa) > 0);
		assert_int_equal(endpoint_from_sockaddr((const struct sockaddr *)&sa, &back), 0);
		assert_true(endpoint_eq(&e, &back));
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(endpoint_parse(span_of(bad[i]), &e), ERR_SYNTAX);
	struct sockaddr other = { .sa_family = AF_UNIX };
	assert_int_equal(endpoint_from_sockaddr(&other, &e), ERR_UNSUPPORTED);
}

static bool contains(const char *net, unsigned bits, const char *host)
{
	struct addr a = parse(net), b = parse(host);
	struct cidr c;
	assert_int_equal(cidr_make(&a, bits, &c), 0);
	return cidr_contains(&c, &b);
}

static void test_cidr(void **unused)
{
	(void)unused;
	assert_true(contains("192.0.2.77", 24, "192.0.2.1"));
	assert_false(contains("192.0.2.77", 24, "192.0.3.1"));
	assert_true(contains("192.0.2.128", 25, "192.0.2.255"));
	assert_false(contains("192.0.2.128", 25, "192.0.2.127"));
	assert_true(contains("192.0.2.1", 0, "10.0.0.1"));
	assert_false(contains("0.0.0.0", 0, "::1"));
	assert_true(contains("192.0.2.1", 32, "192.0.2.1"));
	assert_false(contains("192.0.2.1", 32, "192.0.2.0"));
	assert_true(contains("2001:db8::", 33, "2001:db8:7fff::1"));
	assert_false(contains("2001:db8::", 33, "2001:db8:8000::1"));
	assert_true(contains("2001:db8::1", 128, "2001:db8::1"));
	struct cidr c;
	struct addr v4 = parse("192.0.2.255"), v6 = parse("::1");
	assert_int_equal(cidr_make(&v4, 33, &c), ERR_INVAL);
	assert_int_equal(cidr_make(&v6, 129, &c), ERR_INVAL);
	assert_int_equal(cidr_make(&(struct addr){ 0 }, 0, &c), ERR_INVAL);
	assert_int_equal(cidr_make(&v4, 27, &c), 0);
	assert_int_equal(c.addr.bytes[3], 224);
}

/* Against the definition, bit by bit. */
static void test_cidr_random(void **unused)
{
	(void)unused;
	srand(1);
	for (int round = 0; round < 5000; round++) {
		struct addr a = { .family = ADDR_V6 }, b = { .family = ADDR_V6 };
		unsigned bits = (unsigned)rand() % 129, same = 0;
		for (size_t i = 0; i < 16; i++) {
			a.bytes[i] = (uint8_t)rand();
			b.bytes[i] = (uint8_t)(a.bytes[i] ^ (rand() % 24 ? 0 : 1u << rand() % 8));
		}
		while (same < 128 && ((a.bytes[same / 8] ^ b.bytes[same / 8]) >> (7 - same % 8) & 1) == 0)
			same++;
		struct cidr c;
		assert_int_equal(cidr_make(&a, bits, &c), 0);
		assert_int_equal(cidr_contains(&c, &b), same >= bits);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addr), cmocka_unit_test(test_kinds),       cmocka_unit_test(test_endpoint),
		cmocka_unit_test(test_cidr), cmocka_unit_test(test_cidr_random),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
