/* test_dns - DNS answers, names and the cache. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "dns_answer.h"
#include "dns_cache.h"
#include "dns_name.h"
#include "err.h"

static struct dns_scratch scratch;

/* Headers: an answer to one question with so many answer and authority records. */
#define HEADER(flags, answers, authority) "\x12\x34\x81" flags "\0\1\0" answers "\0" authority "\0\0"
#define QUESTION(type) "\4mail\7example\0\0" type "\0\1"
#define POINTER "\xc0\x0c"
#define RR(type, ttl, length) "\0" type "\0\1\0\0\0" ttl "\0" length
#define WIRE(text) ((struct span){ text, sizeof text - 1 })

static struct dns_answer parse(struct span wire, enum dns_type type)
{
	struct dns_answer answer;
	/* From a heap block of exactly that size, so that the sanitizer sees a byte too far. */
	char *copy = malloc(wire.len ? wire.len : 1);
	assert_non_null(copy);
	memcpy(copy, wire.ptr, wire.len);
	dns_answer_parse((struct span){ copy, wire.len }, SPAN_LIT("Mail.Example"), type, &scratch, &answer);
	free(copy);
	return answer;
}

static const char address[] = HEADER("\x80", "\2", "\0") QUESTION("\1") POINTER RR("\1", "\x3c", "\4") "\xc0\0\2\x0a" POINTER RR("\1", "\x1e", "\4") "\xc0\0\2\x0b";
static const char alias[] = HEADER("\x80", "\2", "\0") QUESTION("\1") POINTER RR("\5", "\x0a", "\7") "\4real\xc0\x11" "\4real\7example\0" RR("\1", "\x3c", "\4") "\xc0\0\2\x0a";
static const char circle[] = HEADER("\x80", "\1", "\0") QUESTION("\1") POINTER RR("\5", "\x0a", "\2") POINTER;
static const char missing[] = HEADER("\x83", "\0", "\1") QUESTION("\1") "\xc0\x11" RR("\6", "\x63", "\x16") "\0\0" "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\x2a";
static const char missing_now[] = HEADER("\x83", "\0", "\1") QUESTION("\1") "\xc0\x11" RR("\6", "\x63", "\x16") "\0\0" "\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0\4\0\0\0\0";
static const char null_mx[] = HEADER("\x80", "\1", "\0") QUESTION("\x0f") POINTER RR("\x0f", "\x3c", "\3") "\0\0\0";

static void test_addresses(void **state)
{
	(void)state;
	struct dns_answer a = parse(WIRE(address), DNS_A);
	assert_int_equal(a.status, DNS_FOUND);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.ttl_s, 30);
	assert_int_equal(a.records[1].addr.bytes[3], 11);
	assert_int_equal(parse(WIRE(address), DNS_AAAA).status, DNS_NO_DATA);
}

static void test_aliases(void **state)
{
	(void)state;
	struct dns_answer a = parse(WIRE(alias), DNS_A);
	assert_int_equal(a.status, DNS_FOUND);
	assert_int_equal(a.count, 1);
	assert_int_equal(a.ttl_s, 10);
	assert_int_equal(parse(WIRE(circle), DNS_A).status, DNS_FAILED);
}

static void test_no(void **state)
{
	(void)state;
	struct dns_answer a = parse(WIRE(missing), DNS_A);
	assert_int_equal(a.status, DNS_NO_NAME);
	assert_int_equal(a.ttl_s, 42);
	/* Not as one whose servers say nothing about it. */
	assert_int_equal(parse(WIRE(missing_now), DNS_A).ttl_s, 1);
	a = parse(WIRE(null_mx), DNS_MX);
	assert_int_equal(a.status, DNS_FOUND);
	assert_int_equal(a.records[0].text.len, 0);
	assert_false(a.records[0].is_host);
}

static void test_cut_everywhere(void **state)
{
	static const struct span wires[] = { WIRE(address), WIRE(alias), WIRE(circle), WIRE(null_mx) };
	(void)state;
	for (size_t w = 0; w < sizeof wires / sizeof wires[0]; w++)
		for (size_t len = 0; len < wires[w].len; len++) {
			enum dns_type type = w == 3 ? DNS_MX : DNS_A;
			assert_int_equal(parse(span_sub(wires[w], 0, len), type).status, DNS_FAILED);
		}
}

/* Each byte of an answer set to each value: any answer is good, a fault is not. */
static void test_every_byte_wrong(void **state)
{
	char bytes[sizeof alias - 1];
	(void)state;
	for (size_t at = 0; at < sizeof bytes; at++)
		for (unsigned value = 0; value < 256; value++) {
			memcpy(bytes, alias, sizeof bytes);
			bytes[at] = (char)value;
			(void)parse((struct span){ bytes, sizeof bytes }, DNS_A);
			(void)parse((struct span){ bytes, sizeof bytes }, DNS_MX);
		}
}

static void test_names(void **state)
{
	char name[DNS_NAME_CAP];
	struct addr addr;
	struct span up = SPAN_LIT("a.b.example");
	(void)state;
	assert_int_equal(addr_parse(SPAN_LIT("192.0.2.1"), &addr), 0);
	assert_int_equal(dns_name_reversed(&addr, SPAN_LIT("list.example"), name), 0);
	assert_string_equal(name, "1.2.0.192.list.example");
	assert_int_equal(addr_parse(SPAN_LIT("2001:db8::567:89ab"), &addr), 0);
	assert_int_equal(dns_name_of_addr(&addr, name), 0);
	assert_string_equal(name, "b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa");
	assert_true(dns_name_up(&up));
	assert_true(span_eq(up, SPAN_LIT("b.example")));
	assert_false(dns_name_up(&up));
	char longest[DNS_NAME_MAX + 1];
	memset(longest, 'x', sizeof longest);
	assert_int_equal(dns_name_below((struct span){ longest, sizeof longest }, SPAN_LIT("z"), name), ERR_TOOLONG);
	assert_false(dns_name_is_askable(SPAN_LIT("a b.example")));
	assert_false(dns_name_is_askable(SPAN_LIT("")));
}

