#include "filter_scan.h"

#include <stdlib.h>

#include "filter_fold.h"
#include "filter_lines.h"
#include "mime_walk.h"

/* Decoded lines and names are compared when so much of them has come together. */
#define BATCH_BYTES 16384u
#define BATCH_CAP (1u << 20)

/* What is shown to the rules of one kind. */
struct view {
	bool is_on, is_matched;
	uint32_t rule_line;
	size_t text_len;
	char text[FILTER_TEXT_CAP];
	struct filter_lines lines;
	struct buf batch; /* decoded, one item a line */
};

struct filter_scan {
	struct filter_set *set;
	struct filter_work work;
	struct view views[FILTER_KINDS];
	struct mime_walk *mime; /* NULL: no rule wants it */
};

static bool is_looking(const struct filter_scan *s, const struct view *v)
{
	return v->is_on && !v->is_matched && !s->work.is_over;
}

static void take_match(struct view *v, const struct filter_match *match)
{
	v->is_matched = true;
	v->rule_line = match->rule_line;
	v->text_len = match->text.len < sizeof v->text ? match->text.len : sizeof v->text;
	memcpy(v->text, match->text.ptr, v->text_len);
	filter_lines_free(&v->lines);
}

static void look_at(struct filter_scan *s, struct view *v, struct span bytes)
{
	struct filter_match match;
	if (is_looking(s, v) && filter_lines_push(&v->lines, bytes, &s->work, &match))
		take_match(v, &match);
}

/* ---- decoded text */

static void look_at_batch(struct filter_scan *s, struct view *v)
{
	look_at(s, v, buf_span(&v->batch));
	buf_clear(&v->batch);
}

static void add(struct filter_scan *s, struct view *v, struct span text)
{
	if (buf_append_span(&v->batch, text) != 0)
		filter_work_fail(&s->work, "out of memory");
}

/* Signs that equal a letter of another length are made this letter, so that texts can be looked for as bytes. */
static void add_folded(struct filter_scan *s, struct view *v, struct span text)
{
	struct span letter;
	size_t done = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		/* No other byte begins one. */
		size_t len = c == 0xc5 || c == 0xe1 || c == 0xe2 ? filter_fold_rare(span_sub(text, i, text.len), &letter) : 0;
		if (len == 0)
			continue;
		add(s, v, span_sub(text, done, i));
		add(s, v, letter);
		done = i + len;
		i = done - 1;
	}
	add(s, v, span_sub(text, done, text.len));
}

static void on_piece(void *owner, const struct mime_piece *piece)
{
	struct filter_scan *s = owner;
	struct view *v = &s->views[piece->kind == MIME_NAME ? FILTER_ATTACHMENT : FILTER_DECODE];
	if (!is_looking(s, v))
		return;
	add_folded(s, v, piece->text);
	if (piece->is_last)
		add(s, v, SPAN_LIT("\n"));
	if (v->batch.len >= BATCH_BYTES)
		look_at_batch(s, v);
}

static void walk(struct filter_scan *s, struct span wire, bool is_end)
{
	bool is_wanted = is_looking(s, &s->views[FILTER_DECODE]) || is_looking(s, &s->views[FILTER_ATTACHMENT]);
	if (!s->mime || !is_wanted)
		return;
	if (is_end ? mime_walk_finish(s->mime) : mime_walk_push(s->mime, wire))
		filter_work_fail(&s->work, "out of memory");
	for (int kind = FILTER_DECODE; kind < FILTER_KINDS; kind++) {
		look_at_batch(s, &s->views[kind]);
		buf_free(&s->views[kind].batch);
	}
}

/* ---- all of it */

