#include "dsn.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "err.h"
#include "smtp_xtext.h"

#define FIELD_CAP 700u /* bytes of one value: a line stays under 998 */

/* Peer text: printable ASCII, one line. */
static int put_clean(struct buf *out, struct span text)
{
	int err = buf_reserve(out, FIELD_CAP);
	for (size_t i = 0; i < text.len && i < FIELD_CAP && !err; i++)
		out->data[out->len++] = text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?';
	return err;
}

static int put_field(struct buf *out, const char *before, struct span value, const char *after)
{
	int err = buf_append_span(out, span_of(before));
	if (!err)
		err = put_clean(out, value);
	return err ? err : buf_append_span(out, span_of(after));
}

static int put_date(struct buf *out, const char *field, int64_t when)
{
	char text[64];
	time_t t = (time_t)when;
	struct tm tm;
	/* LC_TIME is "C": no locale is ever set. */
	if (!gmtime_r(&t, &tm) || strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm) == 0)
		return 0;
	return buf_printf(out, "%s: %s\r\n", field, text);
}

static const char *const subjects[] = {
	[DSN_FAILED] = "Undelivered mail returned to sender",
	[DSN_DELAYED] = "Delayed mail (still being tried)",
	[DSN_RELAYED] = "Mail was passed on",
	[DSN_DELIVERED] = "Mail was delivered",
};

const char *dsn_kind_name(enum dsn_kind kind)
{
	static const char *const names[] = { [DSN_FAILED] = "failed", [DSN_DELAYED] = "delayed", [DSN_RELAYED] = "relayed",
					     [DSN_DELIVERED] = "delivered" };
	return names[kind];
}

static bool is_eight_bit(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] > 0x7f)
			return true;
	}
	return false;
}

/* ---- the parts */

static int put_header(const struct dsn_report *r, struct buf *out)
{
	int err = put_field(out, "From: Mail Delivery System <MAILER-DAEMON@", r->hostname, ">\r\n");
	if (!err)
		err = put_field(out, "To: <", r->original->from, ">\r\n");
	if (!err)
		err = buf_printf(out, "Subject: %s\r\n", subjects[r->kind]);
	if (!err)
		err = put_date(out, "Date", r->now);
	if (!err)
		err = put_field(out, "Message-ID: <", (struct span){ r->id.text, SPOOL_ID_LEN }, "@");
	if (!err)
		err = put_field(out, "", r->hostname, ">\r\n");
	/* RFC 3834: nobody's vacation program should answer. */
	if (!err)
		err = buf_printf(out,
				 "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n%s"
				 "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s.dsn\"\r\n\r\n",
				 is_eight_bit(r->original_body) ? "Content-Transfer-Encoding: 8bit\r\n" : "", r->id.text);
	return err;
}

static const char *const explanations[] = {
	[DSN_FAILED] = "Your message could not be delivered to the recipients below. It will not be\r\n"
		       "tried again. The reason each server gave stands with each recipient.\r\n",
	[DSN_DELAYED] = "Your message could not be delivered yet to the recipients below. It is still\r\n"
			"being tried: you need not send it again.\r\n",
	[DSN_RELAYED] = "Your message was passed on to a server that sends no reports of its own.\r\n"
			"There will be no further report about the recipients below.\r\n",
	[DSN_DELIVERED] = "Your message was delivered to the mailboxes of the recipients below.\r\n",
};

static int put_text(const struct dsn_report *r, struct buf *out)
{
	int err = buf_printf(out, "--%s.dsn\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", r->id.text);
	if (!err)
		err = put_field(out, "This is the mail system at ", r->hostname, ".\r\n\r\n");
	if (!err)
		err = buf_append_span(out, span_of(explanations[r->kind]));
	if (!err && r->kind == DSN_DELAYED && r->expires > 0)
		err = put_date(out, "\r\nIt will be given up at", r->expires);
	for (size_t i = 0; i < r->count && !err; i++) {
		err = put_field(out, "\r\n<", r->recipients[i].recipient->path, ">:\r\n");
		if (!err)
			err = put_field(out, "    ", r->recipients[i].reply, "\r\n");
	}
	return err ? err : buf_append(out, "\r\n", 2);
}

