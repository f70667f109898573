#include "milter_macros.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define VALUE_CAP 1100u

enum macro {
	MACRO_HOSTNAME,
	MACRO_VERSION,
	MACRO_CONFIG_VERSION,
	MACRO_PROTO,
	MACRO_DATE,
	MACRO_CLIENT,
	MACRO_DAEMON_NAME,
	MACRO_DAEMON_ADDR,
	MACRO_DAEMON_PORT,
	MACRO_CLIENT_ADDR,
	MACRO_CLIENT_NAME,
	MACRO_CLIENT_PORT,
	MACRO_CLIENT_RESOLVE,
	MACRO_CLIENT_CONNECTIONS,
	MACRO_HELO,
	MACRO_ID,
	MACRO_MAIL_ADDR,
	MACRO_MAIL_HOST,
	MACRO_MAILER,
	MACRO_RCPT_ADDR,
	MACRO_RCPT_HOST,
	MACRO_RCPT_MAILER,
	MACRO_RCPTS,
};

static const struct {
	const char *name;
	enum macro macro;
} macros[] = {
	{ "j", MACRO_HOSTNAME },
	{ "v", MACRO_VERSION },
	{ "Z", MACRO_CONFIG_VERSION },
	{ "r", MACRO_PROTO },
	{ "b", MACRO_DATE },
	{ "_", MACRO_CLIENT },
	{ "daemon_name", MACRO_DAEMON_NAME },
	{ "daemon_addr", MACRO_DAEMON_ADDR },
	{ "daemon_port", MACRO_DAEMON_PORT },
	{ "if_name", MACRO_DAEMON_NAME },
	{ "if_addr", MACRO_DAEMON_ADDR },
	{ "client_addr", MACRO_CLIENT_ADDR },
	{ "client_name", MACRO_CLIENT_NAME },
	{ "client_ptr", MACRO_CLIENT_NAME },
	{ "client_port", MACRO_CLIENT_PORT },
	{ "client_resolve", MACRO_CLIENT_RESOLVE },
	{ "client_connections", MACRO_CLIENT_CONNECTIONS },
	{ "s", MACRO_HELO },
	{ "i", MACRO_ID },
	{ "f", MACRO_MAIL_ADDR },
	{ "mail_addr", MACRO_MAIL_ADDR },
	{ "mail_host", MACRO_MAIL_HOST },
	{ "mail_mailer", MACRO_MAILER },
	{ "rcpt_addr", MACRO_RCPT_ADDR },
	{ "rcpt_host", MACRO_RCPT_HOST },
	{ "rcpt_mailer", MACRO_RCPT_MAILER },
	{ "nrcpts", MACRO_RCPTS },
};

#define USUAL_AT_CONNECT                                                                                                             \
	"j _ v daemon_name daemon_addr daemon_port if_name if_addr client_addr client_name client_ptr client_port client_resolve " \
	"client_connections"

static const char *const usual[MILTER_STAGES] = {
	[MILTER_AT_CONNECT] = USUAL_AT_CONNECT,
	[MILTER_AT_HELO] = "s",
	/* The first three are what spamass-milter makes its Received field for SpamAssassin of. */
	[MILTER_AT_MAIL] = "r b Z i f mail_addr mail_host mail_mailer",
	[MILTER_AT_RCPT] = "i rcpt_addr rcpt_host rcpt_mailer",
	[MILTER_AT_DATA] = "i nrcpts",
	[MILTER_AT_EOH] = "i",
	[MILTER_AT_END] = "i nrcpts",
};

struct span milter_client_text(const struct milter_facts *facts, char out[MILTER_CLIENT_TEXT_CAP])
{
	char addr[ADDR_TEXT_CAP];
	struct span name = span_sub(facts->client_name, 0, 255);
	(void)addr_format(&facts->client.addr, addr);
	(void)snprintf(out, MILTER_CLIENT_TEXT_CAP, "%.*s%s[%s%s]", SPAN_FMT(name), name.len ? " " : "",
		       facts->client.addr.family == ADDR_V6 ? "IPv6:" : "", addr);
	return span_of(out);
}

static struct span host_of(struct span path)
{
	size_t at = span_rfind(path, '@');
	return at == path.len ? SPAN_NONE : span_sub(path, at + 1, path.len);
}

static struct span number(uint64_t value, char out[VALUE_CAP])
{
	(void)snprintf(out, VALUE_CAP, "%llu", (unsigned long long)value);
	return span_of(out);
}

/* RFC 5322 section 3.3, in local time. */
static struct span date(int64_t when, char out[VALUE_CAP])
{
	struct tm local;
	time_t t = (time_t)when;
	if (!when || !localtime_r(&t, &local))
		return SPAN_NONE;
	return (struct span){ out, strftime(out, VALUE_CAP, "%a, %d %b %Y %H:%M:%S %z", &local) };
}

