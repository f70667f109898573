#include "crc32c.h"

#include <pthread.h>
#include <string.h>

#define POLYNOMIAL UINT32_C(0x82f63b78) /* bit-reversed 0x1EDC6F41 */

/* Slicing by eight: table[k][b] is the sum of byte b followed by k zero bytes. */
static uint32_t table[8][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_fill(void)
{
	for (uint32_t b = 0; b < 256; b++) {
		uint32_t crc = b;
		for (int bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][b] = crc;
	}
	for (uint32_t b = 0; b < 256; b++) {
		for (int k = 1; k < 8; k++)
			table[k][b] = (table[k - 1][b] >> 8) ^ table[0][table[k - 1][b] & 0xff];
	}
}

uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t len)
{
	pthread_once(&table_once, table_fill);
	const unsigned char *p = bytes;
	crc = ~crc;
	for (; len >= 8; p += 8, len -= 8) {
		crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
		crc = table[7][crc & 0xff] ^ table[6][(crc >> 8) & 0xff] ^ table[5][(crc >> 16) & 0xff] ^ table[4][crc >> 24] ^
		      table[3][p[4]] ^ table[2][p[5]] ^ table[1][p[6]] ^ table[0][p[7]];
	}
	for (; len > 0; p++, len--)
		crc = (crc >> 8) ^ table[0][(crc ^ *p) & 0xff];
	return ~crc;
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_sse42(uint32_t start, const void *bytes, size_t len)
{
	const unsigned char *p = bytes;
	uint64_t crc = (uint32_t)~start;
	for (; len >= 8; p += 8, len -= 8) {
		uint64_t word;
		memcpy(&word, p, sizeof word);
		crc = __builtin_ia32_crc32di(crc, word);
	}
	for (; len > 0; p++, len--)
		crc = __builtin_ia32_crc32qi((uint32_t)crc, *p);
	return ~(uint32_t)crc;
}

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	return __builtin_cpu_supports("sse4.2") ? crc32c_sse42(crc, bytes, len) : crc32c_portable(crc, bytes, len);
}

#else

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len)
{
	return crc32c_portable(crc, bytes, len);
}

#endif
