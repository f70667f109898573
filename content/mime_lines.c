#include "mime_lines.h"

static int end_line(struct mime_lines *lines, struct span rest)
{
	bool is_first = !lines->is_long;
	struct span line = rest;
	int err = 0;
	if (lines->head.len > 0) {
		err = buf_append_span(&lines->head, rest);
		line = buf_span(&lines->head);
	}
	if (lines->is_wire && lines->is_dot && is_first && line.len == 0)
		lines->has_ended = true;
	else if (!err)
		err = lines->show(lines->owner, line, is_first, true);
	buf_clear(&lines->head);
	lines->is_long = lines->is_dot = lines->is_open = false;
	return err;
}

static int show_head(struct mime_lines *lines, struct span head)
{
	int err = lines->show(lines->owner, head, !lines->is_long, false);
	lines->is_long = true;
	return err;
}

/* Bytes within a line.  A head goes only when more comes. */
static int more(struct mime_lines *lines, struct span bytes)
{
	int err = 0;
	lines->is_open = lines->is_open || bytes.len > 0;
	while (!err && bytes.len > 0) {
		if (lines->head.len == MIME_HEAD_MAX) {
			err = show_head(lines, buf_span(&lines->head));
			buf_clear(&lines->head);
		}
		struct span piece = span_sub(bytes, 0, MIME_HEAD_MAX - lines->head.len);
		bytes = span_sub(bytes, piece.len, bytes.len);
		if (!err && lines->head.len == 0 && bytes.len > 0)
			err = show_head(lines, piece);
		else if (!err)
			err = buf_append_span(&lines->head, piece);
	}
	return err;
}

static int line_of(struct mime_lines *lines, struct span bytes)
{
	bool fits = lines->head.len + bytes.len <= MIME_HEAD_MAX;
	int err = fits ? 0 : more(lines, bytes);
	return err ? err : end_line(lines, fits ? bytes : SPAN_NONE);
}

int mime_lines_push(struct mime_lines *lines, struct span bytes)
{
	if (bytes.len == 0)
		return 0;
	const char *p = bytes.ptr, *end = p + bytes.len;
	int err = 0;
	while (!err && p < end && !lines->has_ended) {
		if (lines->is_behind_cr) {
			lines->is_behind_cr = false;
			lines->is_behind_lone_cr = *p != '\n';
			if (*p == '\n') {
				p++;
				continue;
			}
		}
		if (lines->is_wire && !lines->is_open && *p == '.' && !lines->is_behind_lone_cr) {
			lines->is_dot = lines->is_open = true;
			p++;
			continue;
		}
		size_t left = (size_t)(end - p);
		const char *lf = memchr(p, '\n', left), *cr = memchr(p, '\r', lf ? (size_t)(lf - p) : left), *stop = cr ? cr : lf;
		if (!stop) {
			err = more(lines, (struct span){ p, left });
			break;
		}
		err = line_of(lines, (struct span){ p, (size_t)(stop - p) });
		lines->is_behind_cr = stop == cr;
		lines->is_behind_lone_cr = false;
		p = stop + 1;
	}
	return err;
}

int mime_lines_finish(struct mime_lines *lines)
{
	int err = lines->is_open && !lines->has_ended ? end_line(lines, SPAN_NONE) : 0;
	buf_free(&lines->head);
	return err;
}
