#include "mime_text.h"

#include "err.h"
#include "mime_name.h"

#define SNIFF_BYTES 512u
#define MARK_BYTES 2u
/* Converted at a time: what is not shown at once stays below MIME_PIECE_MAX and three times this. */
#define SLICE 2048u

void mime_text_begin(struct mime_text *text, struct mime_emit *emit, struct span charset, bool must_sniff)
{
	text->emit = emit;
	charset_close(&text->charset);
	charset_open(&text->charset, charset);
	buf_clear(&text->line);
	buf_clear(&text->sniffed);
	buf_clear(&text->file);
	text->searched = 0;
	text->is_inside_line = text->is_binary = false;
	/* Where a converter knows what the bytes are it takes the mark itself. */
	text->is_sniffing = must_sniff || !text->charset.converter;
	text->sniffs = must_sniff ? SNIFF_BYTES : MARK_BYTES;
}

/* The bytes that no text has, as https://mimesniff.spec.whatwg.org/#binary-data-byte lists them; PDF says that it is text and is not. */
static bool is_binary(struct span bytes)
{
	if (span_starts_nocase(bytes, SPAN_LIT("%PDF-")))
		return true;
	for (size_t i = 0; i < bytes.len; i++) {
		unsigned char c = (unsigned char)bytes.ptr[i];
		if (c < 0x20 && c != '\t' && c != '\n' && c != '\f' && c != '\r' && c != 0x1b)
			return true;
	}
	return false;
}

/* Two lines decide about a file: the one with its name, and the one below. */
static int look_for_file(struct mime_text *text, struct span line)
{
	struct span name;
	if (text->file.len > 0) {
		if (mime_name_is_data(line))
			mime_emit_name(text->emit, buf_span(&text->file));
		buf_clear(&text->file);
	}
	if (line.len == 0 || (line.ptr[0] != 'b' && line.ptr[0] != '=') || !mime_name_of_line(line, &name))
		return 0;
	if (line.ptr[0] == 'b')
		return buf_append_span(&text->file, name);
	mime_emit_name(text->emit, name);
	return 0;
}

static int show(struct mime_text *text, struct span piece, bool is_last)
{
	int err = text->is_inside_line ? 0 : look_for_file(text, piece);
	mime_emit_text(text->emit, piece, is_last, &text->is_inside_line);
	return err;
}

/* All of a line, its CR still behind it.  The same pieces as when it came bit by bit. */
static int show_line(struct mime_text *text, struct span line)
{
	int err = 0;
	while (!err && line.len > MIME_PIECE_MAX) {
		struct span piece = charset_cut(line, MIME_PIECE_MAX);
		err = show(text, piece, false);
		line = span_sub(line, piece.len, line.len);
	}
	if (line.len > 0 && line.ptr[line.len - 1] == '\r')
		line.len--;
	return err ? err : show(text, line, true);
}

static int show_lines(struct mime_text *text)
{
	struct span all = buf_span(&text->line);
	size_t from = 0, end;
	int err = 0;
	while (!err && (end = span_find(all, '\n', from + text->searched)) < all.len) {
		err = show_line(text, span_sub(all, from, end));
		from = end + 1;
		text->searched = 0;
	}
	while (!err && all.len - from > MIME_PIECE_MAX) {
		struct span piece = charset_cut(span_sub(all, from, all.len), MIME_PIECE_MAX);
		err = show(text, piece, false);
		from += piece.len;
	}
	buf_consume(&text->line, from);
	text->searched = text->line.len;
	return err;
}

static int convert(struct mime_text *text, struct span bytes)
{
	int err = 0;
	while (!err && bytes.len > 0) {
		err = charset_push(&text->charset, span_sub(bytes, 0, SLICE), &text->line);
		bytes = span_sub(bytes, SLICE, bytes.len);
		if (!err)
			err = show_lines(text);
	}
	return err;
}

static int end_sniffing(struct mime_text *text)
{
	struct span head = buf_span(&text->sniffed);
	bool is_utf16 = !text->charset.converter && head.len >= MARK_BYTES && (memcmp(head.ptr, "\xff\xfe", 2) == 0 || memcmp(head.ptr, "\xfe\xff", 2) == 0);
	if (is_utf16) {
		charset_close(&text->charset);
		charset_open(&text->charset, SPAN_LIT("utf-16"));
	}
	text->is_sniffing = false;
	text->is_binary = text->sniffs == SNIFF_BYTES && !is_utf16 && is_binary(head);
	int err = text->is_binary ? 0 : convert(text, buf_span(&text->sniffed));
	buf_free(&text->sniffed);
	return err;
}

int mime_text_push(struct mime_text *text, struct span bytes)
{
	if (text->is_sniffing) {
		struct span head = span_sub(bytes, 0, text->sniffs - text->sniffed.len);
		int err = buf_append_span(&text->sniffed, head);
		bytes = span_sub(bytes, head.len, bytes.len);
		if (!err && text->sniffed.len == text->sniffs)
			err = end_sniffing(text);
		if (err)
			return err;
	}
	return text->is_binary ? 0 : convert(text, bytes);
}

int mime_text_end(struct mime_text *text)
{
	int err = text->is_sniffing ? end_sniffing(text) : 0;
	if (!err && !text->is_binary)
		err = charset_finish(&text->charset, &text->line);
	if (!err && !text->is_binary)
		err = show_lines(text);
	if (!err && (text->line.len > 0 || text->is_inside_line))
		err = show_line(text, buf_span(&text->line));
	charset_close(&text->charset);
	buf_clear(&text->line);
	text->searched = 0;
	text->is_inside_line = false;
	return err;
}

void mime_text_free(struct mime_text *text)
{
	charset_close(&text->charset);
	buf_free(&text->line);
	buf_free(&text->sniffed);
	buf_free(&text->file);
}
