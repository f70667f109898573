/* The filters of `postern queue`: up to the first NUL the line, behind it an address; whatever parses must answer about it. */
#include <stdlib.h>
#include <string.h>

#include "queue_filter.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct queue_filter filter;
	struct reason why = { "" };
	const char *text = (const char *)data;
	size_t len = size ? strnlen(text, size) : 0;
	struct span path = { text + len, size - len };
	if (queue_filter_parse((struct span){ text, len }, &filter, &why) != 0) {
		if (!why.text[0])
			abort();
		return 0;
	}
	struct spool_envelope envelope = { .from = path, .client_name = path, .client.addr = { ADDR_V4, { 192, 0, 2, 1 } } };
	struct queue_filter_facts facts = { 60, 4096, SPAN_LIT("held"), path };
	bool takes = queue_filter_takes(&filter, &facts) && queue_filter_takes_envelope(&filter, &envelope, path) &&
		     queue_filter_takes_recipient(&filter, path);
	/* Without a filter everything is meant. */
	if (filter.keys == 0 && !takes)
		abort();
	return 0;
}
