/* Command lines to paths and parameters: every span lies inside the line, and what is accepted keeps its promises. */
#include "smtp_command.h"

#include <stdlib.h>

#include "buf.h"
#include "smtp_domain.h"
#include "smtp_params.h"
#include "smtp_xtext.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_inside(struct span part, struct span whole)
{
	require(part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len));
}

static void check_path(const struct smtp_path *path, struct span args, bool strict)
{
	struct smtp_path again;
	require(path->is_null == (path->path.len == 0));
	if (path->is_null)
		return;
	check_inside(path->path, args);
	check_inside(path->local, path->path);
	check_inside(path->domain, path->path);
	require(path->path.len == path->local.len + path->domain.len + (path->domain.len ? 1 : 0));
	require(path->path.len + 2 <= (strict ? SMTP_PATH_STRICT_CAP : SMTP_PATH_CAP));
	for (size_t i = 0; i < path->path.len; i++)
		require(path->path.ptr[i] >= ' ' && path->path.ptr[i] < 0x7f);
	require(smtp_mailbox_parse(path->path, strict, &again) == 0);
	require(span_eq(again.local, path->local) && span_eq(again.domain, path->domain));
}

static void check_xtext(struct span xtext)
{
	struct buf plain = { 0 }, again = { 0 }, twice = { 0 };
	require(smtp_xtext_decode(xtext, &plain) == 0);
	require(smtp_xtext_encode(buf_span(&plain), &again) == 0 && smtp_xtext_decode(buf_span(&again), &twice) == 0);
	require(span_eq(buf_span(&plain), buf_span(&twice)));
	buf_free(&plain);
	buf_free(&again);
	buf_free(&twice);
}

static void check_refusal(int err, const struct smtp_reply_text *why)
{
	require((err != 0) == (why != NULL));
	require(!why || (why->code >= 500 && why->code <= 599 && why->enhanced && why->text));
}

static void check_mail(struct span args, bool strict)
{
	struct smtp_path path;
	struct smtp_mail_params params;
	const struct smtp_reply_text *why = NULL;
	int err = smtp_mail_parse(args, strict, &path, &params, &why);
	check_refusal(err, why);
	if (err)
		return;
	check_path(&path, args, strict);
	check_inside(params.envid, args);
	check_inside(params.auth, args);
	check_xtext(params.envid);
	require(params.has_size || params.size_bytes == 0);
}

static void check_rcpt(struct span args, bool strict)
{
	struct smtp_path path;
	struct smtp_rcpt_params params;
	const struct smtp_reply_text *why = NULL;
	int err = smtp_rcpt_parse(args, strict, &path, &params, &why);
	check_refusal(err, why);
	if (err)
		return;
	require(!path.is_null);
	check_path(&path, args, strict);
	check_inside(params.orcpt, args);
	require(!(params.notify & SMTP_NOTIFY_NEVER) || params.notify == SMTP_NOTIFY_NEVER);
}

static void check_helo(struct span args)
{
	struct smtp_helo helo;
	smtp_helo_parse(args, &helo);
	check_inside(helo.name, args);
	require(helo.name.len <= SMTP_DOMAIN_CAP);
	require((helo.kind == SMTP_HELO_LITERAL) == (helo.literal.family != ADDR_NONE));
	require(helo.kind == SMTP_HELO_EMPTY || helo.name.len > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 1)
		return 0;
	bool strict = bytes[0] & 1;
	struct span line = { (const char *)bytes + 1, size - 1 };
	struct smtp_command command;
	smtp_command_parse(line, &command);
	check_inside(command.verb_text, line);
	check_inside(command.args, line);
	require((unsigned)command.verb < SMTP_VERB_COUNT);
	check_mail(command.args, strict);
	check_rcpt(command.args, strict);
	check_helo(command.args);
	return 0;
}
