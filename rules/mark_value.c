#include "mark_value.h"

static int parse_number(struct span text, uint32_t *out)
{
	uint64_t value = 0;
	if (!span_starts_nocase(text, SPAN_LIT("0x"))) {
		if (span_to_u64(text, UINT32_MAX, &value))
			return ERR_SYNTAX;
		*out = (uint32_t)value;
		return 0;
	}
	if (text.len < 3 || text.len > 10)
		return ERR_SYNTAX;
	for (size_t i = 2; i < text.len; i++) {
		char c = span_lower(text.ptr[i]);
		if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
			return ERR_SYNTAX;
		value = value << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	*out = (uint32_t)value;
	return 0;
}

int mark_value_parse(struct span text, struct mark_value *out, struct reason *why)
{
	struct mark_value value = { 0, MARK_FREE_BITS };
	size_t slash = span_find(text, '/', 0);
	if (parse_number(span_sub(text, 0, slash), &value.bits) || (slash < text.len && parse_number(span_sub(text, slash + 1, text.len), &value.mask)))
		return reason_set(why, ERR_SYNTAX, "'%.*s': expected a mark such as 5, 0x10 or 0x10/0xff", SPAN_FMT(span_sub(text, 0, 60)));
	if ((value.bits | (slash < text.len ? value.mask : 0)) & ~MARK_FREE_BITS)
		return reason_set(why, ERR_SYNTAX, "'%.*s': the bits 0x%x are postern's own", SPAN_FMT(span_sub(text, 0, 60)), ~MARK_FREE_BITS);
	if (value.bits & ~value.mask)
		return reason_set(why, ERR_SYNTAX, "'%.*s': the mark has bits outside of its mask", SPAN_FMT(span_sub(text, 0, 60)));
	*out = value;
	return 0;
}
