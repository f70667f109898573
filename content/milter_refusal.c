#include "milter_refusal.h"

#include <stdio.h>
#include <string.h>

#include "smtp_reply.h"

#define CODE_LEN 3u
#define LINE_CAP 1000u /* of its text; beyond it is cut */
#define LINES_MAX 100u

/* 400 to 599 where a reply begins here, and its code is followed by what may follow one; else 0. */
static unsigned code_at(struct span line)
{
	unsigned code = 0;
	for (size_t i = 0; i < CODE_LEN; i++) {
		if (i >= line.len || line.ptr[i] < '0' || line.ptr[i] > '9')
			return 0;
		code = code * 10 + (unsigned)(line.ptr[i] - '0');
	}
	bool has_end = line.len == CODE_LEN || line.ptr[CODE_LEN] == ' ' || line.ptr[CODE_LEN] == '-';
	return has_end && code >= 400 && code <= 599 ? code : 0;
}

/* "5.7.1 " of another class than the code's says the contrary of it to a client that goes by it. */
static struct span without_foreign_status(struct span text, unsigned code)
{
	size_t at = 1;
	unsigned dots = 0;
	if (text.len < 5 || !strchr("245", text.ptr[0]) || text.ptr[1] != '.' || (unsigned)(text.ptr[0] - '0') == code / 100)
		return text;
	for (; at < text.len && (text.ptr[at] == '.' || (text.ptr[at] >= '0' && text.ptr[at] <= '9')); at++)
		dots += text.ptr[at] == '.';
	return dots == 2 && (at == text.len || text.ptr[at] == ' ') ? span_trim(span_sub(text, at, text.len)) : text;
}

/* libmilter has its callers write %% for a percent sign. */
static int copy_text(struct span text, struct buf *out)
{
	int err = 0;
	text = span_sub(text, 0, LINE_CAP);
	for (size_t at = 0; !err && at < text.len; at++) {
		at += text.ptr[at] == '%' && at + 1 < text.len && text.ptr[at + 1] == '%';
		err = buf_append(out, text.ptr + at, 1);
	}
	return err ? err : buf_append(out, "\r\n", 2);
}

static struct span next_line(struct span *rest)
{
	size_t end = 0, behind;
	while (end < rest->len && rest->ptr[end] != '\r' && rest->ptr[end] != '\n')
		end++;
	for (behind = end; behind < rest->len && (rest->ptr[behind] == '\r' || rest->ptr[behind] == '\n'); behind++)
		continue;
	struct span line = span_sub(*rest, 0, end);
	*rest = span_sub(*rest, behind, rest->len);
	return line;
}

/* The lines as a server would write them: the first one's code in each. */
static int rewrite(struct span text, unsigned code, struct buf *lines)
{
	int err = 0;
	for (unsigned count = 0; !err && text.len && count < LINES_MAX && lines->len < SMTP_REPLY_TEXT_CAP; count++) {
		struct span line = next_line(&text);
		if (code_at(line))
			line = span_sub(line, CODE_LEN + 1, line.len);
		err = buf_printf(lines, "%u-", code);
		if (!err)
			err = copy_text(without_foreign_status(line, code), lines);
	}
	return err ? err : buf_printf(lines, "%u\r\n", code);
}

int milter_refusal_read(struct span text, struct milter_refusal *out)
{
	struct buf lines = { .cap = SMTP_REPLY_TEXT_CAP + LINE_CAP + 64 };
	struct smtp_reply reply;
	size_t used = 0;
	unsigned code = code_at(text);
	/* A line end may be all that follows the code. */
	if (!code)
		code = code_at(next_line(&text));
	if (!code)
		return ERR_PROTO;
	smtp_reply_reset(&reply);
	int err = rewrite(text, code, &lines);
	if (!err)
		err = smtp_reply_push(&reply, buf_span(&lines), &used);
	buf_free(&lines);
	if (err)
		return err;
	struct span said = span_trim(smtp_reply_span(&reply));
	out->code = code;
	(void)snprintf(out->enhanced, sizeof out->enhanced, "%s", reply.enhanced);
	(void)snprintf(out->text, sizeof out->text, "%.*s", SPAN_FMT(said.len ? said : SPAN_LIT("Refused by a content filter")));
	return 0;
}

void milter_refusal_set(struct milter_refusal *out, const struct smtp_reply_text *reply)
{
	out->code = reply->code;
	(void)snprintf(out->enhanced, sizeof out->enhanced, "%s", reply->enhanced);
	(void)snprintf(out->text, sizeof out->text, "%s", reply->text);
}

const char *milter_refusal_line(const struct milter_refusal *r, char line[MILTER_REFUSAL_LINE_CAP])
{
	struct span text = span_of(r->text);
	(void)snprintf(line, MILTER_REFUSAL_LINE_CAP, "%u%s%s %.*s", r->code, r->enhanced[0] ? " " : "", r->enhanced,
		       SPAN_FMT(span_sub(text, 0, span_find(text, '\n', 0))));
	return line;
}
