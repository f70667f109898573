#include "smtp_dot.h"

enum undot_state { LINE_START, DOT, DOT_CR, TEXT, TEXT_CR };

void smtp_undot_init(struct smtp_undot *undot)
{
	*undot = (struct smtp_undot){ .state = LINE_START };
}

/* From index at on, as far as one state reaches; moves *at. */
static int undot_step(struct smtp_undot *undot, struct span wire, size_t *at, struct buf *out)
{
	size_t from = *at;
	char c = wire.ptr[from];
	switch ((enum undot_state)undot->state) {
	case LINE_START:
		*at += c == '.';
		undot->state = c == '.' ? DOT : TEXT;
		return 0;
	case DOT:
		*at += c == '\r';
		undot->state = c == '\r' ? DOT_CR : TEXT;
		return 0;
	case DOT_CR:
		if (c == '\n') {
			++*at;
			undot->has_ended = true;
			return 0;
		}
		undot->state = TEXT;
		return buf_append(out, "\r", 1);
	case TEXT:
		*at = span_find(wire, '\r', from);
		int err = buf_append_span(out, span_sub(wire, from, *at));
		if (*at < wire.len) {
			++*at;
			undot->state = TEXT_CR;
		}
		return err;
	case TEXT_CR:
		*at += c == '\n';
		undot->state = c == '\n' ? LINE_START : TEXT;
		return buf_append(out, c == '\n' ? "\n" : "\r", 1);
	}
	return 0;
}

int smtp_undot_push(struct smtp_undot *undot, struct span wire, struct buf *out)
{
	const struct smtp_undot before = *undot;
	const size_t len_before = out->len;
	for (size_t at = 0; at < wire.len && !undot->has_ended;) {
		int err = undot_step(undot, wire, &at, out);
		if (err) {
			*undot = before;
			out->len = len_before;
			return err;
		}
	}
	return 0;
}

void smtp_dot_init(struct smtp_dot *dot)
{
	*dot = (struct smtp_dot){ .is_inside_line = false };
}

static bool is_dropped(char c)
{
	return c == '\r' || c == '\0';
}

/* One byte that is special, or a run of bytes that are not; moves *at. */
static int dot_step(struct smtp_dot *dot, struct span native, size_t *at, struct buf *out)
{
	size_t from = *at;
	char c = native.ptr[from];
	if (is_dropped(c) || c == '\n') {
		++*at;
		if (c != '\n')
			return 0;
		dot->is_inside_line = false;
		return buf_append(out, "\r\n", 2);
	}
	while (*at < native.len && native.ptr[*at] != '\n' && !is_dropped(native.ptr[*at]))
		++*at;
	int err = c == '.' && !dot->is_inside_line ? buf_append(out, ".", 1) : 0;
	dot->is_inside_line = true;
	return err ? err : buf_append_span(out, span_sub(native, from, *at));
}

int smtp_dot_push(struct smtp_dot *dot, struct span native, struct buf *out)
{
	const struct smtp_dot before = *dot;
	const size_t len_before = out->len;
	for (size_t at = 0; at < native.len;) {
		int err = dot_step(dot, native, &at, out);
		if (err) {
			*dot = before;
			out->len = len_before;
			return err;
		}
	}
	return 0;
}

int smtp_dot_finish(struct smtp_dot *dot, struct buf *out)
{
	struct span end = dot->is_inside_line ? SPAN_LIT("\r\n.\r\n") : SPAN_LIT(".\r\n");
	int err = buf_append_span(out, end);
	if (err == 0)
		dot->is_inside_line = false;
	return err;
}
