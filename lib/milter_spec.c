#include "milter_spec.h"

#include <stdio.h>
#include <string.h>

#include "conf.h"
#include "smtp_domain.h"

#define EXPECTED "expected inet:HOST:PORT, inet6:HOST:PORT or unix:/path"
#define TIMEOUT_MAX_S 3600u

static const char *const fail_names[] = {
	[MILTER_FAIL_TEMPFAIL] = "tempfail", [MILTER_FAIL_ACCEPT] = "accept", [MILTER_FAIL_REJECT] = "reject"
};

const char *milter_fail_name(enum milter_fail fail)
{
	return fail_names[fail];
}

const char *milter_spec_address(const struct milter_spec *spec, char text[MILTER_ADDRESS_CAP])
{
	bool is_v6 = strchr(spec->host, ':') != NULL;
	if (spec->path[0])
		(void)snprintf(text, MILTER_ADDRESS_CAP, "unix:%s", spec->path);
	else
		(void)snprintf(text, MILTER_ADDRESS_CAP, "%s:%s%s%s:%u", spec->family == ADDR_V6 ? "inet6" : "inet", is_v6 ? "[" : "", spec->host,
			       is_v6 ? "]" : "", (unsigned)spec->port);
	return text;
}

uint64_t milter_spec_address_hash(const struct milter_spec *spec)
{
	char text[MILTER_ADDRESS_CAP];
	return span_hash_nocase(span_of(milter_spec_address(spec, text)));
}

static bool take_prefix(struct span *text, const char *prefix)
{
	if (!span_starts_nocase(*text, span_of(prefix)))
		return false;
	*text = span_sub(*text, strlen(prefix), text->len);
	return true;
}

static int parse_host_port(struct span text, struct milter_spec *spec)
{
	bool is_bracketed = text.len && text.ptr[0] == '[';
	size_t end = is_bracketed ? span_find(text, ']', 0) : span_find(text, ':', 0);
	struct span host = span_sub(text, is_bracketed ? 1 : 0, end), rest = span_sub(text, is_bracketed ? end + 1 : end, text.len);
	struct addr literal;
	uint64_t port;
	if (!rest.len || rest.ptr[0] != ':' || span_to_u64(span_sub(rest, 1, rest.len), UINT16_MAX, &port) || port == 0)
		return ERR_SYNTAX;
	if (is_bracketed ? addr_parse(host, &literal) || literal.family != ADDR_V6 : !smtp_domain_is_valid(host, false))
		return ERR_SYNTAX;
	spec->port = (uint16_t)port;
	return span_to_cstr(host, spec->host, sizeof spec->host);
}

static int parse_address(struct span text, struct milter_spec *spec, struct reason *why)
{
	struct span rest = text;
	int err = ERR_SYNTAX;
	spec->family = ADDR_V4;
	if (take_prefix(&rest, "unix:")) {
		if (rest.len > 1 && rest.ptr[0] == '/')
			err = span_to_cstr(rest, spec->path, sizeof spec->path);
	} else if (take_prefix(&rest, "inet6:")) {
		spec->family = ADDR_V6;
		err = parse_host_port(rest, spec);
	} else if (take_prefix(&rest, "inet:")) {
		err = parse_host_port(rest, spec);
	}
	if (err)
		return reason_set(why, err, "'%.*s': " EXPECTED, SPAN_FMT(span_sub(text, 0, 120)));
	(void)snprintf(spec->name, sizeof spec->name, "%.*s", SPAN_FMT(text));
	return 0;
}

static int parse_fail(struct span value, enum milter_fail *out)
{
	for (size_t i = 0; i < sizeof fail_names / sizeof fail_names[0]; i++) {
		if (span_eq(value, span_of(fail_names[i]))) {
			*out = (enum milter_fail)i;
			return 0;
		}
	}
	return ERR_SYNTAX;
}

static int parse_timeout(struct span value, uint64_t *out)
{
	uint64_t seconds;
	if (conf_parse_duration(value, &seconds) || seconds == 0 || seconds > TIMEOUT_MAX_S)
		return ERR_SYNTAX;
	*out = seconds;
	return 0;
}

static bool is_word(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '"' || text.ptr[i] == '\\')
			return false;
	return text.len > 0;
}

static int parse_setting(struct span word, struct milter_spec *spec, struct reason *why)
{
	struct span value = word;
	int err = ERR_SYNTAX;
	if (take_prefix(&value, "name="))
		err = is_word(value) ? span_to_cstr(value, spec->name, sizeof spec->name) : ERR_SYNTAX;
	else if (take_prefix(&value, "fail="))
		err = parse_fail(value, &spec->fail);
	else if (take_prefix(&value, "connect-timeout="))
		err = parse_timeout(value, &spec->connect_s);
	else if (take_prefix(&value, "command-timeout="))
		err = parse_timeout(value, &spec->command_s);
	else if (take_prefix(&value, "content-timeout="))
		err = parse_timeout(value, &spec->content_s);
	if (err)
		return reason_set(why, err,
				  "'%.*s': expected name=WORD, fail=tempfail, fail=accept, fail=reject, or connect-timeout=, command-timeout=, "
				  "content-timeout= with a time from 1 to %u seconds",
				  SPAN_FMT(span_sub(word, 0, 80)), TIMEOUT_MAX_S);
	return 0;
}

/* The next word; empty at the end. */
static struct span next_word(struct span *rest)
{
	struct span text = span_trim(*rest);
	size_t end = 0;
	while (end < text.len && text.ptr[end] != ' ' && text.ptr[end] != '\t')
		end++;
	*rest = span_sub(text, end, text.len);
	return span_sub(text, 0, end);
}

static int parse_one(struct span text, const struct milter_defaults *defaults, struct milter_spec *out, struct reason *why)
{
	struct milter_spec spec = {
		.fail = defaults->fail, .connect_s = defaults->connect_s, .command_s = defaults->command_s, .content_s = defaults->content_s
	};
	struct span word;
	int err = parse_address(next_word(&text), &spec, why);
	while (!err && (word = next_word(&text)).len)
		err = parse_setting(word, &spec, why);
	if (!err)
		*out = spec;
	return err;
}

int milter_specs_parse(struct span text, const struct milter_defaults *defaults, struct milter_specs *out, struct reason *why)
{
	struct milter_specs specs = { .count = 0 };
	struct span one;
	int err = 0;
	if (!span_trim(text).len)
		text = SPAN_NONE;
	while (!err && span_cut(&text, ',', &one)) {
		if (specs.count == MILTERS_MAX)
			return reason_set(why, ERR_TOOLONG, "more than %u filters", MILTERS_MAX);
		err = parse_one(one, defaults, &specs.list[specs.count], why);
		for (size_t i = 0; !err && i < specs.count; i++)
			if (strcmp(specs.list[i].name, specs.list[specs.count].name) == 0)
				err = reason_set(why, ERR_INVAL, "two filters are named '%s'", specs.list[i].name);
		specs.count++;
	}
	if (!err)
		*out = specs;
	return err;
}
