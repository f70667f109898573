#include "filter_lines.h"

#include <ctype.h>
#include <stdlib.h>

/* More of it is not kept between two lines. */
#define ROOM_KEPT 4096u
/* What a match in a later window may look at in front of it. */
#define LOOK_BEHIND 16u

struct filter_waiting {
	struct filter_waiting *next;
	struct filter_block block;
	struct filter_place place;
	char bytes[];
};

void filter_lines_init(struct filter_lines *lines, struct filter_matcher *matcher, bool is_wire)
{
	*lines = (struct filter_lines){ .matcher = matcher, .is_wire = is_wire, .kept = { .cap = FILTER_WINDOW_BYTES } };
}

static bool keep(struct filter_lines *lines, struct span bytes, struct filter_work *work)
{
	if (buf_append_span(&lines->kept, bytes) == 0)
		return true;
	filter_work_fail(work, "out of memory");
	return false;
}

static void forget(struct filter_lines *lines)
{
	lines->is_inside = false;
	buf_clear(&lines->kept);
	if (lines->kept.room > ROOM_KEPT)
		buf_free(&lines->kept);
}

/* The block waits, from its place on. */
static void put_off(struct filter_lines *lines, const struct filter_block *block, const struct filter_place *place, struct filter_work *work)
{
	struct filter_waiting *w = malloc(sizeof *w + block->bytes.len);
	if (!w) {
		filter_work_fail(work, "out of memory");
		return;
	}
	*w = (struct filter_waiting){ .block = *block, .place = *place };
	memcpy(w->bytes, block->bytes.ptr, block->bytes.len);
	w->block.bytes.ptr = w->bytes;
	if (!lines->waiting)
		lines->waiting_end = &lines->waiting;
	*lines->waiting_end = w;
	lines->waiting_end = &w->next;
}

static bool match(struct filter_lines *lines, struct span bytes, bool is_line_end, struct filter_work *work, struct filter_match *out)
{
	const struct filter_block block = {
		.bytes = bytes,
		.is_wire = lines->is_wire,
		.is_line_begin = !lines->is_inside,
		.is_line_end = is_line_end,
		.from = lines->is_inside ? LOOK_BEHIND : 0,
	};
	struct filter_place place = { .line = 0 };
	if (bytes.len == 0)
		return false;
	filter_work_allow(work, bytes.len);
	enum filter_run run = lines->waiting ? FILTER_RUN_PAUSED : filter_matcher_run(lines->matcher, &block, &place, work, out);
	if (run == FILTER_RUN_PAUSED)
		put_off(lines, &block, &place, work);
	return run == FILTER_RUN_MATCH;
}

/* A window is full and its line goes on: cut it behind a word, so that nothing looks like the end of one that is not. */
static bool match_window(struct filter_lines *lines, struct filter_work *work, struct filter_match *out)
{
	struct span window = buf_span(&lines->kept);
	size_t end = window.len;
	while (end > window.len - FILTER_CUT_BYTES && (isalnum((unsigned char)window.ptr[end - 1]) || window.ptr[end - 1] == '_'))
		end--;
	if (end == window.len - FILTER_CUT_BYTES)
		end = window.len;
	if (match(lines, span_sub(window, 0, end), false, work, out))
		return true;
	lines->is_inside = true;
	buf_consume(&lines->kept, FILTER_WINDOW_BYTES / 2);
	return false;
}

/* Bytes of the line that is not complete, without its LF; cut into windows where it is long. */
static bool push_part(struct filter_lines *lines, struct span part, struct filter_work *work, struct filter_match *out)
{
	while (part.len && !work->is_over) {
		size_t room = FILTER_WINDOW_BYTES - lines->kept.len, take = part.len < room ? part.len : room;
		if (!keep(lines, span_sub(part, 0, take), work))
			return false;
		part = span_sub(part, take, part.len);
		/* Not before there is more of it: a line that ends here is no longer than a window. */
		if (lines->kept.len == FILTER_WINDOW_BYTES && part.len && match_window(lines, work, out))
			return true;
	}
	return false;
}

static bool end_line(struct filter_lines *lines, struct filter_work *work, struct filter_match *out)
{
	static const struct span final_dot = SPAN_LIT(".\r");
	struct span line = buf_span(&lines->kept);
	if (lines->is_wire && !lines->is_inside && span_eq(line, final_dot)) {
		lines->has_ended = true;
		return false;
	}
	return match(lines, line, true, work, out);
}

/* Up to the first LF; *rest is what lies behind it. */
static bool push_line(struct filter_lines *lines, struct span *rest, struct filter_work *work, struct filter_match *out)
{
	size_t end = span_find(*rest, '\n', 0);
	bool is_ended = end < rest->len;
	if (push_part(lines, span_sub(*rest, 0, end), work, out))
		return true;
	*rest = span_sub(*rest, is_ended ? end + 1 : end, rest->len);
	if (!is_ended)
		return false;
	bool is_match = end_line(lines, work, out);
	/* The text that matched lies in there. */
	if (!is_match)
		forget(lines);
	return is_match;
}

/* Whole lines, of which none is longer than a window. */
static bool push_block(struct filter_lines *lines, struct span block, struct filter_work *work, struct filter_match *out)
{
	static const struct span final_line = SPAN_LIT(".\r\n");
	bool is_last = block.len >= 3 && span_eq(span_sub(block, block.len - 3, block.len), final_line) &&
		       (block.len == 3 || block.ptr[block.len - 4] == '\n');
	if (lines->is_wire && is_last) {
		lines->has_ended = true;
		block.len -= 3;
	}
	return match(lines, block, true, work, out);
}

bool filter_lines_push(struct filter_lines *lines, struct span bytes, struct filter_work *work, struct filter_match *out)
{
	while (bytes.len && !lines->has_ended && !work->is_over) {
		struct span head = span_sub(bytes, 0, FILTER_WINDOW_BYTES + 1);
		bool is_kept = lines->kept.len > 0 || lines->is_inside;
		const char *lf = is_kept ? NULL : memrchr(head.ptr, '\n', head.len);
		if (lf) {
			size_t len = (size_t)(lf + 1 - bytes.ptr);
			if (push_block(lines, span_sub(bytes, 0, len), work, out))
				return true;
			bytes = span_sub(bytes, len, bytes.len);
		} else if (push_line(lines, &bytes, work, out)) {
			return true;
		}
	}
	return false;
}

bool filter_lines_end(struct filter_lines *lines, struct filter_work *work, struct filter_match *out)
{
	bool is_match = (lines->kept.len > 0 || lines->is_inside) && !lines->has_ended && match(lines, buf_span(&lines->kept), true, work, out);
	if (!is_match)
		forget(lines);
	return is_match;
}

bool filter_lines_go_on(struct filter_lines *lines, struct filter_work *work, struct filter_match *out)
{
	struct filter_waiting *w;
	while ((w = lines->waiting) != NULL && !work->is_over) {
		enum filter_run run = filter_matcher_run(lines->matcher, &w->block, &w->place, work, out);
		if (run != FILTER_RUN_OVER)
			return run == FILTER_RUN_MATCH;
		lines->waiting = w->next;
		free(w);
	}
	return false;
}

bool filter_lines_is_waiting(const struct filter_lines *lines)
{
	return lines->waiting != NULL;
}

void filter_lines_free(struct filter_lines *lines)
{
	for (struct filter_waiting *w = lines->waiting, *next; w; w = next) {
		next = w->next;
		free(w);
	}
	lines->waiting = NULL;
	buf_free(&lines->kept);
}
