#include "set_text.h"

#include <inttypes.h>
#include <stdio.h>

#include "err.h"

size_t set_text_line(enum kernel_set set, const struct kernel_element *element, char line[SET_TEXT_LINE_CAP])
{
	char text[KERNEL_ELEMENT_TEXT_CAP];
	int len = snprintf(line, SET_TEXT_LINE_CAP, "%s %s %" PRId64 "\n", kernel_set_name(set), kernel_element_format(element, text),
			   element->expires_at);
	return len > 0 ? (size_t)len : 0;
}

int set_text_parse(struct span line, enum kernel_set *set_out, struct kernel_element *out)
{
	struct span rest = line, name, what, expires;
	struct kernel_element element;
	enum kernel_set set;
	uint64_t at;
	if (!line.len || line.ptr[0] == '#')
		return ERR_NOTFOUND;
	if (!span_cut(&rest, ' ', &name) || !span_cut(&rest, ' ', &what) || !span_cut(&rest, ' ', &expires) || rest.ptr)
		return ERR_SYNTAX;
	if (kernel_set_find(name, &set) || kernel_element_parse(what, &element) || !kernel_element_fits(&element, set) ||
	    span_to_u64(expires, INT64_MAX, &at))
		return ERR_SYNTAX;
	element.expires_at = (int64_t)at;
	*set_out = set;
	*out = element;
	return 0;
}
