/* crc32c.h - CRC-32C (Castagnoli, RFC 3720 section 12.1), with the processor's instruction where there is one.
 * Start with crc 0; feed the result back in for the next piece: crc32c(crc32c(0, a), b) is the sum of a followed by b.
 */
#ifndef POSTERN_CRC32C_H
#define POSTERN_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same without the instruction: for tests. */
uint32_t crc32c_portable(uint32_t crc, const void *bytes, size_t len);

#endif
