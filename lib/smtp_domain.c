#include "smtp_domain.h"

#include "err.h"

#define LABEL_CAP 63u

static bool is_alnum(char c)
{
	c = span_lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_label(struct span label, bool strict)
{
	if (label.len == 0 || label.len > LABEL_CAP || label.ptr[0] == '-' || label.ptr[label.len - 1] == '-')
		return false;
	for (size_t i = 0; i < label.len; i++) {
		char c = label.ptr[i];
		if (!is_alnum(c) && c != '-' && (strict || c != '_'))
			return false;
	}
	return true;
}

bool smtp_domain_is_valid(struct span name, bool strict)
{
	struct span label;
	if (name.len == 0 || name.len > SMTP_DOMAIN_CAP)
		return false;
	while (span_cut(&name, '.', &label))
		if (!is_label(label, strict))
			return false;
	return true;
}

int smtp_literal_parse(struct span text, struct addr *out)
{
	const struct span v6_tag = SPAN_LIT("IPv6:");
	if (text.len < 2 || text.ptr[0] != '[' || text.ptr[text.len - 1] != ']')
		return ERR_SYNTAX;
	struct span inside = span_sub(text, 1, text.len - 1);
	bool is_v6 = span_starts_nocase(inside, v6_tag);
	if (is_v6)
		inside = span_sub(inside, v6_tag.len, inside.len);
	/* An IPv4-mapped address comes out as ADDR_V4 though it was tagged: the colon tells, not the family. */
	bool has_colon = span_find(inside, ':', 0) < inside.len;
	return is_v6 == has_colon ? addr_parse(inside, out) : ERR_SYNTAX;
}

void smtp_helo_parse(struct span args, struct smtp_helo *out)
{
	struct smtp_helo helo = { .kind = SMTP_HELO_ODD };
	struct span rest = span_trim(args);
	size_t end = 0;
	while (end < rest.len && rest.ptr[end] != ' ' && rest.ptr[end] != '\t')
		end++;
	helo.name = span_sub(rest, 0, end < SMTP_DOMAIN_CAP ? end : SMTP_DOMAIN_CAP);
	if (rest.len == 0)
		helo.kind = SMTP_HELO_EMPTY;
	else if (end == rest.len && smtp_literal_parse(rest, &helo.literal) == 0)
		helo.kind = SMTP_HELO_LITERAL;
	else if (end == rest.len && smtp_domain_is_valid(rest, false))
		helo.kind = SMTP_HELO_DOMAIN;
	*out = helo;
}
