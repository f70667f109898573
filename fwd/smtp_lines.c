#include "smtp_lines.h"

#include <inttypes.h>
#include <stdio.h>

#include "err.h"
#include "smtp_domain.h"
#include "smtp_xtext.h"

#define X_VALUE_CAP 255u /* as it is sent; Postfix refuses the whole line for a longer one */

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

/* ---- XFORWARD and XCLIENT */

#define ADDR_VALUE_CAP (ADDR_TEXT_CAP + 5)

struct attribute {
	unsigned bit; /* SMTP_ATTR_* */
	const char *name;
	struct span value; /* empty: not known */
};

struct line {
	struct buf *out;
	struct span verb;
	size_t start; /* of the present line */
	unsigned count;
};

static int put_attribute(struct line *line, const struct attribute *a)
{
	static const struct span unknown = { "[UNAVAILABLE]", 13 };
	char text[X_VALUE_CAP + 32];
	struct buf attribute = { .data = text, .room = sizeof text, .cap = sizeof text };
	struct span value = a->value.len ? a->value : unknown;
	int err = buf_printf(&attribute, " %s=", a->name);
	/* Byte by byte, so that what is cut off is whole bytes. */
	attribute.cap = attribute.len + X_VALUE_CAP;
	for (size_t i = 0; i < value.len && !err; i++) {
		if (smtp_xtext_encode(span_sub(value, i, i + 1), &attribute) != 0)
			break;
	}
	if (err)
		return err;
	size_t present = line->out->len - line->start;
	if (line->count == 0 || present + attribute.len + 2 > SMTP_LINES_X_CAP) {
		if (line->count > 0)
			err = buf_append(line->out, "\r\n", 2);
		line->start = line->out->len;
		line->count++;
		if (!err)
			err = buf_append_span(line->out, line->verb);
	}
	return err ? err : buf_append_span(line->out, buf_span(&attribute));
}

static int put_attributes(struct buf *out, struct span verb, const struct attribute *attributes, size_t count, unsigned offered,
			  unsigned *count_out)
{
	size_t start = out->len;
	struct line line = { .out = out, .verb = verb, .start = start };
	int err = 0;
	for (size_t i = 0; i < count && !err; i++) {
		if (offered & attributes[i].bit)
			err = put_attribute(&line, &attributes[i]);
	}
	if (!err && line.count > 0)
		err = buf_append(out, "\r\n", 2);
	if (err)
		out->len = start;
	else
		*count_out = line.count;
	return err;
}

/* As RFC 5321 section 4.1.3 writes it, without the brackets.  Empty where it is not known. */
static struct span addr_value(const struct addr *addr, char text[ADDR_VALUE_CAP])
{
	char plain[ADDR_TEXT_CAP];
	if (addr->family == ADDR_NONE)
		return SPAN_NONE;
	(void)snprintf(text, ADDR_VALUE_CAP, "%s%s", addr->family == ADDR_V6 ? "IPV6:" : "", addr_format(addr, plain));
	return span_of(text);
}

static struct span port_value(const struct endpoint *e, char text[8])
{
	if (e->addr.family == ADDR_NONE)
		return SPAN_NONE;
	(void)snprintf(text, 8, "%u", e->port);
	return span_of(text);
}

/* A server may refuse the whole line for a name that is none. */
static struct span name_value(const struct spool_envelope *envelope)
{
	return smtp_domain_is_valid(envelope->client_name, false) ? envelope->client_name : SPAN_NONE;
}

/* The attribute knows two words only. */
static struct span proto_value(const struct spool_envelope *envelope)
{
	return span_starts_nocase(envelope->proto, SPAN_LIT("ESMTP")) ? SPAN_LIT("ESMTP") : SPAN_LIT("SMTP");
}

int smtp_lines_xforward(struct buf *out, const struct spool_envelope *envelope, const struct spool_id *id,
			const struct smtp_caps *caps, unsigned *count_out)
{
	char addr[ADDR_VALUE_CAP], port[8];
	const struct attribute attributes[] = {
		{ SMTP_ATTR_NAME, "NAME", name_value(envelope) },
		{ SMTP_ATTR_ADDR, "ADDR", addr_value(&envelope->client.addr, addr) },
		{ SMTP_ATTR_PORT, "PORT", port_value(&envelope->client, port) },
		{ SMTP_ATTR_PROTO, "PROTO", proto_value(envelope) },
		{ SMTP_ATTR_HELO, "HELO", envelope->helo },
		{ SMTP_ATTR_IDENT, "IDENT", { id->text, SPOOL_ID_LEN } },
		{ SMTP_ATTR_SOURCE, "SOURCE", envelope->is_trusted ? SPAN_LIT("LOCAL") : SPAN_LIT("REMOTE") },
	};
	return put_attributes(out, SPAN_LIT("XFORWARD"), attributes, sizeof attributes / sizeof attributes[0], caps->xforward, count_out);
}

int smtp_lines_xclient(struct buf *out, const struct spool_envelope *envelope, const struct smtp_caps *caps, unsigned *count_out)
{
	char addr[ADDR_VALUE_CAP], port[8], dst_addr[ADDR_VALUE_CAP], dst_port[8];
	const struct attribute attributes[] = {
		{ SMTP_ATTR_PORT, "PORT", port_value(&envelope->client, port) },
		{ SMTP_ATTR_PROTO, "PROTO", proto_value(envelope) },
		{ SMTP_ATTR_HELO, "HELO", envelope->helo },
		/* Nobody is ever authenticated by us; said aloud, so that a name from before does not stay. */
		{ SMTP_ATTR_LOGIN, "LOGIN", SPAN_NONE },
		{ SMTP_ATTR_DESTADDR, "DESTADDR", addr_value(&envelope->dst.addr, dst_addr) },
		{ SMTP_ATTR_DESTPORT, "DESTPORT", port_value(&envelope->dst, dst_port) },
		/* Last: Postfix asks after each line whether the client that it now sees may say XCLIENT. */
		{ SMTP_ATTR_NAME, "NAME", name_value(envelope) },
		{ SMTP_ATTR_ADDR, "ADDR", addr_value(&envelope->client.addr, addr) },
	};
	return put_attributes(out, SPAN_LIT("XCLIENT"), attributes, sizeof attributes / sizeof attributes[0], caps->xclient, count_out);
}

struct span smtp_lines_xclient_helo(const struct spool_envelope *envelope, struct span fallback)
{
	struct addr literal;
	bool is_good = smtp_domain_is_valid(envelope->helo, false) || smtp_literal_parse(envelope->helo, &literal) == 0;
	return is_good ? envelope->helo : fallback;
}
