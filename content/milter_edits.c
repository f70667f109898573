#include "milter_edits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "content_write.h"
#include "milter_headers.h"

#define PATH_AND_ARGS_CAP 2048u

void milter_edits_init(struct milter_edits *edits, bool has_space, uint64_t body_max)
{
	*edits = (struct milter_edits){ .has_space = has_space, .body_fd = -1, .body_max = body_max };
}

/* ---- addresses */

static struct span without_brackets(struct span path)
{
	path = span_trim(path);
	return path.len >= 2 && path.ptr[0] == '<' && path.ptr[path.len - 1] == '>' ? span_sub(path, 1, path.len - 1) : path;
}

/* As if a client had said it: text gets the argument of its command, into which the spans of params point. */
static int parse_path(bool is_sender, struct span path, struct span args, struct buf *text, struct smtp_rcpt_params *params)
{
	struct smtp_path parsed;
	struct smtp_mail_params mail;
	const struct smtp_reply_text *why;
	int err = buf_printf(text, "%s:<%.*s>%s%.*s", is_sender ? "FROM" : "TO", SPAN_FMT(path), args.len ? " " : "", SPAN_FMT(args));
	if (!err)
		err = is_sender ? smtp_mail_parse(buf_span(text), false, &parsed, &mail, &why) :
				  smtp_rcpt_parse(buf_span(text), false, &parsed, params, &why);
	/* Nothing of it was left out, and nothing in it was taken for something else. */
	return err ? err : span_eq(parsed.path, path) ? 0 : ERR_INVAL;
}

static int check_path(bool is_sender, struct span path, struct span args)
{
	struct buf text = { .cap = PATH_AND_ARGS_CAP };
	struct smtp_rcpt_params params;
	int err = parse_path(is_sender, path, args, &text, &params);
	buf_free(&text);
	return err == ERR_NOMEM ? err : err ? ERR_INVAL : 0;
}

void milter_edit_rcpt_params(const struct milter_edit *edit, struct smtp_rcpt_params *out)
{
	struct buf text = { .cap = PATH_AND_ARGS_CAP };
	struct smtp_rcpt_params params = { .notify = 0 };
	*out = params;
	if (edit->second.len && parse_path(false, edit->first, span_trim(edit->second), &text, &params) == 0) {
		/* The same bytes, where they last. */
		size_t at = params.orcpt.len ? (size_t)(params.orcpt.ptr - text.data) : 0;
		size_t args_at = sizeof "TO:<> " - 1 + edit->first.len;
		out->notify = params.notify;
		if (params.orcpt.len)
			out->orcpt = span_sub(span_trim(edit->second), at - args_at, at - args_at + params.orcpt.len);
	}
	buf_free(&text);
}

/* ---- bounds */

#define TEXT_OF(number) #number
#define NUMBER(macro) TEXT_OF(macro)

static int over(struct milter_edits *e, const char *limit)
{
	e->limit = limit;
	return ERR_TOOLONG;
}

/* ---- body */

static int put_body(struct milter_edits *e, struct span native, bool is_end)
{
	struct buf wire = { .data = NULL };
	int err = smtp_dot_push(&e->dot, native, &wire);
	if (!err && is_end)
		err = smtp_dot_finish(&e->dot, &wire);
	if (!err && (e->body_len += wire.len) > e->body_max)
		err = over(e, "max-size bytes of body");
	if (!err)
		err = content_write_all(e->body_fd, buf_span(&wire));
	buf_free(&wire);
	return err;
}

static int take_body(struct milter_edits *e, struct span piece)
{
	if (e->body_fd < 0) {
		e->body_fd = memfd_create("postern-milter-body", MFD_CLOEXEC);
		if (e->body_fd < 0)
			return err_from_errno(errno);
		smtp_dot_init(&e->dot);
	}
	return put_body(e, piece, false);
}

/* ---- */