static struct dns_answer one_address(uint32_t ttl_s, struct dns_record *record)
{
	*record = (struct dns_record){ .addr = { ADDR_V4, { 10, 0, 0, 1 } }, .text = SPAN_LIT("text") };
	return (struct dns_answer){ .status = DNS_FOUND, .ttl_s = ttl_s, .count = 1, .records = record, .why = "" };
}

static bool is_there(struct dns_cache *cache, const char *name, uint64_t now_s)
{
	struct dns_cached *found = dns_cache_find(cache, span_of(name), DNS_A, now_s);
	bool is = found != NULL;
	if (is && dns_cached_answer(found)->status == DNS_FOUND)
		assert_true(span_eq(dns_cached_answer(found)->records[0].text, SPAN_LIT("text")));
	dns_cached_release(&found);
	return is;
}

static void put(struct dns_cache *cache, const char *name, const struct dns_answer *answer, uint64_t now_s)
{
	struct dns_cached *held = dns_cache_put(cache, span_of(name), DNS_A, answer, now_s);
	assert_non_null(held);
	dns_cached_release(&held);
}

static void test_cache_lifetimes(void **state)
{
	struct dns_cache *cache;
	struct dns_record record;
	struct dns_answer answer = one_address(100, &record), brief = one_address(0, &record), forever = one_address(1u << 30, &record);
	struct dns_answer no = { .status = DNS_NO_NAME, .ttl_s = 100000, .why = "" }, unsaid = { .status = DNS_NO_NAME, .why = "" }, failed = { .status = DNS_FAILED, .why = "x" };
	(void)state;
	assert_int_equal(dns_cache_create(100, 100000, &cache), 0);
	put(cache, "a.example", &answer, 1000);
	assert_true(is_there(cache, "A.Example", 1099));
	assert_false(is_there(cache, "a.example", 1100));
	put(cache, "b.example", &brief, 0);
	assert_true(is_there(cache, "b.example", DNS_CACHE_MIN_S - 1));
	assert_false(is_there(cache, "b.example", DNS_CACHE_MIN_S));
	put(cache, "c.example", &forever, 0);
	assert_false(is_there(cache, "c.example", DNS_CACHE_MAX_S));
	put(cache, "d.example", &no, 0);
	assert_true(is_there(cache, "d.example", DNS_CACHE_NEGATIVE_MAX_S - 1));
	assert_false(is_there(cache, "d.example", DNS_CACHE_NEGATIVE_MAX_S));
	put(cache, "f.example", &unsaid, 0);
	assert_true(is_there(cache, "f.example", DNS_CACHE_NEGATIVE_DEFAULT_S - 1));
	assert_false(is_there(cache, "f.example", DNS_CACHE_NEGATIVE_DEFAULT_S));
	put(cache, "e.example", &failed, 0);
	assert_false(is_there(cache, "e.example", DNS_CACHE_FAILURE_S));
	assert_int_equal(dns_cache_count(cache), 0);
	assert_int_equal(dns_cache_bytes(cache), 0);
	dns_cache_destroy(&cache);
}

static void test_cache_bounds(void **state)
{
	struct dns_cache *cache;
	struct dns_record record;
	struct dns_answer answer = one_address(100, &record);
	char name[32];
	(void)state;
	assert_int_equal(dns_cache_create(10, 100000, &cache), 0);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof name, "n%u.example", i);
		put(cache, name, &answer, 0);
		assert_true(is_there(cache, "n0.example", 0)); /* used again and again: stays */
	}
	assert_int_equal(dns_cache_count(cache), 10);
	assert_false(is_there(cache, "n50.example", 0));
	assert_true(is_there(cache, "n99.example", 0));
	/* Held ones outlive their removal. */
	struct dns_cached *held = dns_cache_find(cache, SPAN_LIT("n99.example"), DNS_A, 0);
	dns_cache_clear(cache);
	assert_int_equal(dns_cached_answer(held)->records[0].addr.bytes[0], 10);
	dns_cached_release(&held);
	dns_cache_destroy(&cache);
	/* By bytes, too: the oldest go, the bound is never passed. */
	assert_int_equal(dns_cache_create(1000, 4000, &cache), 0);
	for (unsigned i = 0; i < 100; i++) {
		(void)snprintf(name, sizeof name, "n%u.example", i);
		put(cache, name, &answer, 0);
		assert_in_range(dns_cache_bytes(cache), 1, 4000);
		assert_true(is_there(cache, name, 0));
	}
	assert_in_range(dns_cache_count(cache), 5, 90);
	assert_false(is_there(cache, "n0.example", 0));
	assert_true(is_there(cache, "n98.example", 0));
	dns_cache_clear(cache);
	assert_int_equal(dns_cache_bytes(cache), 0);
	dns_cache_destroy(&cache);
	/* Too large to stay: answered all the same. */
	assert_int_equal(dns_cache_create(10, 10, &cache), 0);
	put(cache, "a.example", &answer, 0);
	assert_int_equal(dns_cache_bytes(cache), 0);
	dns_cache_destroy(&cache);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),	  cmocka_unit_test(test_aliases), cmocka_unit_test(test_no),
		cmocka_unit_test(test_cut_everywhere),	  cmocka_unit_test(test_every_byte_wrong), cmocka_unit_test(test_names),
		cmocka_unit_test(test_cache_lifetimes), cmocka_unit_test(test_cache_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