/* RFC 3464 section 2.3. */
static int put_recipient(const struct dsn_report *r, const struct dsn_recipient *recipient, struct buf *out)
{
	struct buf orcpt = { .cap = FIELD_CAP };
	struct span original = recipient->recipient->orcpt;
	size_t semicolon = span_find(original, ';', 0);
	int err = buf_append(out, "\r\n", 2);
	/* The address type stays, the rest is decoded. */
	if (!err && semicolon < original.len && smtp_xtext_decode(span_sub(original, semicolon + 1, original.len), &orcpt) == 0) {
		err = put_field(out, "Original-Recipient: ", span_sub(original, 0, semicolon + 1), "");
		if (!err)
			err = put_field(out, "", buf_span(&orcpt), "\r\n");
	}
	buf_free(&orcpt);
	if (!err)
		err = put_field(out, "Final-Recipient: rfc822;", recipient->recipient->path, "\r\n");
	if (!err)
		err = buf_printf(out, "Action: %s\r\n", dsn_kind_name(r->kind));
	if (!err)
		err = put_field(out, "Status: ", recipient->status, "\r\n");
	if (!err && recipient->code > 0 && r->remote.len > 0)
		err = put_field(out, "Remote-MTA: dns;", r->remote, "\r\n");
	if (!err && recipient->reply.len > 0)
		err = put_field(out, recipient->code > 0 ? "Diagnostic-Code: smtp;" : "Diagnostic-Code: X-postern;",
				recipient->reply, "\r\n");
	if (!err)
		err = put_date(out, "Last-Attempt-Date", r->now);
	if (!err && r->kind == DSN_DELAYED && r->expires > 0)
		err = put_date(out, "Will-Retry-Until", r->expires);
	return err;
}

static int put_status(const struct dsn_report *r, struct buf *out)
{
	struct buf envid = { .cap = FIELD_CAP };
	int err = buf_printf(out, "--%s.dsn\r\nContent-Type: message/delivery-status\r\n\r\n", r->id.text);
	if (!err && r->original->envid.len > 0 && smtp_xtext_decode(r->original->envid, &envid) == 0)
		err = put_field(out, "Original-Envelope-Id: ", buf_span(&envid), "\r\n");
	buf_free(&envid);
	if (!err)
		err = put_field(out, "Reporting-MTA: dns;", r->hostname, "\r\n");
	if (!err && r->original->helo.len > 0)
		err = put_field(out, "Received-From-MTA: dns;", r->original->helo, "\r\n");
	if (!err && r->original->time > 0)
		err = put_date(out, "Arrival-Date", r->original->time);
	if (!err)
		err = put_field(out, "X-Postern-Id: ", (struct span){ r->original_id.text, SPOOL_ID_LEN }, "\r\n");
	for (size_t i = 0; i < r->count && !err; i++)
		err = put_recipient(r, &r->recipients[i], out);
	return err ? err : buf_append(out, "\r\n", 2);
}

/* Up to and without the empty line, ended by a CRLF.  What was cut in the middle of a line loses that line. */
static struct span header_of(struct span body)
{
	const char *end = body.len >= 4 ? memmem(body.ptr, body.len, "\r\n\r\n", 4) : NULL;
	if (end)
		return span_sub(body, 0, (size_t)(end - body.ptr) + 2);
	size_t last = span_rfind(body, '\n');
	return span_sub(body, 0, last < body.len ? last + 1 : 0);
}

/* The stored body is dot-stuffed, and so is the report: it is copied as it is. */
static int put_original(const struct dsn_report *r, struct buf *out)
{
	bool is_whole = r->kind == DSN_FAILED && r->is_body_whole && r->original->ret != SPOOL_RET_HDRS;
	struct span text = r->original_body;
	if (text.len >= 5 && memcmp(text.ptr + text.len - 5, "\r\n.\r\n", 5) == 0)
		text.len -= 3;
	else if (text.len == 3 && memcmp(text.ptr, ".\r\n", 3) == 0)
		text.len = 0;
	if (!is_whole)
		text = header_of(text);
	int err = buf_printf(out, "--%s.dsn\r\nContent-Type: %s\r\n%s\r\n", r->id.text,
			     is_whole ? "message/rfc822" : "text/rfc822-headers",
			     is_eight_bit(text) ? "Content-Transfer-Encoding: 8bit\r\n" : "");
	if (!err)
		err = buf_append_span(out, text);
	return err ? err : buf_printf(out, "\r\n--%s.dsn--\r\n.\r\n", r->id.text);
}

int dsn_write(const struct dsn_report *report, struct buf *out)
{
	size_t start = out->len;
	int err = put_header(report, out);
	if (!err)
		err = put_text(report, out);
	if (!err)
		err = put_status(report, out);
	if (!err)
		err = put_original(report, out);
	if (err)
		out->len = start;
	return err;
}

bool dsn_is_wanted(enum dsn_kind kind, const struct spool_envelope *envelope, const struct spool_recipient *r)
{
	if (envelope->from.len == 0)
		return false;
	switch (kind) {
	case DSN_FAILED: return r->notify == 0 || (r->notify & SPOOL_NOTIFY_FAILURE);
	case DSN_DELAYED: return r->notify == 0 || (r->notify & SPOOL_NOTIFY_DELAY);
	case DSN_RELAYED:
	case DSN_DELIVERED: return (r->notify & SPOOL_NOTIFY_SUCCESS) != 0;
	}
	return false;
}
