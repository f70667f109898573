#include "milter_message.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "content_reader.h"
#include "content_write.h"

#define APPLY_WORK 100000u /* fields and recipients looked at in a turn of the loop */

struct recipient_list {
	struct content_recipient *list;
	size_t count, room;
};

struct milter_message {
	struct loop *loop;
	struct loop_task turn;
	struct content_image image;
	struct content_reader *reader;
	milter_message_fn done;
	void *ctx;

	struct buf loading;      /* the header, until it is complete */
	struct milter_headers headers;
	uint64_t body_from;      /* in the image */
	struct content_image body; /* a filter's: fd -1: none */

	struct arena arena;
	bool has_sender;
	struct span sender, hold_reason;
	struct recipient_list added, removed;
	struct span *removed_paths; /* of removed, for whoever is told */

	struct milter_edits *edits; /* being applied */
	size_t edits_done;
	const char *by, *limit;

	int out_fd;
	uint64_t out_len, read_at; /* read_at: of the image, while it is copied */
	bool has_headers_out;
};

/* ---- loading */

static void loaded(struct milter_message *m, int err)
{
	content_reader_destroy(&m->reader);
	buf_free(&m->loading);
	m->done(m->ctx, err);
}

static void take_header_piece(void *ctx, int err, struct span piece)
{
	struct milter_message *m = ctx;
	size_t end, body;
	if (!err && !piece.len)
		err = ERR_CORRUPT; /* wire form has at least its final dot */
	if (!err)
		err = buf_append_span(&m->loading, piece);
	if (err) {
		loaded(m, err);
		return;
	}
	if (milter_headers_find_end(buf_span(&m->loading), &end, &body) != 0) {
		content_reader_next(m->reader);
		return;
	}
	m->body_from = m->image.own_len + body;
	loaded(m, milter_headers_read(&m->headers, span_sub(buf_span(&m->loading), 0, end), body > end));
}

int milter_message_load(struct loop *loop, const struct content_image *image, milter_message_fn done, void *ctx, struct milter_message **out)
{
	struct milter_message *m = calloc(1, sizeof *m);
	if (!m)
		return ERR_NOMEM;
	*m = (struct milter_message){
		.loop = loop, .image = *image, .done = done, .ctx = ctx, .loading = { .cap = MILTER_HEADERS_CAP + CONTENT_READER_PIECE_BYTES },
		.body = { .fd = -1 }, .out_fd = -1,
	};
	int err = content_reader_create(loop, image, image->own_len, take_header_piece, m, &m->reader);
	if (err) {
		free(m);
		return err;
	}
	*out = m;
	content_reader_next(m->reader);
	return 0;
}

const struct milter_headers *milter_message_headers(const struct milter_message *m)
{
	return &m->headers;
}

const struct content_image *milter_message_body(const struct milter_message *m, uint64_t *from_out)
{
	*from_out = m->body.fd >= 0 ? 0 : m->body_from;
	return m->body.fd >= 0 ? &m->body : &m->image;
}

/* ---- changes */

static int append_recipient(struct milter_message *m, struct recipient_list *to, const struct content_recipient *r)
{
	if (to->count == to->room) {
		size_t room = to->room ? to->room * 2 : 4;
		struct content_recipient *grown = realloc(to->list, room * sizeof *grown);
		if (!grown)
			return ERR_NOMEM;
		to->list = grown;
		to->room = room;
	}
	const struct content_recipient copy = { arena_copy(&m->arena, r->path), r->notify, arena_copy(&m->arena, r->orcpt), r->by };
	if (!copy.path.ptr || !copy.orcpt.ptr)
		return ERR_NOMEM;
	to->list[to->count++] = copy;
	return 0;
}

static void drop_recipient(struct recipient_list *from, struct span path)
{
	size_t kept = 0;
	for (size_t i = 0; i < from->count; i++)
		if (!span_eq_nocase(from->list[i].path, path))
			from->list[kept++] = from->list[i];
	from->count = kept;
}

