#include "smtp_lines.h"

#include <inttypes.h>
#include <stdio.h>

#include "err.h"
#include "smtp_xtext.h"

#define XFORWARD_VALUE_CAP 255u
#define XFORWARD_HARD_CAP 160u /* fits a line whatever it holds */

static bool is_speakable(struct span path)
{
	for (size_t i = 0; i < path.len; i++) {
		if ((unsigned char)path.ptr[i] < ' ' || path.ptr[i] == 0x7f)
			return false;
	}
	return true;
}

/* On failure out is as before. */
static int finish(struct buf *out, size_t start, int err)
{
	if (!err)
		err = buf_append(out, "\r\n", 2);
	if (err)
		out->len = start;
	return err;
}

int smtp_lines_mail(struct buf *out, const struct spool_envelope *envelope, uint64_t size_bytes, const struct smtp_caps *caps)
{
	size_t start = out->len;
	if (!is_speakable(envelope->from))
		return ERR_INVAL;
	int err = buf_printf(out, "MAIL FROM:<%.*s>", SPAN_FMT(envelope->from));
	if (!err && (caps->offered & SMTP_CAP_SIZE))
		err = buf_printf(out, " SIZE=%" PRIu64, size_bytes);
	/* Eight-bit text for a server without 8BITMIME is sent as it is: the alternatives are to break signatures by recoding it
	 * or to bounce what nearly every server takes all the same. */
	if (!err && (caps->offered & SMTP_CAP_8BITMIME) && envelope->body == SPOOL_BODY_8BITMIME)
		err = buf_printf(out, " BODY=8BITMIME");
	if (!err && (caps->offered & SMTP_CAP_DSN) && envelope->ret)
		err = buf_printf(out, " RET=%s", envelope->ret == SPOOL_RET_FULL ? "FULL" : "HDRS");
	if (!err && (caps->offered & SMTP_CAP_DSN) && envelope->envid.len > 0 && smtp_xtext_is_valid(envelope->envid))
		err = buf_printf(out, " ENVID=%.*s", SPAN_FMT(envelope->envid));
	return finish(out, start, err);
}

static int put_notify(struct buf *out, unsigned notify)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = { { SPOOL_NOTIFY_NEVER, "NEVER" },
		      { SPOOL_NOTIFY_SUCCESS, "SUCCESS" },
		      { SPOOL_NOTIFY_FAILURE, "FAILURE" },
		      { SPOOL_NOTIFY_DELAY, "DELAY" } };
	const char *before = " NOTIFY=";
	int err = 0;
	for (size_t i = 0; i < sizeof names / sizeof names[0] && !err; i++) {
		if (notify & names[i].bit) {
			err = buf_printf(out, "%s%s", before, names[i].name);
			before = ",";
		}
	}
	return err;
}

static bool is_orcpt(struct span orcpt)
{
	size_t semicolon = span_find(orcpt, ';', 0);
	return semicolon > 0 && semicolon < orcpt.len && span_find(orcpt, ' ', 0) == orcpt.len &&
	       smtp_xtext_is_valid(span_sub(orcpt, semicolon + 1, orcpt.len));
}

int smtp_lines_rcpt(struct buf *out, const struct spool_recipient *recipient, const struct smtp_caps *caps)
{
	size_t start = out->len;
	if (!is_speakable(recipient->path))
		return ERR_INVAL;
	int err = buf_printf(out, "RCPT TO:<%.*s>", SPAN_FMT(recipient->path));
	if (!err && (caps->offered & SMTP_CAP_DSN)) {
		err = put_notify(out, recipient->notify);
		if (!err && is_orcpt(recipient->orcpt) && is_speakable(recipient->orcpt))
			err = buf_printf(out, " ORCPT=%.*s", SPAN_FMT(recipient->orcpt));
	}
	return finish(out, start, err);
}

/* ---- XFORWARD */

struct line {
	struct buf *out;
	size_t start; /* of the present line */
	unsigned count;
};

static const struct span verb = { "XFORWARD", 8 };

static int put_attribute(struct line *line, const char *name, struct span value)
{
	static const struct span unknown = { "[UNAVAILABLE]", 13 };
	char text[3 * XFORWARD_VALUE_CAP + 32];
	struct buf attribute = { .data = text, .room = sizeof text, .cap = sizeof text };
	if (value.len == 0)
		value = unknown;
	int err = buf_printf(&attribute, " %s=", name);
	size_t begin = attribute.len;
	if (!err)
		err = smtp_xtext_encode(span_sub(value, 0, XFORWARD_VALUE_CAP), &attribute);
	if (!err && verb.len + attribute.len + 2 > SMTP_LINES_XFORWARD_CAP) {
		/* Full of bytes that take three each: even a line of its own would be too short. */
		attribute.len = begin;
		err = smtp_xtext_encode(span_sub(value, 0, XFORWARD_HARD_CAP), &attribute);
	}
	if (err)
		return err;
	size_t present = line->out->len - line->start;
	if (line->count == 0 || present + attribute.len + 2 > SMTP_LINES_XFORWARD_CAP) {
		if (line->count > 0)
			err = buf_append(line->out, "\r\n", 2);
		line->start = line->out->len;
		line->count++;
		if (!err)
			err = buf_append_span(line->out, verb);
	}
	return err ? err : buf_append_span(line->out, buf_span(&attribute));
}

int smtp_lines_xforward(struct buf *out, const struct spool_envelope *envelope, const struct spool_id *id,
			const struct smtp_caps *caps, unsigned *count_out)
{
	char addr[ADDR_TEXT_CAP + 5] = "", port[8] = "";
	const struct endpoint *client = &envelope->client;
	if (client->addr.family != ADDR_NONE) {
		char plain[ADDR_TEXT_CAP];
		(void)snprintf(addr, sizeof addr, "%s%s", client->addr.family == ADDR_V6 ? "IPV6:" : "",
			       addr_format(&client->addr, plain));
		(void)snprintf(port, sizeof port, "%u", client->port);
	}
	bool is_esmtp = span_starts_nocase(envelope->proto, SPAN_LIT("ESMTP"));
	const struct {
		unsigned bit;
		const char *name;
		struct span value;
	} attributes[] = {
		{ SMTP_ATTR_NAME, "NAME", envelope->client_name },
		{ SMTP_ATTR_ADDR, "ADDR", span_of(addr) },
		{ SMTP_ATTR_PORT, "PORT", span_of(port) },
		/* The attribute knows two words only. */
		{ SMTP_ATTR_PROTO, "PROTO", is_esmtp ? SPAN_LIT("ESMTP") : SPAN_LIT("SMTP") },
		{ SMTP_ATTR_HELO, "HELO", envelope->helo },
		{ SMTP_ATTR_IDENT, "IDENT", { id->text, SPOOL_ID_LEN } },
		{ SMTP_ATTR_SOURCE, "SOURCE", envelope->is_trusted ? SPAN_LIT("LOCAL") : SPAN_LIT("REMOTE") },
	};
	size_t start = out->len;
	struct line line = { .out = out, .start = start };
	int err = 0;
	for (size_t i = 0; i < sizeof attributes / sizeof attributes[0] && !err; i++) {
		if (caps->xforward & attributes[i].bit)
			err = put_attribute(&line, attributes[i].name, attributes[i].value);
	}
	if (!err && line.count > 0)
		err = buf_append(out, "\r\n", 2);
	if (err)
		out->len = start;
	else
		*count_out = line.count;
	return err;
}