int filter_scan_create(struct filter_set *set, struct filter_scan **out)
{
	struct filter_scan *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->set = filter_set_hold(set);
	filter_work_init(&s->work);
	for (int kind = 0; kind < FILTER_KINDS; kind++) {
		struct view *v = &s->views[kind];
		v->is_on = filter_set_measure(set, (enum filter_kind)kind).patterns > 0;
		v->batch.cap = BATCH_CAP;
		filter_lines_init(&v->lines, filter_set_matcher(set, (enum filter_kind)kind), kind == FILTER_LINE);
	}
	int err = 0;
	if (s->views[FILTER_DECODE].is_on || s->views[FILTER_ATTACHMENT].is_on)
		err = mime_walk_open(MIME_WIRE, on_piece, s, &s->mime);
	if (err)
		filter_scan_destroy(&s);
	else
		*out = s;
	return err;
}

/* Of the kinds that still matter: behind a match of plain lines no other does. */
static bool is_done(const struct filter_scan *s)
{
	bool is_done = true;
	for (int kind = 0; kind < FILTER_KINDS && is_done && !s->views[FILTER_LINE].is_matched; kind++)
		is_done = !is_looking(s, &s->views[kind]) || !filter_lines_is_waiting(&s->views[kind].lines);
	return is_done;
}

bool filter_scan_push(struct filter_scan *s, struct span wire)
{
	struct view *plain = &s->views[FILTER_LINE];
	filter_work_next_slice(&s->work);
	look_at(s, plain, wire);
	/* What the others would say does not matter any more. */
	if (!plain->is_matched)
		walk(s, wire, false);
	return is_done(s);
}

static void end_views(struct filter_scan *s)
{
	struct filter_match match;
	for (int kind = 0; kind < FILTER_KINDS; kind++) {
		struct view *v = &s->views[kind];
		if (is_looking(s, v) && filter_lines_end(&v->lines, &s->work, &match))
			take_match(v, &match);
	}
}

bool filter_scan_finish(struct filter_scan *s)
{
	filter_work_next_slice(&s->work);
	if (!s->views[FILTER_LINE].is_matched)
		walk(s, SPAN_NONE, true);
	end_views(s);
	return is_done(s);
}

bool filter_scan_go_on(struct filter_scan *s)
{
	struct filter_match match;
	filter_work_next_slice(&s->work);
	/* One kind behind the other, as their bytes were pushed. */
	for (int kind = 0; kind < FILTER_KINDS; kind++) {
		struct view *v = &s->views[kind];
		if (!is_looking(s, v) || s->views[FILTER_LINE].is_matched)
			continue;
		if (filter_lines_go_on(&v->lines, &s->work, &match))
			take_match(v, &match);
		else if (filter_lines_is_waiting(&v->lines))
			break;
	}
	return is_done(s);
}

void filter_scan_tell(const struct filter_scan *s, struct filter_result *out)
{
	*out = (struct filter_result){ .mime_flags = s->mime ? mime_walk_flags(s->mime) : 0 };
	for (int kind = 0; kind < FILTER_KINDS; kind++) {
		const struct view *v = &s->views[kind];
		if (!v->is_matched)
			continue;
		out->outcome = FILTER_MATCHED;
		out->kind = (enum filter_kind)kind;
		out->rule_line = v->rule_line;
		out->text = (struct span){ v->text, v->text_len };
		return;
	}
	if (!s->work.unknown)
		return;
	out->outcome = FILTER_UNKNOWN;
	out->rule_line = s->work.unknown_line;
	out->why = s->work.unknown;
}

void filter_scan_push_all(struct filter_scan *s, struct span wire)
{
	for (bool is_done = filter_scan_push(s, wire); !is_done;)
		is_done = filter_scan_go_on(s);
}

void filter_scan_end(struct filter_scan *s, struct filter_result *out)
{
	for (bool is_done = filter_scan_finish(s); !is_done;)
		is_done = filter_scan_go_on(s);
	filter_scan_tell(s, out);
}

void filter_scan_destroy(struct filter_scan **scan)
{
	struct filter_scan *s = *scan;
	*scan = NULL;
	if (!s)
		return;
	mime_walk_close(&s->mime);
	for (int kind = 0; kind < FILTER_KINDS; kind++) {
		filter_lines_free(&s->views[kind].lines);
		buf_free(&s->views[kind].batch);
	}
	filter_set_release(&s->set);
	free(s);
}