/* The last wish about a recipient counts. */
static int recipient(struct milter_message *m, struct recipient_list *to, struct recipient_list *from, const struct milter_edit *e)
{
	struct smtp_rcpt_params params;
	milter_edit_rcpt_params(e, &params);
	const struct content_recipient r = { e->first, params.notify, params.orcpt, m->by };
	drop_recipient(from, r.path);
	drop_recipient(to, r.path);
	return m->added.count + m->removed.count < MILTER_RCPT_CHANGES_CAP ? append_recipient(m, to, &r) : ERR_TOOLONG;
}

static int take_text(struct milter_message *m, struct span text, struct span *out)
{
	struct span copy = arena_copy(&m->arena, text);
	if (!copy.ptr)
		return ERR_NOMEM;
	*out = copy;
	return 0;
}

static int apply(struct milter_message *m, const struct milter_edit *e, bool has_space)
{
	switch (e->kind) {
	case MILTER_ADD_HEADER: return milter_headers_add(&m->headers, e->first, e->second, has_space);
	case MILTER_INSERT_HEADER: return milter_headers_insert(&m->headers, e->index, e->first, e->second, has_space);
	case MILTER_CHANGE_HEADER: return milter_headers_change(&m->headers, e->index, e->first, e->second, has_space);
	case MILTER_ADD_RCPT:
	case MILTER_ADD_RCPT_PAR: return recipient(m, &m->added, &m->removed, e);
	case MILTER_DEL_RCPT: return recipient(m, &m->removed, &m->added, e);
	case MILTER_CHANGE_FROM:
		m->has_sender = true;
		return take_text(m, e->first, &m->sender);
	case MILTER_QUARANTINE: return take_text(m, e->first, &m->hold_reason);
	default: return ERR_UNSUPPORTED;
	}
}

static const char *limit_of(const struct milter_edit *e)
{
	static const char header[] = "2000 changes of the header, 1 MiB of text in them, or 20000 fields";
	_Static_assert(MILTER_CHANGES_CAP == 2000 && MILTER_HEADERS_CAP == 1u << 20 && MILTER_FIELDS_CAP == 20000, "as the text says");
	_Static_assert(MILTER_RCPT_CHANGES_CAP == 2000, "as the text says");
	bool is_header = e->kind == MILTER_ADD_HEADER || e->kind == MILTER_INSERT_HEADER || e->kind == MILTER_CHANGE_HEADER;
	return is_header ? header : "2000 recipients added or removed";
}

static int list_removed(struct milter_message *m)
{
	struct span *paths = realloc(m->removed_paths, (m->removed.count + 1) * sizeof *paths);
	if (!paths)
		return ERR_NOMEM;
	m->removed_paths = paths;
	for (size_t i = 0; i < m->removed.count; i++)
		paths[i] = m->removed.list[i].path;
	return 0;
}

/* Nothing of the body can fail any more. */
static void take_body(struct milter_message *m)
{
	if (m->edits->body_fd < 0)
		return;
	if (m->body.fd >= 0)
		(void)close(m->body.fd);
	m->body = (struct content_image){ .fd = m->edits->body_fd, .len = m->edits->body_len };
	m->edits->body_fd = -1;
}

static void apply_some(void *ctx)
{
	struct milter_message *m = ctx;
	struct milter_edits *edits = m->edits;
	int err = 0;
	for (size_t work = 0; !err && m->edits_done < edits->count && work < APPLY_WORK; work += m->headers.count + m->added.count + m->removed.count + 1) {
		const struct milter_edit *e = &edits->list[m->edits_done++];
		err = apply(m, e, edits->has_space);
		m->limit = err == ERR_TOOLONG ? limit_of(e) : NULL;
	}
	if (!err && m->edits_done < edits->count) {
		loop_task_post(m->loop, &m->turn);
		return;
	}
	if (!err) {
		take_body(m);
		milter_headers_forget_deleted(&m->headers);
		err = list_removed(m);
	}
	milter_edits_free(edits);
	m->edits = NULL;
	m->done(m->ctx, err);
}

void milter_message_apply(struct milter_message *m, struct milter_edits *edits, const char *by, milter_message_fn done, void *ctx)
{
	m->edits = edits;
	m->edits_done = 0;
	m->by = by;
	m->done = done;
	m->ctx = ctx;
	m->turn = (struct loop_task){ .fn = apply_some, .ctx = m };
	loop_task_post(m->loop, &m->turn);
}

