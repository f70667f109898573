#include "mime_emit.h"

#include "charset.h"

/* Longer ones are cut there before something is dropped from them: the end of a name tells what it is, and it is shown as it is anyway. */
#define VARIANT_MAX 1024u

static void piece_out(struct mime_emit *emit, enum mime_kind kind, struct span text, bool is_first, bool is_last)
{
	emit->sink(emit->owner, &(struct mime_piece){ .kind = kind, .text = text, .is_first = is_first, .is_last = is_last, .part = emit->part });
}

static void end_line(struct mime_emit *emit)
{
	if (!emit->is_inside_line)
		return;
	piece_out(emit, MIME_TEXT, SPAN_LIT(""), false, true);
	*emit->is_inside_line = false;
	emit->is_inside_line = NULL;
}

void mime_emit_text(struct mime_emit *emit, struct span piece, bool is_last, bool *is_inside_line)
{
	if (emit->is_inside_line != is_inside_line)
		end_line(emit);
	piece_out(emit, MIME_TEXT, piece, !*is_inside_line, is_last);
	*is_inside_line = !is_last;
	emit->is_inside_line = is_last ? NULL : is_inside_line;
}

void mime_emit_whole(struct mime_emit *emit, enum mime_kind kind, struct span text)
{
	bool is_first = true;
	end_line(emit);
	do {
		struct span piece = charset_cut(text, MIME_PIECE_MAX);
		text = span_sub(text, piece.len, text.len);
		piece_out(emit, kind, piece, is_first, text.len == 0);
		is_first = false;
	} while (text.len > 0);
}

static void show(struct mime_emit *emit, struct span name)
{
	uint64_t hash = span_hash_nocase(name) ^ name.len;
	if (emit->recent_part != emit->part)
		emit->recent_count = 0;
	for (unsigned i = 0; i < emit->recent_count && i < MIME_RECENT_NAMES; i++)
		if (emit->recent[i] == hash)
			return;
	if (name.len == 0)
		return;
	emit->recent[emit->recent_count++ % MIME_RECENT_NAMES] = hash;
	emit->recent_part = emit->part;
	mime_emit_whole(emit, MIME_NAME, name);
}

static bool is_control(char c)
{
	return (unsigned char)c < ' ' || c == 0x7f;
}

void mime_emit_name(struct mime_emit *emit, struct span name)
{
	char cleaned[VARIANT_MAX];
	size_t len = 0, end;
	name = span_trim(name);
	show(emit, name);
	show(emit, span_sub(name, 0, span_find(name, '\0', 0)));
	struct span tail = name;
	if (tail.len > sizeof cleaned)
		tail = span_sub(name, name.len - sizeof cleaned, name.len);
	while (tail.len < name.len && tail.len > 0 && ((unsigned char)*tail.ptr & 0xc0) == 0x80)
		tail = span_sub(tail, 1, tail.len);
	for (size_t i = 0; i < tail.len; i++)
		if (!is_control(tail.ptr[i]))
			cleaned[len++] = tail.ptr[i];
	if (len < tail.len)
		show(emit, (struct span){ cleaned, len });
	for (end = len; end > 0 && (cleaned[end - 1] == '.' || cleaned[end - 1] == ' ');)
		end--;
	if (end < len)
		show(emit, (struct span){ cleaned, end });
}
