#include "received.h"

#include <string.h>
#include <time.h>

#include "addr.h"
#include "err.h"

#define LITERAL_CAP (sizeof "[IPv6:]" + ADDR_TEXT_CAP)
#define DATE_CAP 64u

/* RFC 5321 section 4.1.3. */
static struct span literal(const struct addr *a, char text[LITERAL_CAP])
{
	static const struct span v4 = { "[", 1 }, v6 = { "[IPv6:", 6 };
	struct span begin = a->family == ADDR_V6 ? v6 : v4;
	memcpy(text, begin.ptr, begin.len);
	size_t len = begin.len + strlen(addr_format(a, text + begin.len));
	text[len] = ']';
	return (struct span){ text, len + 1 };
}

/* RFC 5322 section 3.3, in local time: made once a second.  strftime's names would follow a locale; ours never sets one. */
static struct span date(int64_t when)
{
	static _Thread_local char text[DATE_CAP];
	static _Thread_local int64_t made_for;
	static _Thread_local size_t len;
	time_t t = (time_t)when;
	struct tm local;
	if (len == 0 || when != made_for) {
		len = localtime_r(&t, &local) ? strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S %z", &local) : 0;
		made_for = when;
	}
	return (struct span){ text, len };
}

static struct span when(bool is_wanted, struct span part)
{
	return is_wanted ? part : SPAN_NONE;
}

int received_append(const struct received_facts *f, struct buf *out)
{
	char client_text[LITERAL_CAP], dst[ENDPOINT_TEXT_CAP];
	const struct span client = literal(&f->where->client.addr, client_text);
	const struct span original = f->is_diverted ? span_of(endpoint_format(&f->where->original, dst)) : SPAN_NONE;
	const struct span made = date(f->time);
	const bool has_name = f->client_name.len > 0, has_recipient = f->only_recipient.len > 0;
	if (made.len == 0)
		return ERR_INVAL;
	return BUF_JOIN(out, SPAN_LIT("Received: from "), f->helo_is_domain && f->helo.len ? f->helo : client, SPAN_LIT(" ("),
	                f->client_name, when(has_name, SPAN_LIT(" ")), client, SPAN_LIT(")\r\n\tby "), f->hostname,
	                SPAN_LIT(" (postern) with "), f->is_esmtp ? SPAN_LIT("ESMTP") : SPAN_LIT("SMTP"), SPAN_LIT(" id "),
	                span_of(f->id->text), when(f->is_diverted, SPAN_LIT("\r\n\t(on its way to ")), original,
	                when(f->is_diverted, SPAN_LIT(", diverted on ")), when(f->is_diverted, f->iface),
	                when(f->is_diverted, SPAN_LIT(")")), when(has_recipient, SPAN_LIT("\r\n\tfor <")), f->only_recipient,
	                when(has_recipient, SPAN_LIT(">")), SPAN_LIT(";\r\n\t"), made, SPAN_LIT("\r\n"));
}
