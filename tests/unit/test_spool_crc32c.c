/* crc32c against the vectors of RFC 3720 section B.4, the two ways against each other, in pieces against whole. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "crc32c.h"

static void vectors(void **state)
{
	(void)state;
	unsigned char bytes[32];
	memset(bytes, 0, sizeof bytes);
	assert_int_equal(crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof bytes);
	assert_int_equal(crc32c(0, bytes, 32), 0x62a8ab43);
	for (unsigned i = 0; i < 32; i++)
		bytes[i] = (unsigned char)i;
	assert_int_equal(crc32c(0, bytes, 32), 0x46dd794e);
	assert_int_equal(crc32c_portable(0, bytes, 32), 0x46dd794e);
	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	assert_int_equal(crc32c(0, NULL, 0), 0);
}

static void both_ways_and_pieces(void **state)
{
	(void)state;
	unsigned char bytes[300];
	for (unsigned i = 0; i < sizeof bytes; i++)
		bytes[i] = (unsigned char)(i * 7919 >> 3);
	for (size_t from = 0; from < 9; from++) {
		for (size_t len = 0; from + len <= sizeof bytes; len++) {
			uint32_t whole = crc32c(0, bytes + from, len);
			assert_int_equal(whole, crc32c_portable(0, bytes + from, len));
			size_t cut = len / 3;
			assert_int_equal(whole, crc32c(crc32c(0, bytes + from, cut), bytes + from + cut, len - cut));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(vectors), cmocka_unit_test(both_ways_and_pieces) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
