#include "dsn.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "addr.h"
#include "dsn_text.h"
#include "err.h"
#include "smtp_xtext.h"

#define VALUE_CAP 700u            /* bytes of one value: a line stays under 998 */
#define REPLIES_CAP (2u << 20)    /* bytes of all replies: a list of ten thousand shows less of each */
#define REPLY_MIN 100u
#define LISTED_MAX 100u           /* recipients in the part for people */

struct writer {
	const struct dsn_report *report;
	struct buf *out;
	char boundary[SPOOL_ID_LEN + 40];
	size_t reply_cap;
	/* RFC 6533: who has such an address reads such reports; all others are sent pure ASCII. */
	bool is_global;
	/* the returned part */
	struct span original;
	bool is_whole;
};

static int put_field(struct writer *w, const char *before, struct span value, const char *after)
{
	int err = buf_append_span(w->out, span_of(before));
	if (!err)
		err = dsn_text_clean(w->out, value, VALUE_CAP);
	return err ? err : buf_append_span(w->out, span_of(after));
}

static int put_date(struct writer *w, const char *field, int64_t when)
{
	char text[64];
	time_t t = (time_t)when;
	struct tm tm;
	/* LC_TIME is "C": no locale is ever set. */
	if (!gmtime_r(&t, &tm) || strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S +0000", &tm) == 0)
		return 0;
	return buf_printf(w->out, "%s: %s\r\n", field, text);
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

/* ---- what of the original goes back */

/* Up to and without the empty line, ended by a CRLF.  What was cut in the middle of a line loses that line. */
static struct span header_of(struct span body)
{
	const char *end = body.len >= 4 ? memmem(body.ptr, body.len, "\r\n\r\n", 4) : NULL;
	if (end)
		return span_sub(body, 0, (size_t)(end - body.ptr) + 2);
	size_t last = span_rfind(body, '\n');
	return span_sub(body, 0, last < body.len ? last + 1 : 0);
}

static struct span without_final_dot(struct span body)
{
	if (body.len >= 5 && memcmp(body.ptr + body.len - 5, "\r\n.\r\n", 5) == 0)
		return span_sub(body, 0, body.len - 3);
	return body.len == 3 && memcmp(body.ptr, ".\r\n", 3) == 0 ? span_sub(body, 0, 0) : body;
}

static void choose_original(struct writer *w)
{
	const struct dsn_report *r = w->report;
	w->original = without_final_dot(r->original_body);
	/* RFC 3461 section 4.3: RET is about failures; other reports never have the text.  And no part may hold longer lines, as the only
	 * label for them would be "binary". */
	w->is_whole = r->kind == DSN_FAILED && r->is_body_whole && r->original->ret != SPOOL_RET_HDRS && dsn_text_is_short(w->original);
	if (!w->is_whole)
		w->original = header_of(w->original);
	/* Who guessed the id could have written a part of ours into his message. */
	(void)snprintf(w->boundary, sizeof w->boundary, "%s.dsn", r->id.text);
	for (size_t len = strlen(w->boundary); len + 1 < sizeof w->boundary && w->original.len > 0 &&
					       memmem(w->original.ptr, w->original.len, w->boundary, len);
	     len++)
		memcpy(w->boundary + len, "x", 2);
}

/* ---- the parts */

static int put_part(struct writer *w, const char *type, const char *encoding)
{
	int err = buf_printf(w->out, "--%s\r\nContent-Type: %s\r\n", w->boundary, type);
	if (!err && encoding)
		err = buf_printf(w->out, "Content-Transfer-Encoding: %s\r\n", encoding);
	return err ? err : buf_append(w->out, "\r\n", 2);
}

static int put_header(struct writer *w)
{
	const struct dsn_report *r = w->report;
	bool is_8bit = w->is_global || (w->is_whole && dsn_text_is_8bit(w->original));
	int err = put_field(w, "From: Mail Delivery System <MAILER-DAEMON@", r->hostname, ">\r\n");
	if (!err && w->is_global)
		err = buf_printf(w->out, "To: <%.*s>\r\n", SPAN_FMT(r->original->from));
	else if (!err)
		err = put_field(w, "To: <", r->original->from, ">\r\n");
	if (!err)
		err = buf_printf(w->out, "Subject: %s\r\n", subjects[r->kind]);
	if (!err)
		err = put_date(w, "Date", r->now);
	if (!err)
		err = put_field(w, "Message-ID: <", (struct span){ r->id.text, SPOOL_ID_LEN }, "@");
	if (!err)
		err = put_field(w, "", r->hostname, ">\r\n");
	/* RFC 3834: nobody's vacation program should answer. */
	if (!err)
		err = buf_printf(w->out,
				 "Auto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n%s"
				 "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n\r\n",
				 is_8bit ? "Content-Transfer-Encoding: 8bit\r\n" : "", w->boundary);
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

/* The address alone, in the form that it has in its field. */
static int put_shown(struct writer *w, struct span path)
{
	struct buf typed = { .cap = 0 };
	int err = dsn_text_address(&typed, path, w->is_global);
	struct span text = buf_span(&typed);
	if (!err)
		err = buf_append_span(w->out, span_sub(text, span_find(text, ';', 0) + 1, text.len));
	buf_free(&typed);
	return err;
}

static int put_text(struct writer *w)
{
	const struct dsn_report *r = w->report;
	int err = put_part(w, w->is_global ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii", w->is_global ? "8bit" : NULL);
	if (!err)
		err = put_field(w, "This is the mail system at ", r->hostname, ".\r\n\r\n");
	if (!err)
		err = buf_append_span(w->out, span_of(explanations[r->kind]));
	if (!err && r->kind == DSN_DELAYED && r->expires > 0)
		err = put_date(w, "\r\nIt will be given up at", r->expires);
	for (size_t i = 0; i < r->count && i < LISTED_MAX && !err; i++) {
		err = buf_append(w->out, "\r\n<", 3);
		if (!err)
			err = put_shown(w, r->recipients[i].recipient->path);
		if (!err)
			err = buf_append(w->out, ">:\r\n    ", 8);
		if (!err)
			err = put_field(w, "", r->recipients[i].reply, "\r\n");
	}
	if (!err && r->count > LISTED_MAX)
		err = buf_printf(w->out, "\r\nand %zu more, which the next part lists.\r\n", r->count - LISTED_MAX);
	return err ? err : buf_append(w->out, "\r\n", 2);
}

/* "mx.example.org[192.0.2.1]:25", "[2001:db8::1]:25", "192.0.2.1:25" or the path of a socket, as a mta-name of RFC 3464 section 2.1.2. */
static int put_remote(struct writer *w, struct span remote)
{
	char text[ADDR_TEXT_CAP];
	struct endpoint endpoint;
	if (remote.len > 0 && remote.ptr[0] == '/')
		return put_field(w, "Remote-MTA: x-unix;", remote, "\r\n");
	if (endpoint_parse(remote, &endpoint) != 0)
		return put_field(w, "Remote-MTA: dns;", span_sub(remote, 0, span_find(remote, '[', 0)), "\r\n");
	return buf_printf(w->out, "Remote-MTA: dns;[%s%s]\r\n", endpoint.addr.family == ADDR_V6 ? "IPv6:" : "",
			  addr_format(&endpoint.addr, text));
}

/* The address type stays, the rest is decoded.  With the type utf-8 nothing in it needs that (RFC 6533 section 3). */
static int put_orcpt(struct writer *w, struct span orcpt)
{
	struct buf plain = { .cap = VALUE_CAP };
	size_t semicolon = span_find(orcpt, ';', 0);
	int err = 0;
	if (semicolon < orcpt.len && smtp_xtext_decode(span_sub(orcpt, semicolon + 1, orcpt.len), &plain) == 0) {
		err = put_field(w, "Original-Recipient: ", span_sub(orcpt, 0, semicolon + 1), "");
		if (!err)
			err = put_field(w, "", buf_span(&plain), "\r\n");
	}
	buf_free(&plain);
	return err;
}

/* RFC 3464 section 2.3. */
static int put_recipient(struct writer *w, const struct dsn_recipient *recipient)
{
	const struct dsn_report *r = w->report;
	bool is_reply = recipient->code > 0;
	int err = buf_append(w->out, "\r\n", 2);
	if (!err)
		err = put_orcpt(w, recipient->recipient->orcpt);
	if (!err)
		err = buf_append_span(w->out, SPAN_LIT("Final-Recipient: "));
	if (!err)
		err = dsn_text_address(w->out, recipient->recipient->path, w->is_global);
	if (!err)
		err = buf_printf(w->out, "\r\nAction: %s\r\n", dsn_kind_name(r->kind));
	if (!err)
		err = put_field(w, "Status: ", recipient->status, "\r\n");
	if (!err && is_reply && r->remote.len > 0)
		err = put_remote(w, r->remote);
	if (!err && recipient->reply.len > 0)
		err = put_field(w, is_reply ? "Diagnostic-Code: smtp;" : "Diagnostic-Code: x-postern;", span_sub(recipient->reply, 0, w->reply_cap),
				"\r\n");
	if (!err)
		err = put_date(w, "Last-Attempt-Date", r->now);
	if (!err && r->kind == DSN_DELAYED && r->expires > 0)
		err = put_date(w, "Will-Retry-Until", r->expires);
	return err;
}

static int put_status(struct writer *w)
{
	const struct dsn_report *r = w->report;
	struct buf envid = { .cap = VALUE_CAP };
	int err = put_part(w, w->is_global ? "message/global-delivery-status" : "message/delivery-status", w->is_global ? "8bit" : NULL);
	if (!err && r->original->envid.len > 0 && smtp_xtext_decode(r->original->envid, &envid) == 0)
		err = put_field(w, "Original-Envelope-Id: ", buf_span(&envid), "\r\n");
	buf_free(&envid);
	if (!err)
		err = put_field(w, "Reporting-MTA: dns;", r->hostname, "\r\n");
	if (!err && r->original->helo.len > 0)
		err = put_field(w, "Received-From-MTA: dns;", r->original->helo, "\r\n");
	if (!err && r->original->time > 0)
		err = put_date(w, "Arrival-Date", r->original->time);
	if (!err)
		err = put_field(w, "X-Postern-Id: ", (struct span){ r->original_id.text, SPOOL_ID_LEN }, "\r\n");
	for (size_t i = 0; i < r->count && !err; i++)
		err = put_recipient(w, &r->recipients[i]);
	return err ? err : buf_append(w->out, "\r\n", 2);
}

/* The stored text is dot-stuffed, and so is the report: it is copied as it is.  A message may be labelled 8bit, but never be encoded
 * (RFC 2046 section 5.2.1); a header alone is text, so that what is no ASCII in it, or too long, is encoded (RFC 6522 section 4). */
static int put_original(struct writer *w)
{
	bool is_8bit = dsn_text_is_8bit(w->original), is_utf8 = w->is_global && is_8bit;
	bool is_encoded = !w->is_whole && (is_8bit || !dsn_text_is_short(w->original));
	const char *type = w->is_whole ? (is_utf8 ? "message/global" : "message/rfc822")
				       : (is_utf8 ? "message/global-headers" : "text/rfc822-headers");
	int err = put_part(w, type, is_encoded ? "quoted-printable" : is_8bit ? "8bit" : NULL);
	if (!err)
		err = is_encoded ? dsn_text_quoted_printable(w->out, w->original) : buf_append_span(w->out, w->original);
	return err ? err : buf_printf(w->out, "\r\n--%s--\r\n.\r\n", w->boundary);
}

int dsn_write(const struct dsn_report *report, struct buf *out)
{
	size_t start = out->len;
	struct writer w = { .report = report, .out = out, .reply_cap = REPLIES_CAP / (report->count + 1) };
	if (w.reply_cap < REPLY_MIN)
		w.reply_cap = REPLY_MIN;
	w.is_global = dsn_text_is_utf8(report->original->from);
	choose_original(&w);
	int err = put_header(&w);
	if (!err)
		err = put_text(&w);
	if (!err)
		err = put_status(&w);
	if (!err)
		err = put_original(&w);
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
