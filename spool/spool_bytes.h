/* spool_bytes.h - little-endian numbers in stored bytes, and reads and writes that go through to the end.  Only for spool/.
 */
#ifndef POSTERN_SPOOL_BYTES_H
#define POSTERN_SPOOL_BYTES_H

#include <stddef.h>
#include <stdint.h>

static inline void spool_bytes_put(unsigned char *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static inline uint64_t spool_bytes_get(const unsigned char *at, unsigned size)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)at[i] << (8 * i);
	return value;
}

/* All of it, at the file's end (O_APPEND) or position.  ERR_NOSPACE, ERR_IO; then some of it may have been written. */
int spool_bytes_write_all(int fd, const void *bytes, size_t len);

/* Up to len bytes from offset; fewer only at the end of the file.  Number read, or ERR_IO. */
int64_t spool_bytes_read_at(int fd, void *bytes, size_t len, uint64_t offset);

/* Copy len bytes of one file to the end of another, going on with the CRC in *crc (may be NULL).  ERR_EOF when the source is shorter. */
int spool_bytes_copy(int from_fd, uint64_t offset, uint64_t len, int to_fd, uint32_t *crc);

#endif
