#include "forward_spec.h"

#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "addr.h"

#define EXPECTED "expected original, smtp:HOST:PORT, lmtp:HOST:PORT, lmtp:/path or sendmail:/path/prog"

static bool take_prefix(struct span *text, const char *prefix)
{
	struct span p = span_of(prefix);
	if (!span_starts_nocase(*text, p))
		return false;
	*text = span_sub(*text, p.len, text->len);
	return true;
}

static bool is_host_byte(char c)
{
	c = span_lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

/* HOST[:PORT]; an IPv6 address needs its brackets, or its last group would be taken for a port. */
static int parse_host_port(struct span text, struct forward_spec *spec, struct reason *why)
{
	uint64_t port = spec->kind == FORWARD_LMTP ? 24 : 25;
	bool bracketed = text.len && text.ptr[0] == '[';
	size_t end = bracketed ? span_find(text, ']', 0) : span_find(text, ':', 0);
	struct span rest = span_sub(text, bracketed ? end + 1 : end, text.len);
	struct span host = span_sub(text, bracketed ? 1 : 0, end);
	if (rest.len && (rest.ptr[0] != ':' || span_to_u64(span_sub(rest, 1, rest.len), 65535, &port) || port == 0))
		return reason_set(why, ERR_SYNTAX, "'%.*s': the port must be a number from 1 to 65535; " EXPECTED, SPAN_FMT(text));
	struct addr parsed;
	bool good = host.len > 0 && host.len < sizeof spec->host;
	if (bracketed)
		good = good && end < text.len && addr_parse(host, &parsed) == 0 && parsed.family == ADDR_V6;
	/* No label is empty; a dot at the end is the root's. */
	for (size_t i = 0; good && !bracketed && i < host.len; i++)
		good = is_host_byte(host.ptr[i]) && (host.ptr[i] != '.' || (i > 0 && host.ptr[i - 1] != '.'));
	if (!good || span_to_cstr(host, spec->host, sizeof spec->host))
		return reason_set(why, ERR_SYNTAX, "'%.*s' is no host name or address; " EXPECTED, SPAN_FMT(text));
	spec->port = (uint16_t)port;
	return 0;
}

int forward_spec_parse(struct span text, struct forward_spec *out, struct reason *why)
{
	struct forward_spec spec = { .kind = FORWARD_ORIGINAL };
	struct span rest = text;
	int err = 0;
	if (span_eq_nocase(text, SPAN_LIT("original"))) {
		*out = spec;
		return 0;
	}
	bool is_lmtp = take_prefix(&rest, "lmtp:");
	bool is_path = rest.len && rest.ptr[0] == '/';
	if (is_lmtp ? !is_path : take_prefix(&rest, "smtp:")) {
		spec.kind = is_lmtp ? FORWARD_LMTP : FORWARD_SMTP;
		err = parse_host_port(rest, &spec, why);
	} else if (is_lmtp || take_prefix(&rest, "sendmail:")) {
		spec.kind = is_lmtp ? FORWARD_LMTP_UNIX : FORWARD_SENDMAIL;
		/* Known now, and not at the first message: the kernel takes no longer name for a socket. */
		size_t cap = is_lmtp ? sizeof ((struct sockaddr_un *)0)->sun_path : sizeof spec.path;
		if (!rest.len || rest.ptr[0] != '/' || rest.ptr[rest.len - 1] == '/' || span_to_cstr(rest, spec.path, cap))
			err = reason_set(why, ERR_SYNTAX, "'%.*s': the path must begin with /, name a file and be shorter than %zu bytes",
					 SPAN_FMT(text), cap);
	} else {
		err = reason_set(why, ERR_SYNTAX, "'%.*s' is unknown; " EXPECTED, SPAN_FMT(text));
	}
	if (!err)
		*out = spec;
	return err;
}

const char *forward_spec_format(const struct forward_spec *spec, char text[FORWARD_SPEC_TEXT_CAP])
{
	const char *scheme = spec->kind == FORWARD_SMTP ? "smtp" : "lmtp";
	bool v6 = strchr(spec->host, ':') != NULL;
	switch (spec->kind) {
	case FORWARD_ORIGINAL:
		(void)snprintf(text, FORWARD_SPEC_TEXT_CAP, "original");
		break;
	case FORWARD_SMTP:
	case FORWARD_LMTP:
		(void)snprintf(text, FORWARD_SPEC_TEXT_CAP, "%s:%s%s%s:%u", scheme, v6 ? "[" : "", spec->host, v6 ? "]" : "", (unsigned)spec->port);
		break;
	case FORWARD_LMTP_UNIX:
		(void)snprintf(text, FORWARD_SPEC_TEXT_CAP, "lmtp:%s", spec->path);
		break;
	case FORWARD_SENDMAIL:
		(void)snprintf(text, FORWARD_SPEC_TEXT_CAP, "sendmail:%s", spec->path);
		break;
	}
	return text;
}
