/* test_proxy_header - what a balancer says of a connection: whole, byte by byte, cut everywhere, each length wrong. */
#include "proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* In pieces of that size, each in a block of its own for the sanitizer; returns how many bytes were used. */
static size_t push(const void *bytes, size_t len, size_t piece, struct proxy_header *h, enum proxy_header_result *result_out)
{
	size_t at = 0;
	enum proxy_header_result result = PROXY_HEADER_MORE;
	*h = (struct proxy_header){ .have = 0 };
	while (at < len && result == PROXY_HEADER_MORE) {
		size_t n = len - at < piece ? len - at : piece, used;
		char *copy = malloc(n);
		assert_non_null(copy);
		memcpy(copy, (const char *)bytes + at, n);
		result = proxy_header_push(h, (struct span){ copy, n }, &used);
		free(copy);
		assert_true(result == PROXY_HEADER_MORE ? used == n : used > 0 && used <= n);
		at += used;
	}
	*result_out = result;
	return at;
}

/* The same whatever the pieces; with what would be mail behind it, which stays.  text: "client dst", NULL without. */
static void expect(const void *bytes, size_t len, enum proxy_header_result expected, const char *text)
{
	static char longer[70000];
	assert_true(len + 6 < sizeof longer);
	memcpy(longer, bytes, len);
	memcpy(longer + len, "EHLO x", 6);
	for (size_t piece = 1; piece < 600; piece += piece < 120 ? 1 : 97) {
		struct proxy_header h;
		enum proxy_header_result result;
		char client[ENDPOINT_TEXT_CAP], dst[ENDPOINT_TEXT_CAP], both[2 * ENDPOINT_TEXT_CAP];
		size_t used = push(longer, len + 6, piece, &h, &result);
		assert_int_equal(result, expected);
		if (expected != PROXY_HEADER_BAD)
			assert_int_equal(used, len);
		if (!text)
			continue;
		(void)snprintf(both, sizeof both, "%s %s", endpoint_format(&h.client, client), endpoint_format(&h.dst, dst));
		assert_string_equal(both, text);
	}
	for (size_t cut = 0; expected != PROXY_HEADER_BAD && cut < len; cut++) {
		struct proxy_header h;
		enum proxy_header_result result;
		(void)push(bytes, cut, 65536, &h, &result);
		assert_int_equal(result, PROXY_HEADER_MORE);
	}
}

