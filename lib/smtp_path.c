#include "smtp_path.h"

#include "addr.h"
#include "err.h"
#include "smtp_domain.h"

/* What a path is refused with; the enhanced status tells sender (5.1.7) from recipient (5.1.3). */
static const struct smtp_reply_text refusals[2][3] = {
	[SMTP_REVERSE_PATH] = {
		{ 501, "5.1.7", "Bad sender address syntax" },
		{ 501, "5.1.7", "Sender address too long" },
		{ 553, "5.6.7", "Sender address has non-ASCII characters, and SMTPUTF8 is not offered" },
	},
	[SMTP_FORWARD_PATH] = {
		{ 501, "5.1.3", "Bad recipient address syntax" },
		{ 501, "5.1.3", "Recipient address too long" },
		{ 553, "5.6.7", "Recipient address has non-ASCII characters, and SMTPUTF8 is not offered" },
	},
};
static const struct smtp_reply_text usage[2] = {
	[SMTP_REVERSE_PATH] = { 501, "5.5.4", "Syntax: MAIL FROM:<address>" },
	[SMTP_FORWARD_PATH] = { 501, "5.5.4", "Syntax: RCPT TO:<address>" },
};

static const struct smtp_reply_text *refusal(enum smtp_path_kind kind, int err)
{
	return &refusals[kind][err == ERR_TOOLONG ? 1 : err == ERR_UNSUPPORTED ? 2 : 0];
}

