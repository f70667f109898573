/* A file of the content filter of any bytes loads or is refused; what loads looks at any message without fault, and finds the same however it is
 * cut.  The input: the file, an empty line, the message. */
#include <stdlib.h>

#include "filter_scan.h"

static struct filter_result look(struct filter_set *set, struct span message, size_t cut)
{
	struct filter_scan *scan = NULL;
	struct filter_result result = { .outcome = FILTER_UNKNOWN };
	if (filter_scan_create(set, &scan) != 0)
		return result;
	for (size_t at = 0; at < message.len; at += cut)
		filter_scan_push_all(scan, span_sub(message, at, at + cut));
	filter_scan_end(scan, &result);
	filter_scan_destroy(&scan);
	return result;
}

/* Wire form ends with its final dot. */
static struct span message_of(struct span bytes)
{
	const char *dot = bytes.len ? memmem(bytes.ptr, bytes.len, "\n.\r\n", 4) : NULL;
	if (bytes.len >= 3 && memcmp(bytes.ptr, ".\r\n", 3) == 0)
		return span_sub(bytes, 0, 3);
	return dot ? span_sub(bytes, 0, (size_t)(dot - bytes.ptr) + 4) : bytes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span bytes = { (const char *)data, size };
	const char *gap = size ? memmem(data, size, "\n\n", 2) : NULL;
	size_t end = gap ? (size_t)(gap - bytes.ptr) + 1 : size;
	struct filter_set *set = NULL;
	struct rules_diags diags = { 0 };
	if (filter_set_compile(SPAN_LIT("f"), span_sub(bytes, 0, end), &diags, &set) == 0) {
		struct span message = message_of(span_sub(bytes, end, size));
		struct filter_result whole = look(set, message, size + 1), cut = look(set, message, 3);
		if (whole.outcome != FILTER_UNKNOWN && cut.outcome != FILTER_UNKNOWN &&
		    (whole.outcome != cut.outcome || whole.rule_line != cut.rule_line || whole.kind != cut.kind))
			abort();
	} else if (diags.errors == 0) {
		abort();
	}
	filter_set_release(&set);
	rules_diags_free(&diags);
	return 0;
}
