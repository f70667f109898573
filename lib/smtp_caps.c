#include "smtp_caps.h"

#include <stddef.h>

struct word {
	const char *name;
	unsigned bit;
};

static const struct word keywords[] = {
	{ "PIPELINING", SMTP_CAP_PIPELINING },
	{ "SIZE", SMTP_CAP_SIZE },
	{ "8BITMIME", SMTP_CAP_8BITMIME },
	{ "ENHANCEDSTATUSCODES", SMTP_CAP_ENHANCEDSTATUSCODES },
	{ "DSN", SMTP_CAP_DSN },
	{ "STARTTLS", SMTP_CAP_STARTTLS },
	{ "XFORWARD", SMTP_CAP_XFORWARD },
	{ "XCLIENT", SMTP_CAP_XCLIENT },
	{ "CHUNKING", SMTP_CAP_CHUNKING },
	{ "SMTPUTF8", SMTP_CAP_SMTPUTF8 },
	{ NULL, 0 },
};

static const struct word attributes[] = {
	{ "NAME", SMTP_ATTR_NAME },
	{ "ADDR", SMTP_ATTR_ADDR },
	{ "PORT", SMTP_ATTR_PORT },
	{ "PROTO", SMTP_ATTR_PROTO },
	{ "HELO", SMTP_ATTR_HELO },
	{ "IDENT", SMTP_ATTR_IDENT },
	{ "SOURCE", SMTP_ATTR_SOURCE },
	{ "LOGIN", SMTP_ATTR_LOGIN },
	{ "DESTADDR", SMTP_ATTR_DESTADDR },
	{ "DESTPORT", SMTP_ATTR_DESTPORT },
	{ NULL, 0 },
};

static unsigned find_bit(const struct word *table, struct span name)
{
	for (; table->name; table++)
		if (span_eq_nocase(name, span_of(table->name)))
			return table->bit;
	return 0;
}

static unsigned parse_attributes(struct span words)
{
	unsigned found = 0;
	struct span word;
	while (span_cut(&words, ' ', &word))
		found |= find_bit(attributes, word);
	return found;
}

static void parse_line(struct span line, struct smtp_caps *caps)
{
	struct span args = span_trim(line);
	struct span keyword;
	if (!span_cut(&args, ' ', &keyword))
		return;
	unsigned bit = find_bit(keywords, keyword);
	uint64_t size = 0;
	args = span_trim(args);
	caps->offered |= bit;
	if (bit == SMTP_CAP_SIZE && span_to_u64(args, UINT64_MAX, &size) == 0)
		caps->size_limit = size;
	else if (bit == SMTP_CAP_XFORWARD)
		caps->xforward |= parse_attributes(args);
	else if (bit == SMTP_CAP_XCLIENT)
		caps->xclient |= parse_attributes(args);
}

void smtp_caps_parse(const struct smtp_reply *ehlo, struct smtp_caps *out)
{
	struct smtp_caps caps = { .offered = 0 };
	struct span rest = smtp_reply_span(ehlo);
	struct span line;
	(void)span_cut(&rest, '\n', &line);
	while (span_cut(&rest, '\n', &line))
		parse_line(line, &caps);
	*out = caps;
}
