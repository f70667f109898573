#include "milter_refusal.h"

#include <stdio.h>

#include "smtp_reply.h"

/* libmilter has its callers write %% for a percent sign. */
static int copy_text(struct span text, struct buf *out)
{
	int err = 0;
	for (size_t at = 0; !err && at < text.len; at++) {
		at += text.ptr[at] == '%' && at + 1 < text.len && text.ptr[at + 1] == '%';
		err = buf_append(out, text.ptr + at, 1);
	}
	return err ? err : buf_append(out, "\r\n", 2);
}

int milter_refusal_read(struct span text, struct milter_refusal *out)
{
	struct buf lines = { .cap = 2 * SMTP_REPLY_TEXT_CAP };
	struct smtp_reply reply;
	size_t used = 0;
	smtp_reply_reset(&reply);
	int err = copy_text(text, &lines);
	if (!err)
		err = smtp_reply_push(&reply, buf_span(&lines), &used);
	/* One reply, and nothing behind it. */
	if (err || used != lines.len || reply.code < 400 || reply.code > 599)
		err = ERR_PROTO;
	buf_free(&lines);
	if (err)
		return err;
	out->code = reply.code;
	(void)snprintf(out->enhanced, sizeof out->enhanced, "%s", reply.enhanced);
	(void)snprintf(out->text, sizeof out->text, "%.*s", SPAN_FMT(smtp_reply_span(&reply)));
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