static void version_1(void **state)
{
	static const struct {
		const char *line;
		enum proxy_header_result result;
		const char *text;
	} cases[] = {
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 25\r\n", PROXY_HEADER_RELAYED, "192.0.2.10:4711 203.0.113.25:25" },
		{ "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", PROXY_HEADER_RELAYED, "255.255.255.255:65535 255.255.255.255:65535" },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 0 0\r\n", PROXY_HEADER_RELAYED, "192.0.2.10:0 203.0.113.25:0" },
		{ "PROXY TCP6 2001:db8::10 2001:db8::25 4711 25\r\n", PROXY_HEADER_RELAYED, "[2001:db8::10]:4711 [2001:db8::25]:25" },
		{ "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", PROXY_HEADER_RELAYED,
		  "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535 [ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
		/* One client everywhere. */
		{ "PROXY TCP6 ::ffff:192.0.2.10 ::ffff:203.0.113.25 4711 25\r\n", PROXY_HEADER_RELAYED, "192.0.2.10:4711 203.0.113.25:25" },
		{ "PROXY UNKNOWN\r\n", PROXY_HEADER_OWN, NULL },
		{ "PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", PROXY_HEADER_OWN, NULL },
		{ "PROXY UNKNOWN what ever\r\n", PROXY_HEADER_OWN, NULL },
		{ "PROXY UNKNOWNS\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY \r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 \r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 25 \r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 25 1\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4  192.0.2.10 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 65536\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 04711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 +1 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.300 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 0.0.0.0 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP6 :: 2001:db8::25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 2001:db8::10 2001:db8::25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP6 192.0.2.10 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP6 fe80::1%eth0 2001:db8::25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP5 192.0.2.10 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY UDP4 192.0.2.10 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 25\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25 4711 25\r\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROXY TCP4 192.0.2.10 203.0.113.25\r4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "proxy TCP4 192.0.2.10 203.0.113.25 4711 25\r\n", PROXY_HEADER_BAD, NULL },
		{ "EHLO c.example\r\n", PROXY_HEADER_BAD, NULL },
		{ "PROX", PROXY_HEADER_BAD, NULL }, /* and then EHLO */
		{ " ", PROXY_HEADER_BAD, NULL },
		{ "\r\n", PROXY_HEADER_BAD, NULL },
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		expect(cases[i].line, strlen(cases[i].line), cases[i].result, cases[i].text);
	expect("PROXY TCP4 192.0.2.10\0 203.0.113.25 1 25\r\n", 43, PROXY_HEADER_BAD, NULL);
}

static void version_1_is_bounded(void **state)
{
	char line[PROXY_HEADER_V1_CAP + 1];
	(void)state;
	memset(line, 'x', sizeof line);
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + PROXY_HEADER_V1_CAP - 2, "\r\n", 2);
	expect(line, PROXY_HEADER_V1_CAP, PROXY_HEADER_OWN, NULL);
	memcpy(line + PROXY_HEADER_V1_CAP - 2, "x\r\n", 3);
	expect(line, sizeof line, PROXY_HEADER_BAD, NULL);
}

/* Into out; returns the length of the whole. */
static size_t v2(uint8_t *out, uint8_t command, uint8_t family, size_t len, const void *block)
{
	memcpy(out, "\r\n\r\n\0\r\nQUIT\n", 12);
	out[12] = command;
	out[13] = family;
	out[14] = (uint8_t)(len >> 8);
	out[15] = (uint8_t)len;
	if (len)
		memcpy(out + 16, block, len);
	return 16 + len;
}

static const uint8_t inet[12] = { 192, 0, 2, 10, 203, 0, 113, 25, 0x12, 0x67, 0, 25 };
static const uint8_t inet6[36] = { 0x20, 1, 0xd, 0xb8, [15] = 0x10, 0x20, 1, 0xd, 0xb8, [31] = 0x25, 0x12, 0x67, 0, 25 };

static void version_2(void **state)
{
	static const char v4_text[] = "192.0.2.10:4711 203.0.113.25:25", v6_text[] = "[2001:db8::10]:4711 [2001:db8::25]:25";
	static uint8_t h[65552], block[65535];
	const uint8_t mapped[36] = { [10] = 0xff, 0xff, 192, 0, 2, 10, [26] = 0xff, 0xff, 203, 0, 113, 25, 0x12, 0x67, 0, 25 };
	(void)state;
	expect(h, v2(h, 0x21, 0x11, 12, inet), PROXY_HEADER_RELAYED, v4_text);
	expect(h, v2(h, 0x21, 0x21, 36, inet6), PROXY_HEADER_RELAYED, v6_text);
	expect(h, v2(h, 0x21, 0x21, 36, mapped), PROXY_HEADER_RELAYED, v4_text);
	expect(h, v2(h, 0x21, 0x11, 11, inet), PROXY_HEADER_BAD, NULL);
	expect(h, v2(h, 0x21, 0x21, 35, inet6), PROXY_HEADER_BAD, NULL);
	expect(h, v2(h, 0x21, 0x21, 0, NULL), PROXY_HEADER_BAD, NULL);
	expect(h, v2(h, 0x21, 0x11, 12, (const uint8_t[12]){ 0 }), PROXY_HEADER_BAD, NULL);
	/* The balancer for itself: whatever the family says and the block holds. */
	expect(h, v2(h, 0x20, 0x00, 0, NULL), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x20, 0x11, 12, inet), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x20, 0x11, 5, inet), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x20, 0xff, 3, inet), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x21, 0x00, 0, NULL), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x21, 0x00, 12, inet), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x21, 0x31, 216, block), PROXY_HEADER_OWN, NULL);
	expect(h, v2(h, 0x21, 0x31, 215, block), PROXY_HEADER_BAD, NULL);
	/* Datagrams, families, commands and versions that are none of ours. */
	for (unsigned family = 0; family < 256; family++)
		if (family != 0x00 && family != 0x11 && family != 0x21 && family != 0x31)
			expect(h, v2(h, 0x21, (uint8_t)family, 216, block), PROXY_HEADER_BAD, NULL);
	for (unsigned command = 0; command < 256; command++)
		if (command != 0x20 && command != 0x21)
			expect(h, v2(h, (uint8_t)command, 0x11, 12, inet), PROXY_HEADER_BAD, NULL);
	for (size_t i = 1; i < 12; i++) {
		size_t len = v2(h, 0x21, 0x11, 12, inet);
		h[i] ^= 0x40;
		expect(h, len, PROXY_HEADER_BAD, NULL);
	}
}

static void type_length_values(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		bool is_good;
	} cases[] = {
		{ "\x04\0\0", 3, true },
		{ "\x04\0\x05" "abcde", 8, true },
		{ "\x01\0\x02" "h2" "\x02\0\x0b" "c.example.x", 19, true },
		{ "\x04\0\0\x04\0\0", 6, true },
		{ "\x04", 1, false },
		{ "\x04\0", 2, false },
		{ "\x04\0\x01", 3, false },
		{ "\x04\0\x05" "abcd", 7, false },
		{ "\x04\xff\xff" "abcd", 7, false },
		{ "\x04\0\x03" "abcd", 7, false },
		{ "\x04\0\x02" "ab\x04\0", 7, false },
	};
	static uint8_t h[65552], block[65535];
	(void)state;
	memcpy(block, inet, 12);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		memcpy(block + 12, cases[i].bytes, cases[i].len);
		expect(h, v2(h, 0x21, 0x11, 12 + cases[i].len, block), cases[i].is_good ? PROXY_HEADER_RELAYED : PROXY_HEADER_BAD, NULL);
	}
	/* The longest. */
	size_t rest = sizeof block - 12 - 3;
	memcpy(block + 12, (const uint8_t[3]){ 4, (uint8_t)(rest >> 8), (uint8_t)rest }, 3);
	struct proxy_header header;
	enum proxy_header_result result;
	size_t len = v2(h, 0x21, 0x11, sizeof block, block);
	assert_int_equal(push(h, len, 1000, &header, &result), len);
	assert_int_equal(result, PROXY_HEADER_RELAYED);
	(void)push(h, len - 1, 1000, &header, &result);
	assert_int_equal(result, PROXY_HEADER_MORE);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(version_1), cmocka_unit_test(version_1_is_bounded), cmocka_unit_test(version_2),
					    cmocka_unit_test(type_length_values) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
