#include "smtp_params.h"

#include "err.h"
#include "smtp_xtext.h"

static const struct smtp_reply_text unknown_param = { 555, "5.5.4", "Parameter not recognized" };
static const struct smtp_reply_text repeated_param = { 501, "5.5.4", "Parameter given twice" };

/* What a parameter's value is written to. */
struct target {
	struct smtp_mail_params *mail;
	struct smtp_rcpt_params *rcpt;
};

typedef int (*read_fn)(struct span value, struct target *target);

struct param {
	const char *name;
	read_fn read; /* 0 or ERR_SYNTAX; writes on success only */
	struct smtp_reply_text refusal;
};

static int read_size(struct span value, struct target *target)
{
	uint64_t size = 0;
	if (value.len > 20)
		return ERR_SYNTAX;
	int err = span_to_u64(value, UINT64_MAX, &size);
	if (err == ERR_SYNTAX)
		return err;
	target->mail->has_size = true;
	target->mail->size_bytes = err ? UINT64_MAX : size;
	return 0;
}

static int read_body(struct span value, struct target *target)
{
	if (span_eq_nocase(value, SPAN_LIT("7BIT")))
		target->mail->body = SMTP_BODY_7BIT;
	else if (span_eq_nocase(value, SPAN_LIT("8BITMIME")))
		target->mail->body = SMTP_BODY_8BITMIME;
	else
		return ERR_SYNTAX;
	return 0;
}

static int read_ret(struct span value, struct target *target)
{
	if (span_eq_nocase(value, SPAN_LIT("FULL")))
		target->mail->ret = SMTP_RET_FULL;
	else if (span_eq_nocase(value, SPAN_LIT("HDRS")))
		target->mail->ret = SMTP_RET_HDRS;
	else
		return ERR_SYNTAX;
	return 0;
}

static int read_envid(struct span value, struct target *target)
{
	if (value.len == 0 || value.len > SMTP_ENVID_CAP || !smtp_xtext_is_printable(value))
		return ERR_SYNTAX;
	target->mail->envid = value;
	return 0;
}

static int read_auth(struct span value, struct target *target)
{
	bool is_valid = span_eq(value, SPAN_LIT("<>")) || smtp_xtext_is_printable(value);
	if (value.len == 0 || value.len > SMTP_ORCPT_CAP || !is_valid)
		return ERR_SYNTAX;
	target->mail->auth = value;
	return 0;
}

static unsigned notify_bit(struct span word)
{
	if (span_eq_nocase(word, SPAN_LIT("NEVER")))
		return SMTP_NOTIFY_NEVER;
	if (span_eq_nocase(word, SPAN_LIT("SUCCESS")))
		return SMTP_NOTIFY_SUCCESS;
	if (span_eq_nocase(word, SPAN_LIT("FAILURE")))
		return SMTP_NOTIFY_FAILURE;
	return span_eq_nocase(word, SPAN_LIT("DELAY")) ? SMTP_NOTIFY_DELAY : 0;
}

static int read_notify(struct span value, struct target *target)
{
	unsigned notify = 0;
	struct span word;
	while (span_cut(&value, ',', &word)) {
		unsigned bit = notify_bit(word);
		if (bit == 0)
			return ERR_SYNTAX;
		notify |= bit;
	}
	if (notify == 0 || ((notify & SMTP_NOTIFY_NEVER) && notify != SMTP_NOTIFY_NEVER))
		return ERR_SYNTAX;
	target->rcpt->notify = notify;
	return 0;
}

static int read_orcpt(struct span value, struct target *target)
{
	size_t semicolon = span_find(value, ';', 0);
	struct span type = span_sub(value, 0, semicolon);
	struct span address = span_sub(value, semicolon + 1, value.len);
	if (type.len == 0 || address.len == 0 || value.len > SMTP_ORCPT_CAP || !smtp_xtext_is_printable(address))
		return ERR_SYNTAX;
	for (size_t i = 0; i < type.len; i++) {
		char c = span_lower(type.ptr[i]);
		if ((c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-')
			return ERR_SYNTAX;
	}
	target->rcpt->orcpt = value;
	return 0;
}

static const struct param mail_params[] = {
	{ "SIZE", read_size, { 501, "5.5.4", "Bad SIZE parameter" } },
	{ "BODY", read_body, { 501, "5.5.4", "Bad BODY parameter: 7BIT or 8BITMIME" } },
	{ "RET", read_ret, { 501, "5.5.4", "Bad RET parameter: FULL or HDRS" } },
	{ "ENVID", read_envid, { 501, "5.5.4", "Bad ENVID parameter" } },
	{ "AUTH", read_auth, { 501, "5.5.4", "Bad AUTH parameter" } },
	{ NULL, NULL, { 0, NULL, NULL } },
};
static const struct param rcpt_params[] = {
	{ "NOTIFY", read_notify, { 501, "5.5.4", "Bad NOTIFY parameter: NEVER, or a list of SUCCESS, FAILURE, DELAY" } },
	{ "ORCPT", read_orcpt, { 501, "5.5.4", "Bad ORCPT parameter" } },
	{ NULL, NULL, { 0, NULL, NULL } },
};

static const struct smtp_reply_text *read_param(const struct param *table, struct span word, unsigned *seen, struct target *target)
{
	size_t equals = span_find(word, '=', 0);
	struct span name = span_sub(word, 0, equals);
	for (unsigned i = 0; table[i].name; i++) {
		if (!span_eq_nocase(name, span_of(table[i].name)))
			continue;
		if (*seen & 1u << i)
			return &repeated_param;
		*seen |= 1u << i;
		return table[i].read(span_sub(word, equals + 1, word.len), target) ? &table[i].refusal : NULL;
	}
	return &unknown_param;
}

static int read_params(const struct param *table, struct span rest, struct target *target, const struct smtp_reply_text **why_out)
{
	unsigned seen = 0;
	struct span word;
	while (span_cut(&rest, ' ', &word)) {
		const struct smtp_reply_text *why = word.len ? read_param(table, word, &seen, target) : NULL;
		if (why) {
			*why_out = why;
			return why == &unknown_param ? ERR_UNSUPPORTED : ERR_SYNTAX;
		}
	}
	return 0;
}

int smtp_mail_parse(struct span args, bool strict, struct smtp_path *path_out, struct smtp_mail_params *params_out,
		    const struct smtp_reply_text **why_out)
{
	struct smtp_path path;
	struct smtp_mail_params params = { .has_size = false };
	struct span rest;
	int err = smtp_path_parse(args, SMTP_REVERSE_PATH, strict, &path, &rest, why_out);
	if (err == 0)
		err = read_params(mail_params, rest, &(struct target){ .mail = &params }, why_out);
	if (err)
		return err;
	*path_out = path;
	*params_out = params;
	return 0;
}

int smtp_rcpt_parse(struct span args, bool strict, struct smtp_path *path_out, struct smtp_rcpt_params *params_out,
		    const struct smtp_reply_text **why_out)
{
	struct smtp_path path;
	struct smtp_rcpt_params params = { .notify = 0 };
	struct span rest;
	int err = smtp_path_parse(args, SMTP_FORWARD_PATH, strict, &path, &rest, why_out);
	if (err == 0)
		err = read_params(rcpt_params, rest, &(struct target){ .rcpt = &params }, why_out);
	if (err)
		return err;
	*path_out = path;
	*params_out = params;
	return 0;
}