static bool is_atext(char c)
{
	char lower = span_lower(c);
	return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-/=?^_`{|}~", c));
}

/* One past the local part at the start of text: a quoted string or a run of atoms and dots.  0: there is none. */
static size_t local_end(struct span text)
{
	size_t i = 0;
	if (text.len == 0 || text.ptr[0] != '"') {
		while (i < text.len && (is_atext(text.ptr[i]) || text.ptr[i] == '.'))
			i++;
		return i;
	}
	for (i = 1; i < text.len && text.ptr[i] != '"'; i++) {
		if (text.ptr[i] == '\\')
			i++;
		if (i >= text.len || text.ptr[i] < ' ' || text.ptr[i] == 0x7f)
			return 0;
	}
	return i < text.len ? i + 1 : 0;
}

/* RFC 5321 dot-string: no dot at an end, no two in a row. */
static bool is_dot_string(struct span local)
{
	for (size_t i = 0; i < local.len; i++)
		if (local.ptr[i] == '.' && (i == 0 || i + 1 == local.len || local.ptr[i + 1] == '.'))
			return false;
	return true;
}

static bool has_8bit(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] > 0x7f)
			return true;
	return false;
}

static int check_domain(struct span domain, bool strict)
{
	struct addr literal;
	if (domain.len > SMTP_DOMAIN_CAP)
		return ERR_TOOLONG;
	if (domain.len > 0 && domain.ptr[0] == '[')
		return smtp_literal_parse(domain, &literal);
	return smtp_domain_is_valid(domain, strict) ? 0 : ERR_SYNTAX;
}

int smtp_mailbox_parse(struct span text, bool strict, struct smtp_path *out)
{
	if (has_8bit(text))
		return ERR_UNSUPPORTED;
	struct smtp_path path = { .path = text };
	size_t end = local_end(text);
	path.local = span_sub(text, 0, end);
	if (end == 0 || (strict && text.ptr[0] != '"' && !is_dot_string(path.local)))
		return ERR_SYNTAX;
	const size_t local_cap = strict ? SMTP_LOCAL_STRICT_CAP : SMTP_LOCAL_CAP;
	const size_t path_cap = strict ? SMTP_PATH_STRICT_CAP : SMTP_PATH_CAP;
	if (end > local_cap || text.len + 2 > path_cap)
		return ERR_TOOLONG;
	if (end < text.len) {
		if (text.ptr[end] != '@')
			return ERR_SYNTAX;
		path.domain = span_sub(text, end + 1, text.len);
		int err = check_domain(path.domain, strict);
		if (err)
			return err;
	} else if (strict && !span_eq_nocase(path.local, SPAN_LIT("postmaster"))) {
		return ERR_SYNTAX;
	}
	*out = path;
	return 0;
}

/* RFC 5321 section 4.1.1.3: "@a,@b:" in front of the mailbox is accepted and ignored, but it has to be well-formed. */
static int strip_route(struct span *text)
{
	if (text->len == 0 || text->ptr[0] != '@')
		return 0;
	size_t colon = span_find(*text, ':', 0);
	if (colon == text->len)
		return ERR_SYNTAX;
	struct span hops = span_sub(*text, 0, colon);
	struct span hop;
	while (span_cut(&hops, ',', &hop))
		if (hop.len < 2 || hop.ptr[0] != '@' || !smtp_domain_is_valid(span_sub(hop, 1, hop.len), false))
			return ERR_SYNTAX;
	*text = span_sub(*text, colon + 1, text->len);
	return 0;
}

/* Index of the bracket that closes the path, or the length.  Quoted strings may hold one. */
static size_t find_bracket(struct span text)
{
	bool is_quoted = false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		if (is_quoted && c == '\\')
			i++;
		else if (c == '"')
			is_quoted = !is_quoted;
		else if (c == '>' && !is_quoted)
			return i;
	}
	return text.len;
}

/* Split text into the path without brackets and what follows it. */
static int split_path(struct span text, bool strict, struct span *inside_out, struct span *rest_out, bool *is_bracketed_out)
{
	*is_bracketed_out = text.len > 0 && text.ptr[0] == '<';
	if (*is_bracketed_out) {
		size_t end = find_bracket(text);
		if (end == text.len)
			return ERR_SYNTAX;
		*inside_out = span_sub(text, 1, end);
		*rest_out = span_sub(text, end + 1, text.len);
		return rest_out->len == 0 || rest_out->ptr[0] == ' ' ? 0 : ERR_SYNTAX;
	}
	if (strict)
		return ERR_SYNTAX;
	size_t quoted_end = text.len > 0 && text.ptr[0] == '"' ? local_end(text) : 0;
	size_t end = span_find(text, ' ', quoted_end);
	*inside_out = span_sub(text, 0, end);
	*rest_out = span_sub(text, end, text.len);
	return 0;
}

static int parse_path(struct span text, enum smtp_path_kind kind, bool strict, struct smtp_path *out, struct span *rest_out)
{
	struct span inside, rest;
	bool is_bracketed;
	int err = split_path(text, strict, &inside, &rest, &is_bracketed);
	if (err)
		return err;
	struct smtp_path path = { .path = SPAN_LIT(""), .is_null = true };
	bool may_be_null = kind == SMTP_REVERSE_PATH && is_bracketed;
	if (inside.len > 0 || !may_be_null) {
		err = strip_route(&inside);
		if (err == 0)
			err = smtp_mailbox_parse(inside, strict, &path);
		if (err)
			return err;
	}
	*out = path;
	*rest_out = rest;
	return 0;
}

int smtp_path_parse(struct span args, enum smtp_path_kind kind, bool strict, struct smtp_path *out, struct span *rest_out,
		    const struct smtp_reply_text **why_out)
{
	struct span keyword = kind == SMTP_REVERSE_PATH ? SPAN_LIT("FROM:") : SPAN_LIT("TO:");
	if (!span_starts_nocase(args, keyword)) {
		*why_out = &usage[kind];
		return ERR_SYNTAX;
	}
	struct span text = span_sub(args, keyword.len, args.len);
	while (!strict && text.len > 0 && text.ptr[0] == ' ')
		text = span_sub(text, 1, text.len);
	int err = parse_path(text, kind, strict, out, rest_out);
	if (err)
		*why_out = refusal(kind, err);
	return err;
}
