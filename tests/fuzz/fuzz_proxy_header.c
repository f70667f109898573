/* PROXY headers: the same answer whole and byte by byte, nothing used behind the end, and addresses only where the answer has them. */
#include "proxy_header.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	const char *text = (const char *)bytes;
	struct proxy_header whole = { .have = 0 }, single = { .have = 0 };
	size_t used, at = 0, one;
	enum proxy_header_result result = proxy_header_push(&whole, (struct span){ text, size }, &used), other = PROXY_HEADER_MORE;
	while (at < size && other == PROXY_HEADER_MORE) {
		other = proxy_header_push(&single, (struct span){ text + at, 1 }, &one);
		at += one;
	}
	if (other != result || at != used || used > size || (result == PROXY_HEADER_MORE && used != size))
		abort();
	if (!endpoint_eq(&whole.client, &single.client) || !endpoint_eq(&whole.dst, &single.dst))
		abort();
	if ((whole.client.addr.family != ADDR_NONE) != (result == PROXY_HEADER_RELAYED))
		abort();
	return 0;
}