const char *milter_message_limit(const struct milter_message *m)
{
	return m->limit;
}

/* ---- writing */

static void written(struct milter_message *m, int err)
{
	content_reader_destroy(&m->reader);
	m->done(m->ctx, err);
}

static int put(struct milter_message *m, struct span bytes)
{
	m->out_len += bytes.len;
	return content_write_all(m->out_fd, bytes);
}

static int put_headers(struct milter_message *m)
{
	struct buf text = { .cap = 3 * MILTER_HEADERS_CAP };
	int err = milter_headers_write(&m->headers, &text);
	if (!err)
		err = put(m, buf_span(&text));
	buf_free(&text);
	m->has_headers_out = true;
	return err;
}

static void copy_body(void *ctx, int err, struct span piece)
{
	struct milter_message *m = ctx;
	if (!err)
		err = put(m, piece);
	if (err || !piece.len)
		written(m, err);
	else
		content_reader_next(m->reader);
}

/* The part of a piece of the image, read from read_at on, that lies in [from, to). */
static struct span part(const struct milter_message *m, struct span piece, uint64_t from, uint64_t to)
{
	uint64_t start = from > m->read_at ? from - m->read_at : 0;
	uint64_t end = to > m->read_at ? to - m->read_at : 0;
	return span_sub(piece, start > piece.len ? piece.len : (size_t)start, end > piece.len ? piece.len : (size_t)end);
}

/* Our own field, the header as it is now, the body as it came. */
static void copy_image(void *ctx, int err, struct span piece)
{
	struct milter_message *m = ctx;
	if (!err)
		err = put(m, part(m, piece, 0, m->image.own_len));
	if (!err && !m->has_headers_out && m->read_at + piece.len >= m->image.own_len)
		err = put_headers(m);
	if (!err && m->has_headers_out && m->body.fd >= 0) {
		content_reader_destroy(&m->reader);
		err = content_reader_create(m->loop, &m->body, 0, copy_body, m, &m->reader);
	} else if (!err) {
		err = put(m, part(m, piece, m->body_from, UINT64_MAX));
	}
	m->read_at += piece.len;
	if (err || !piece.len)
		written(m, err);
	else
		content_reader_next(m->reader);
}

static void nothing_to_write(void *ctx)
{
	written(ctx, 0);
}

static void out_of_memory(void *ctx)
{
	written(ctx, ERR_NOMEM);
}

void milter_message_write(struct milter_message *m, milter_message_fn done, void *ctx)
{
	bool is_touched = m->headers.changes || m->body.fd >= 0;
	m->done = done;
	m->ctx = ctx;
	m->turn = (struct loop_task){ .fn = is_touched ? out_of_memory : nothing_to_write, .ctx = m };
	if (is_touched)
		m->out_fd = memfd_create("postern-milter", MFD_CLOEXEC);
	if (m->out_fd < 0 || content_reader_create(m->loop, &m->image, 0, copy_image, m, &m->reader) != 0)
		loop_task_post(m->loop, &m->turn);
	else
		content_reader_next(m->reader);
}

void milter_message_change(struct milter_message *m, struct content_change *out)
{
	*out = (struct content_change){
		.fd = m->out_fd,
		.len = m->out_len,
		.has_sender = m->has_sender,
		.sender = m->sender,
		.added = m->added.list,
		.added_count = m->added.count,
		.removed = m->removed_paths,
		.removed_count = m->removed.count,
		.hold_reason = m->hold_reason,
	};
	m->out_fd = -1;
}

void milter_message_destroy(struct milter_message **message)
{
	struct milter_message *m = *message;
	if (!m)
		return;
	*message = NULL;
	loop_task_cancel(&m->turn);
	content_reader_destroy(&m->reader);
	buf_free(&m->loading);
	milter_headers_free(&m->headers);
	if (m->body.fd >= 0)
		(void)close(m->body.fd);
	if (m->out_fd >= 0)
		(void)close(m->out_fd);
	arena_free(&m->arena);
	free(m->added.list);
	free(m->removed.list);
	free(m->removed_paths);
	free(m);
}
