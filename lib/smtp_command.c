#include "smtp_command.h"

static const char *const verb_names[SMTP_VERB_COUNT] = {
	[SMTP_UNKNOWN] = "UNKNOWN",
	[SMTP_HELO] = "HELO",
	[SMTP_EHLO] = "EHLO",
	[SMTP_MAIL] = "MAIL",
	[SMTP_RCPT] = "RCPT",
	[SMTP_DATA] = "DATA",
	[SMTP_RSET] = "RSET",
	[SMTP_NOOP] = "NOOP",
	[SMTP_QUIT] = "QUIT",
	[SMTP_VRFY] = "VRFY",
	[SMTP_EXPN] = "EXPN",
	[SMTP_HELP] = "HELP",
	[SMTP_STARTTLS] = "STARTTLS",
	[SMTP_AUTH] = "AUTH",
	[SMTP_BDAT] = "BDAT",
	[SMTP_XCLIENT] = "XCLIENT",
	[SMTP_XFORWARD] = "XFORWARD",
	[SMTP_ETRN] = "ETRN",
	[SMTP_TURN] = "TURN",
};

static const char *const http_methods[] = { "GET", "POST", "PUT", "HEAD", "CONNECT", "OPTIONS", "DELETE", "PATCH", "TRACE" };

static enum smtp_verb find_verb(struct span text)
{
	for (unsigned verb = SMTP_UNKNOWN + 1; verb < SMTP_VERB_COUNT; verb++)
		if (span_eq_nocase(text, span_of(verb_names[verb])))
			return (enum smtp_verb)verb;
	return SMTP_UNKNOWN;
}

static bool is_http(struct span verb)
{
	for (size_t i = 0; i < sizeof http_methods / sizeof http_methods[0]; i++)
		if (span_eq_nocase(verb, span_of(http_methods[i])))
			return true;
	return false;
}

void smtp_command_parse(struct span line, struct smtp_command *out)
{
	size_t end = 0;
	while (end < line.len && line.ptr[end] != ' ' && line.ptr[end] != '\t')
		end++;
	struct smtp_command command = { .verb_text = span_sub(line, 0, end), .args = span_trim(span_sub(line, end, line.len)) };
	command.verb = find_verb(command.verb_text);
	command.is_foreign = command.verb == SMTP_UNKNOWN && is_http(command.verb_text);
	*out = command;
}

const char *smtp_verb_name(enum smtp_verb verb)
{
	return (unsigned)verb < SMTP_VERB_COUNT ? verb_names[verb] : verb_names[SMTP_UNKNOWN];
}
