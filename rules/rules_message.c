#include "rules_message.h"

#include <stdio.h>

/* Length of "5.7.1" at the start of text, 0 when it is no enhanced status code (RFC 3463 section 2). */
static size_t enhanced_len(struct span text)
{
	size_t at = 0;
	for (int part = 0; part < 3; part++) {
		size_t begin = at;
		while (at < text.len && at - begin < 3 && text.ptr[at] >= '0' && text.ptr[at] <= '9')
			at++;
		if (at == begin || (part == 0 && at != 1))
			return 0;
		if (part < 2 && (at >= text.len || text.ptr[at++] != '.'))
			return 0;
	}
	return at == text.len || text.ptr[at] == ' ' ? at : 0;
}

static int check_code(struct span text, size_t *at_out, struct reason *why)
{
	bool ok = text.len >= 3 && (text.ptr[0] == '4' || text.ptr[0] == '5') && (text.len == 3 || text.ptr[3] == ' ');
	for (size_t i = 1; ok && i < 3; i++)
		ok = text.ptr[i] >= '0' && text.ptr[i] <= '9';
	if (ok)
		return 0;
	*at_out = 0;
	return reason_set(why, ERR_SYNTAX, "message begins with '%.*s': expected a reply code from 400 to 599 and a space",
			  SPAN_FMT(span_sub(text, 0, 10)));
}

static int check_percents(struct span text, bool *uses_name_out, size_t *at_out, struct reason *why)
{
	*uses_name_out = false;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] != '%')
			continue;
		size_t begin = i++;
		char c = i < text.len ? text.ptr[i] : '\0';
		if (c == '\0' || !strchr("FTHIUC%", c)) {
			*at_out = begin;
			return reason_set(why, ERR_SYNTAX, "unknown '%.*s' in the message: expected %%F %%T %%H %%I %%U %%C or %%%%",
					  SPAN_FMT(span_sub(text, begin, begin + 2)));
		}
		*uses_name_out |= c == 'H';
	}
	return 0;
}

int rules_message_parse(struct arena *arena, struct span text, struct rules_message *out, size_t *at_out, struct reason *why)
{
	struct rules_message message = { 0 };
	int err = check_code(text, at_out, why);
	if (!err)
		err = check_percents(text, &message.uses_name, at_out, why);
	if (err)
		return err;
	struct span rest = span_sub(text, 4, text.len);
	size_t enhanced = enhanced_len(rest);
	if (enhanced && rest.ptr[0] != text.ptr[0]) {
		*at_out = 4;
		return reason_set(why, ERR_SYNTAX, "status code %.*s does not go with reply code %.*s: expected %c.x.y",
				  SPAN_FMT(span_sub(rest, 0, enhanced)), SPAN_FMT(span_sub(text, 0, 3)), text.ptr[0]);
	}
	char head[16];
	int head_len = snprintf(head, sizeof head, "%.3s %s", text.ptr, enhanced ? "" : text.ptr[0] == '5' ? "5.7.1 " : "4.7.1 ");
	size_t len = (size_t)head_len + rest.len;
	char *whole = arena_alloc(arena, len + 1);
	if (!whole)
		return reason_set(why, ERR_NOMEM, "no memory");
	memcpy(whole, head, (size_t)head_len);
	if (rest.len)
		memcpy(whole + head_len, rest.ptr, rest.len);
	message.template = (struct span){ whole, len };
	*out = message;
	return 0;
}

struct writer {
	char *text;
	size_t len;
};

static void put(struct writer *w, struct span s)
{
	for (size_t i = 0; i < s.len && w->len < VERDICT_REPLY_CAP - 1; i++)
		w->text[w->len++] = s.ptr[i] >= 0x20 && s.ptr[i] < 0x7f ? s.ptr[i] : s.ptr[i] == '\t' ? ' ' : '?';
}

/* The text of a present fact, or UNKNOWN. */
static struct span fact_text(const struct rules_facts *facts, enum fact_kind kind)
{
	const struct fact *f = facts_find(facts, &(struct fact_key){ .kind = kind });
	return f && f->state == FACT_PRESENT ? f->value.text : SPAN_LIT("UNKNOWN");
}

static struct span value_of(char code, const struct rules_facts *facts, struct span from, struct span to, char addr_text[ADDR_TEXT_CAP])
{
	switch (code) {
	case 'F': return from.len ? from : SPAN_LIT("<>");
	case 'T': return to;
	case 'H': return fact_text(facts, FACT_NAME);
	case 'U': return fact_text(facts, FACT_IDENT);
	case 'I': return span_of(addr_format(&facts->client.addr, addr_text));
	case 'C': return SPAN_LIT(":");
	default: return SPAN_LIT("%");
	}
}

void rules_message_render(const struct rules_message *message, const struct rules_facts *facts, struct span from, struct span to,
			  char reply[VERDICT_REPLY_CAP])
{
	struct writer w = { reply, 0 };
	struct span t = message->template;
	char addr_text[ADDR_TEXT_CAP];
	for (size_t i = 0; i < t.len; i++) {
		if (t.ptr[i] == '%' && i + 1 < t.len)
			put(&w, span_sub(value_of(t.ptr[++i], facts, from, to, addr_text), 0, MESSAGE_VALUE_MAX));
		else
			put(&w, span_sub(t, i, i + 1));
	}
	while (w.len && reply[w.len - 1] == ' ')
		w.len--;
	reply[w.len] = '\0';
}
