#include "cidr_list.h"

#include <stdio.h>
#include <string.h>

static int parse_net(struct span word, struct cidr *out)
{
	size_t slash = span_find(word, '/', 0);
	struct span host = span_sub(word, 0, slash);
	struct addr addr;
	uint64_t bits;
	if (host.len > 2 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']')
		host = span_sub(host, 1, host.len - 1);
	if (addr_parse(host, &addr))
		return ERR_SYNTAX;
	bits = addr_bits(&addr);
	if (slash < word.len && span_to_u64(span_sub(word, slash + 1, word.len), bits, &bits))
		return ERR_SYNTAX;
	return cidr_make(&addr, (unsigned)bits, out);
}

int cidr_list_parse(struct span text, struct cidr_list *out, struct reason *why)
{
	struct cidr_list found;
	struct span word;
	memset(&found, 0, sizeof found);
	while ((word = span_next_word(&text)).len) {
		if (found.count == CIDR_LIST_MAX)
			return reason_set(why, ERR_TOOLONG, "more than %d networks", CIDR_LIST_MAX);
		if (parse_net(word, &found.nets[found.count]))
			return reason_set(why, ERR_SYNTAX, "'%.*s': expected an address or a network such as 192.0.2.1, 10.0.0.0/8 or 2001:db8::/32",
					  SPAN_FMT(word));
		found.count++;
	}
	*out = found;
	return 0;
}

bool cidr_list_has(const struct cidr_list *list, const struct addr *addr)
{
	for (size_t i = 0; i < list->count; i++)
		if (cidr_contains(&list->nets[i], addr))
			return true;
	return false;
}

const char *cidr_list_format(const struct cidr_list *list, char text[CIDR_LIST_TEXT_CAP])
{
	size_t len = 0;
	text[0] = '\0';
	for (size_t i = 0; i < list->count; i++) {
		char addr[ADDR_TEXT_CAP];
		int n = snprintf(text + len, CIDR_LIST_TEXT_CAP - len, "%s%s/%u", i ? " " : "", addr_format(&list->nets[i].addr, addr), list->nets[i].bits);
		len += n > 0 ? (size_t)n : 0;
	}
	return text;
}
