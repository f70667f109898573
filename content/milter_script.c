#include "milter_script.h"

#include <stdio.h>

#define FIELD_SHOWN_CAP (MILTER_CHUNK_BYTES - MILTER_FIELD_NAME_CAP - 2)
#define ARGS_MAX 32u

const struct milter_script_part milter_script[SCRIPT_STAGES] = {
	[SCRIPT_CLOSED] = { .name = "connection" },
	[SCRIPT_CONNECTING] = { .name = "connection" },
	[SCRIPT_NEGOTIATE] = { "negotiation", MILTER_NEGOTIATE, false, 0, 0, 0 },
	[SCRIPT_CONNECT] = { "connect", MILTER_CONNECT, true, MILTER_AT_CONNECT, MILTER_NO_CONNECT, MILTER_NR_CONNECT },
	[SCRIPT_HELO] = { "helo", MILTER_HELO, true, MILTER_AT_HELO, MILTER_NO_HELO, MILTER_NR_HELO },
	[SCRIPT_MAIL] = { "mail", MILTER_MAIL, true, MILTER_AT_MAIL, MILTER_NO_MAIL, MILTER_NR_MAIL },
	[SCRIPT_READY] = { .name = "between" },
	[SCRIPT_RCPT] = { "rcpt", MILTER_RCPT, true, MILTER_AT_RCPT, MILTER_NO_RCPT, MILTER_NR_RCPT },
	[SCRIPT_DATA] = { "data", MILTER_DATA, true, MILTER_AT_DATA, MILTER_NO_DATA, MILTER_NR_DATA },
	[SCRIPT_HEADER] = { "header", MILTER_HEADER, false, 0, MILTER_NO_HEADERS, MILTER_NR_HEADER },
	[SCRIPT_EOH] = { "eoh", MILTER_HEADERS_END, true, MILTER_AT_EOH, MILTER_NO_EOH, MILTER_NR_EOH },
	[SCRIPT_BODY] = { "body", MILTER_BODY, false, 0, MILTER_NO_BODY, MILTER_NR_BODY },
	[SCRIPT_END] = { "end", MILTER_BODY_END, true, MILTER_AT_END, 0, 0 },
	[SCRIPT_OVER] = { .name = "over" },
};

bool milter_script_is_unwanted(enum milter_script_stage stage, const struct milter_options *options, const struct milter_facts *facts,
			       const struct milter_moment *moment)
{
	bool has_nothing = (stage == SCRIPT_HELO && !facts->helo.len) || (stage == SCRIPT_DATA && options->version < 4) ||
			   (stage == SCRIPT_RCPT && moment->rcpt_refusal.len && !(options->steps & MILTER_RCPT_REJECTED));
	return has_nothing || (options->steps & milter_script[stage].no);
}

static int write_connect(struct buf *out, const struct milter_facts *facts)
{
	const struct endpoint *client = &facts->client;
	char address[ADDR_TEXT_CAP], text[ADDR_TEXT_CAP + 2];
	struct span name = facts->client_name;
	(void)addr_format(&client->addr, address);
	if (!name.len) {
		/* As sendmail names who has no name. */
		(void)snprintf(text, sizeof text, "[%s]", address);
		name = span_of(text);
	}
	return milter_connect_write(out, name, client->addr.family == ADDR_V6 ? '6' : '4', client->port, span_of(address));
}

/* "<path>" and its arguments, each a text. */
static int write_path(struct buf *out, enum milter_command command, struct span path, struct span args)
{
	struct span texts[ARGS_MAX], arg;
	struct buf bracketed = { .cap = 2048 };
	size_t count = 1;
	int err = buf_printf(&bracketed, "<%.*s>", SPAN_FMT(path));
	texts[0] = buf_span(&bracketed);
	while (args.len && count < ARGS_MAX && span_cut(&args, ' ', &arg))
		texts[count++] = arg;
	if (!err)
		err = milter_command_write(out, command, texts, count);
	buf_free(&bracketed);
	return err;
}

int milter_script_write(struct buf *out, enum milter_script_stage stage, const struct milter_options *options, const struct milter_facts *facts,
			const struct milter_moment *moment)
{
	const struct milter_script_part *part = &milter_script[stage];
	int err = part->has_macros ? milter_macros_write(out, part->macros, part->command, options->macros[part->macros], facts, moment) : 0;
	if (err)
		return err;
	switch (stage) {
	case SCRIPT_NEGOTIATE: return milter_options_write(out, MILTER_ACTIONS, MILTER_STEPS);
	case SCRIPT_CONNECT: return write_connect(out, facts);
	case SCRIPT_HELO: return milter_command_write(out, part->command, &facts->helo, 1);
	case SCRIPT_MAIL: return write_path(out, part->command, facts->from, facts->from_args);
	case SCRIPT_RCPT: return write_path(out, part->command, moment->rcpt, moment->rcpt_args);
	default: return milter_command_write(out, part->command, NULL, 0);
	}
}

int milter_script_write_field(struct buf *out, const struct milter_field *field, bool has_space)
{
	struct buf value = { .cap = MILTER_CHUNK_BYTES };
	int err = milter_field_show(field, has_space, FIELD_SHOWN_CAP, &value);
	const struct span texts[] = { span_sub(field->name, 0, MILTER_FIELD_NAME_CAP), buf_span(&value) };
	if (!err)
		err = milter_command_write(out, MILTER_HEADER, texts, 2);
	buf_free(&value);
	return err;
}

int milter_script_write_piece(struct buf *out, struct span *piece)
{
	struct span now = span_sub(*piece, 0, MILTER_CHUNK_BYTES);
	int err = milter_body_head_write(out, now.len);
	if (!err)
		err = buf_append_span(out, now);
	*piece = span_sub(*piece, now.len, piece->len);
	return err;
}
