/* Acknowledgements: entries that are good, damaged or torn, in any order.  A message counts as settled only if a good entry says so: an error the
 * other way loses mail. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "ack.h"
#include "crc32c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ENTRIES_MAX 200u

struct noted {
	uint64_t offset;
	uint32_t recipient;
	uint16_t outcome;
};

/* Five bytes of input an entry: the first says what is done to it. */
static size_t build(const uint8_t *data, size_t size, unsigned char *file, struct noted *noted, size_t *noted_count, uint64_t *void_offset)
{
	size_t len = 0;
	for (; size >= 5 && len < ENTRIES_MAX * SPOOL_ACK_LEN; data += 5, size -= 5) {
		struct spool_ack_log log = { .fd = -1 };
		struct noted n = { data[1] % 8u * 1000u, data[2] % 5u == 4 ? SPOOL_ACK_ALL : data[2] % 5u, data[3] % 9u };
		assert(spool_ack_add(&log, n.offset, n.recipient, (enum spool_outcome)n.outcome) == 0);
		unsigned char entry[SPOOL_ACK_LEN];
		memcpy(entry, log.pending.data, sizeof entry);
		buf_free(&log.pending);
		bool is_damaged = data[0] % 4 == 1;
		if (is_damaged)
			entry[data[4] % SPOOL_ACK_LEN] ^= (unsigned char)(1u << (data[0] >> 5));
		memcpy(file + len, entry, sizeof entry);
		len += sizeof entry;
		if (is_damaged)
			continue;
		if (n.outcome == SPOOL_OUTCOME_VOID)
			*void_offset = n.offset < *void_offset ? n.offset : *void_offset;
		else
			noted[(*noted_count)++] = n;
	}
	size_t torn = size < SPOOL_ACK_LEN ? size : SPOOL_ACK_LEN - 1;
	memcpy(file + len, data, torn);
	return len + torn;
}

static bool is_noted(const struct noted *noted, size_t count, uint64_t offset, uint32_t recipient, enum spool_outcome outcome)
{
	for (size_t i = 0; i < count; i++) {
		if (noted[i].offset == offset && (noted[i].recipient == recipient || noted[i].recipient == SPOOL_ACK_ALL) && noted[i].outcome == outcome)
			return true;
	}
	return false;
}

static bool has_any(const struct noted *noted, size_t count, uint64_t offset, uint32_t recipient)
{
	for (size_t i = 0; i < count; i++) {
		if (noted[i].offset == offset && (noted[i].recipient == recipient || noted[i].recipient == SPOOL_ACK_ALL))
			return true;
	}
	return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static unsigned char file[(ENTRIES_MAX + 2) * SPOOL_ACK_LEN];
	static struct noted noted[ENTRIES_MAX + 1];
	size_t count = 0;
	uint64_t void_offset = UINT64_MAX;
	struct spool_ack_set set;
	/* Bytes as they are. */
	if (spool_ack_decode((struct span){ (const char *)data, size }, &set) == 0) {
		assert(set.count + set.damaged <= size / SPOOL_ACK_LEN + 1);
		spool_ack_set_free(&set);
	}
	size_t len = build(data, size, file, noted, &count, &void_offset);
	if (spool_ack_decode((struct span){ (const char *)file, len }, &set) != 0)
		return 0;
	assert(set.count == count && set.void_offset == void_offset);
	for (uint64_t offset = 0; offset < 9000; offset += 1000) {
		for (uint32_t recipient = 0; recipient < 5; recipient++) {
			enum spool_outcome outcome = spool_ack_get(&set, offset, recipient);
			bool is_known = has_any(noted, count, offset, recipient);
			assert(is_known ? is_noted(noted, count, offset, recipient, outcome) : outcome == SPOOL_OUTCOME_NONE);
		}
	}
	spool_ack_set_free(&set);
	return 0;
}
