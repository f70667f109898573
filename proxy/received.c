#include "received.h"

#include <time.h>

#include "addr.h"
#include "err.h"

/* RFC 5321 section 4.1.3. */
static int append_literal(struct buf *out, const struct addr *a)
{
	char text[ADDR_TEXT_CAP];
	return buf_printf(out, "[%s%s]", a->family == ADDR_V6 ? "IPv6:" : "", addr_format(a, text));
}

/* RFC 5322 section 3.3, in local time.  strftime's names would follow a locale; ours never sets one. */
static int append_date(struct buf *out, int64_t when)
{
	time_t t = (time_t)when;
	struct tm local;
	char text[64];
	if (!localtime_r(&t, &local) || strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S %z", &local) == 0)
		return ERR_INVAL;
	return buf_printf(out, "%s", text);
}

int received_append(const struct received_facts *f, struct buf *out)
{
	const struct addr *client = &f->where->client.addr;
	char dst[ENDPOINT_TEXT_CAP];
	size_t start = out->len;
	int err = buf_printf(out, "Received: from ");
	if (!err)
		err = f->helo_is_domain && f->helo.len ? buf_append_span(out, f->helo) : append_literal(out, client);
	if (!err)
		err = buf_printf(out, " (");
	if (!err && f->client_name.len)
		err = buf_printf(out, "%.*s ", SPAN_FMT(f->client_name));
	if (!err)
		err = append_literal(out, client);
	if (!err)
		err = buf_printf(out, ")\r\n\tby %.*s (postern)", SPAN_FMT(f->hostname));
	if (!err)
		err = buf_printf(out, " with %s id %s\r\n", f->is_esmtp ? "ESMTP" : "SMTP", f->id->text);
	if (!err && f->is_diverted)
		err = buf_printf(out, "\t(on its way to %s, diverted on %.*s)\r\n", endpoint_format(&f->where->original, dst), SPAN_FMT(f->iface));
	if (!err && f->only_recipient.len)
		err = buf_printf(out, "\tfor <%.*s>\r\n", SPAN_FMT(f->only_recipient));
	if (!err) {
		/* The date ends the field: its semicolon goes behind the last clause (and may follow a folded comment). */
		out->len -= 2;
		err = buf_printf(out, ";\r\n\t");
	}
	if (!err)
		err = append_date(out, f->time);
	if (!err)
		err = buf_printf(out, "\r\n");
	if (err)
		out->len = start;
	return err;
}