static struct span address(const struct addr *addr, char out[VALUE_CAP])
{
	return addr->family == ADDR_NONE ? SPAN_NONE : span_of(addr_format(addr, out));
}

/* The host and the address of a refused recipient are the code and the text of its reply, as sendmail has it. */
static struct span refusal_part(struct span reply, bool is_code)
{
	struct span rest = span_sub(reply, 4, reply.len);
	size_t end = span_find(rest, ' ', 0);
	bool has_code = rest.len && (rest.ptr[0] == '4' || rest.ptr[0] == '5') && end < rest.len;
	if (is_code)
		return has_code ? span_sub(rest, 0, end) : span_sub(reply, 0, 3);
	return has_code ? span_sub(rest, end + 1, rest.len) : rest;
}

static struct span value_of(enum macro macro, const struct milter_facts *f, const struct milter_moment *m, char text[VALUE_CAP])
{
	static const char *const resolved[] = { [MILTER_NAME_TEMP] = "TEMP", [MILTER_NAME_OK] = "OK", [MILTER_NAME_FAIL] = "FAIL" };
	bool is_refused = m->rcpt_refusal.len > 0;
	switch (macro) {
	case MACRO_HOSTNAME: return f->hostname;
	case MACRO_VERSION: return SPAN_LIT("postern " POSTERN_VERSION);
	case MACRO_CONFIG_VERSION: return SPAN_LIT(POSTERN_VERSION);
	case MACRO_PROTO: return f->proto;
	case MACRO_DATE: return date(f->time, text);
	case MACRO_CLIENT: return milter_client_text(f, text);
	case MACRO_DAEMON_NAME: return f->iface;
	case MACRO_DAEMON_ADDR: return address(&f->dst.addr, text);
	case MACRO_DAEMON_PORT: return f->dst.addr.family == ADDR_NONE ? SPAN_NONE : number(f->dst.port, text);
	case MACRO_CLIENT_ADDR: return address(&f->client.addr, text);
	case MACRO_CLIENT_NAME: return f->client_name.len ? f->client_name : SPAN_LIT("unknown");
	case MACRO_CLIENT_PORT: return number(f->client.port, text);
	case MACRO_CLIENT_RESOLVE: return span_of(resolved[f->resolve]);
	case MACRO_CLIENT_CONNECTIONS: return f->connections ? number(f->connections, text) : SPAN_NONE;
	case MACRO_HELO: return f->helo;
	case MACRO_ID: return f->id;
	case MACRO_MAIL_ADDR: return f->from;
	case MACRO_MAIL_HOST: return host_of(f->from);
	case MACRO_MAILER: return SPAN_LIT("smtp");
	case MACRO_RCPT_ADDR: return is_refused ? refusal_part(m->rcpt_refusal, false) : m->rcpt;
	case MACRO_RCPT_HOST: return is_refused ? refusal_part(m->rcpt_refusal, true) : host_of(m->rcpt);
	case MACRO_RCPT_MAILER: return !m->rcpt.len ? SPAN_NONE : is_refused ? SPAN_LIT("error") : SPAN_LIT("smtp");
	case MACRO_RCPTS: return number(m->rcpts, text);
	}
	return SPAN_NONE;
}

/* Filters write {client_addr}, j, {j}, and what is between them is blanks or commas. */
static struct span next_name(struct span *rest)
{
	static const char between[] = " \t,{}";
	size_t from = 0, to;
	while (from < rest->len && strchr(between, rest->ptr[from]))
		from++;
	for (to = from; to < rest->len && !strchr(between, rest->ptr[to]); to++)
		continue;
	struct span name = span_sub(*rest, from, to);
	*rest = span_sub(*rest, to, rest->len);
	return name;
}

static int write_macro(struct buf *out, struct span name, const struct milter_facts *facts, const struct milter_moment *moment)
{
	char text[VALUE_CAP], sent[40];
	for (size_t i = 0; i < sizeof macros / sizeof macros[0]; i++) {
		if (!span_eq(name, span_of(macros[i].name)))
			continue;
		struct span value = value_of(macros[i].macro, facts, moment, text);
		if (!value.len)
			return 0;
		(void)snprintf(sent, sizeof sent, name.len > 1 ? "{%s}" : "%s", macros[i].name);
		int err = milter_text_write(out, span_of(sent));
		return err ? err : milter_text_write(out, span_sub(value, 0, VALUE_CAP));
	}
	return 0;
}

int milter_macros_write(struct buf *out, enum milter_stage stage, enum milter_command command, struct span names,
			const struct milter_facts *facts, const struct milter_moment *moment)
{
	struct span rest = names.ptr ? names : span_of(usual[stage]), name;
	size_t start = out->len, begin;
	int err = milter_macros_begin(out, command, &begin);
	size_t empty = out->len;
	while (!err && (name = next_name(&rest)).len)
		err = write_macro(out, name, facts, moment);
	if (!err && out->len > empty)
		return milter_packet_end(out, begin);
	out->len = start;
	return err;
}
