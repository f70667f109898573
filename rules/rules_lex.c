#include "rules_lex.h"

#include "buf.h"
#include "err.h"

static struct span take_physical(struct rules_lex *lex)
{
	size_t end = span_find(lex->rest, '\n', 0);
	struct span text = span_sub(lex->rest, 0, end);
	lex->rest = span_sub(lex->rest, end + 1, lex->rest.len);
	lex->line++;
	if (text.len && text.ptr[text.len - 1] == '\r')
		text.len--;
	return text;
}

static bool is_joined(struct span text)
{
	return text.len && text.ptr[text.len - 1] == '\\';
}

/* Builds the logical line that begins with `first`.  Too long a line is read to its end all the same, and comes out empty. */
static int join(struct rules_lex *lex, struct span first, struct lex_line *out)
{
	struct buf text = { .cap = RULES_LINE_MAX };
	struct buf pieces = { 0 };
	struct span part = first;
	int err = 0;
	for (;;) {
		struct lex_piece piece = { .offset = (uint32_t)text.len, .line = lex->line };
		bool more = is_joined(part) && lex->rest.len;
		if (is_joined(part))
			part.len--;
		if (!err)
			err = buf_append(&pieces, &piece, sizeof piece);
		if (!err)
			err = buf_append_span(&text, part);
		if (!more)
			break;
		part = take_physical(lex);
	}
	if (!err) {
		struct span kept = arena_copy(lex->arena, (struct span){ pieces.data, pieces.len });
		out->text = arena_copy(lex->arena, buf_span(&text));
		out->pieces = (const struct lex_piece *)(const void *)kept.ptr;
		out->piece_count = (uint32_t)(pieces.len / sizeof(struct lex_piece));
		err = out->text.ptr && kept.ptr ? 0 : ERR_NOMEM;
	}
	buf_free(&text);
	buf_free(&pieces);
	return err;
}

int rules_lex_next(struct rules_lex *lex, struct lex_line *out)
{
	if (lex->rest.len == 0)
		return ERR_EOF;
	struct span text = take_physical(lex);
	*out = (struct lex_line){ .file = lex->file, .text = text, .line = lex->line };
	int err = text.len > RULES_LINE_MAX ? ERR_TOOLONG : is_joined(text) ? join(lex, text, out) : 0;
	if (err == ERR_TOOLONG) {
		struct rules_place place = { lex->file, out->line, 1 };
		rules_diag_add(lex->diags, RULES_ERROR, &place, "line too long: expected at most %u bytes, joined lines included",
			       RULES_LINE_MAX);
		out->text = SPAN_LIT("");
		out->piece_count = 0;
		return 0;
	}
	return err;
}

struct rules_place lex_place(const struct lex_line *line, const char *ptr)
{
	uint32_t offset = ptr ? (uint32_t)(ptr - line->text.ptr) : 0;
	struct rules_place place = { line->file, line->line, offset + 1 };
	for (uint32_t i = 0; i < line->piece_count && line->pieces[i].offset <= offset; i++) {
		place.line = line->pieces[i].line;
		place.column = offset - line->pieces[i].offset + 1;
	}
	return place;
}

/* The index of the bracket that closes the one at `at`, or `at` itself when none does before the word ends: then it is a plain byte. */
static size_t bracket_end(struct span line, size_t at)
{
	for (size_t i = at + 1; i < line.len; i++) {
		char c = line.ptr[i];
		if (c == ']')
			return i;
		if (c == ' ' || c == '\t' || c == ',')
			break;
	}
	return at;
}

uint32_t lex_fields(struct span line, struct span fields[RULES_FIELDS_MAX])
{
	uint32_t count = 0;
	size_t begin = 0, i = 0;
	for (; i < line.len && count < RULES_FIELDS_MAX - 1; i++) {
		if (line.ptr[i] == '\\' && i + 1 < line.len && line.ptr[i + 1] == '[')
			i++;
		else if (line.ptr[i] == '[')
			i = bracket_end(line, i);
		else if (line.ptr[i] == ':') {
			fields[count++] = span_trim(span_sub(line, begin, i));
			begin = i + 1;
		}
	}
	fields[count++] = span_trim(span_sub(line, begin, line.len));
	return count;
}

static bool is_separator(char c)
{
	return c == ' ' || c == '\t' || c == ',';
}

size_t lex_regex_end(struct span s, size_t at)
{
	for (size_t i = at + 1; i < s.len; i++) {
		if (s.ptr[i] == '\\')
			i++;
		else if (s.ptr[i] == '/')
			return i;
	}
	return s.len;
}

/* True where a slash begins a regex and is not a path's, a network's or a name's. */
static bool begins_regex(struct span word, size_t at)
{
	static const struct span file = { "FILE=", 5 };
	if (word.ptr[at] != '/')
		return false;
	if (at == 0 || word.ptr[at - 1] == '@')
		return true;
	return word.ptr[at - 1] == '=' && !span_eq(span_sub(word, 0, file.len), file);
}

bool lex_word(struct span *rest, struct span *word_out)
{
	size_t end = 0;
	while (rest->len && is_separator(rest->ptr[0]))
		rest->ptr++, rest->len--;
	if (rest->len == 0)
		return false;
	while (end < rest->len && !is_separator(rest->ptr[end])) {
		if (begins_regex(*rest, end)) {
			size_t close = lex_regex_end(*rest, end);
			end = close < rest->len ? close : end;
		}
		end++;
	}
	*word_out = span_sub(*rest, 0, end);
	*rest = span_sub(*rest, end, rest->len);
	return true;
}