static int keep(struct milter_edits *e, enum milter_reply kind, const struct milter_change *change)
{
	if (e->count == MILTER_EDITS_MAX)
		return over(e, NUMBER(MILTER_EDITS_MAX) " changes");
	if (e->arena.used_bytes + change->first.len + change->second.len > MILTER_EDITS_BYTES)
		return over(e, NUMBER(MILTER_EDITS_BYTES) " bytes of changes");
	if (e->count == e->room) {
		size_t room = e->room ? e->room * 2 : 8;
		struct milter_edit *grown = realloc(e->list, room * sizeof *grown);
		if (!grown)
			return ERR_NOMEM;
		e->list = grown;
		e->room = room;
	}
	struct milter_edit edit = { kind, change->index, arena_copy(&e->arena, change->first), arena_copy(&e->arena, change->second) };
	if (!edit.first.ptr || !edit.second.ptr)
		return ERR_NOMEM;
	e->list[e->count++] = edit;
	return 0;
}

int milter_edits_take(struct milter_edits *e, enum milter_reply kind, const struct milter_change *change)
{
	struct milter_change wish = *change;
	int err = 0;
	switch (kind) {
	case MILTER_REPLACE_BODY: return take_body(e, change->first);
	case MILTER_ADD_HEADER:
	case MILTER_INSERT_HEADER:
	case MILTER_CHANGE_HEADER: err = milter_field_is_name(change->first) ? 0 : ERR_INVAL; break;
	case MILTER_ADD_RCPT:
	case MILTER_ADD_RCPT_PAR:
	case MILTER_CHANGE_FROM:
		wish.first = without_brackets(change->first);
		err = check_path(kind == MILTER_CHANGE_FROM, wish.first, span_trim(change->second));
		break;
	case MILTER_DEL_RCPT: wish.first = without_brackets(change->first); break;
	case MILTER_QUARANTINE: break;
	default: return ERR_UNSUPPORTED;
	}
	return err ? err : keep(e, kind, &wish);
}

int milter_edits_finish(struct milter_edits *e)
{
	return e->body_fd < 0 ? 0 : put_body(e, SPAN_NONE, true);
}

static unsigned count_of(const struct milter_edits *e, enum milter_reply kind)
{
	unsigned count = 0;
	for (size_t i = 0; i < e->count; i++)
		count += e->list[i].kind == kind;
	return count;
}

const char *milter_edits_describe(const struct milter_edits *e, char text[MILTER_EDITS_TEXT_CAP])
{
	const struct {
		const char *noun, *done; /* no noun: once is all */
		unsigned count;
	} parts[] = {
		{ "header", " added", count_of(e, MILTER_ADD_HEADER) },
		{ "header", " inserted", count_of(e, MILTER_INSERT_HEADER) },
		{ "header", " changed", count_of(e, MILTER_CHANGE_HEADER) },
		{ "recipient", " added", count_of(e, MILTER_ADD_RCPT) + count_of(e, MILTER_ADD_RCPT_PAR) },
		{ "recipient", " removed", count_of(e, MILTER_DEL_RCPT) },
		{ NULL, "sender changed", count_of(e, MILTER_CHANGE_FROM) },
		{ NULL, "quarantined", count_of(e, MILTER_QUARANTINE) },
		{ NULL, "body replaced", e->body_fd >= 0 },
	};
	size_t len = 0;
	text[0] = '\0';
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		const char *comma = len ? ", " : "";
		if (parts[i].count && parts[i].noun)
			len += (size_t)snprintf(text + len, MILTER_EDITS_TEXT_CAP - len, "%s%u %s%s%s", comma, parts[i].count, parts[i].noun,
						parts[i].count > 1 ? "s" : "", parts[i].done);
		else if (parts[i].count)
			len += (size_t)snprintf(text + len, MILTER_EDITS_TEXT_CAP - len, "%s%s", comma, parts[i].done);
	}
	return text;
}

void milter_edits_free(struct milter_edits *e)
{
	if (e->body_fd >= 0)
		(void)close(e->body_fd);
	arena_free(&e->arena);
	free(e->list);
	milter_edits_init(e, false, 0);
}
