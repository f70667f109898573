#include "mime_name.h"

#include "charset.h"
#include "err.h"
#include "mime_word.h"

/* Of a uuencoded file: lines longer than this are not looked at. */
#define LINE_MAX_BYTES 1024u

/* Between a name and its "=", for the simple reader. */
#define SPACES_MAX 64u

static bool is_name(struct span s)
{
	return span_eq_nocase(s, SPAN_LIT("filename")) || span_eq_nocase(s, SPAN_LIT("name"));
}

static int show_words(struct span raw, struct buf *text, struct mime_emit *emit)
{
	buf_clear(text);
	int err = mime_word_decode(raw, text);
	if (!err)
		mime_emit_name(emit, buf_span(text));
	return err;
}

static int show_plain(const struct mime_params *params, struct buf *text, struct mime_emit *emit)
{
	int err = 0;
	for (size_t i = 0; !err && i < params->count; i++) {
		const struct mime_param *p = &params->param[i];
		if (!is_name(p->name) || p->section >= 0 || p->is_extended)
			continue;
		err = show_words(p->value, text, emit);
		if (!err && p->first.len < p->value.len)
			err = show_words(p->first, text, emit);
	}
	return err;
}

static int show_joined(struct mime_params *params, bool takes_last, struct buf *text, struct mime_emit *emit)
{
	struct span name, label;
	struct buf bytes = { .cap = 0 };
	int err = 0;
	for (size_t from = 0; !err && (err = mime_params_join(params, &from, takes_last, &name, &label, &bytes)) == 0;) {
		if (!is_name(name))
			continue;
		struct charset charset;
		charset_open(&charset, label);
		buf_clear(text);
		err = charset_push(&charset, buf_span(&bytes), text);
		if (!err)
			err = charset_finish(&charset, text);
		charset_close(&charset);
		if (!err)
			mime_emit_name(emit, buf_span(text));
		if (!err && (label.len == 0 || mime_word_is_in(buf_span(&bytes))))
			err = show_words(buf_span(&bytes), text, emit);
	}
	buf_free(&bytes);
	return err == ERR_NOTFOUND ? 0 : err;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t skip_space(struct span s, size_t at)
{
	while (at < s.len && is_space(s.ptr[at]))
		at++;
	return at;
}

/* The value of the simple reader; *next_out is where to look for the next one: also within quotes, since not everybody knows them.  Linear all the same: within
 * quotes there are none of the same kind, and a word is passed over. */
static struct span simple_value(struct span field, size_t at, bool has_end[2], size_t *next_out)
{
	char quote = at < field.len ? field.ptr[at] : '\0';
	size_t end;
	if (quote == '"' || quote == '\'') {
		/* Whether there is another is asked until there is none, or many that do not end would each be followed to the end. */
		bool *has = &has_end[quote == '"'];
		end = *has ? span_find(field, quote, at + 1) : field.len;
		*has = end < field.len;
		*next_out = ++at;
		if (*has)
			return span_sub(field, at, end);
	}
	for (end = at; end < field.len && field.ptr[end] != ';' && !is_space(field.ptr[end]) && field.ptr[end] != '"';)
		end++;
	*next_out = end;
	return span_sub(field, at, end);
}

/* What the sections look like to a program that does not know them is not shown: "name*0=" has no "name=". */
static int show_simple(struct span field, struct buf *text, struct mime_emit *emit)
{
	bool has_end[2] = { true, true };
	int err = 0;
	for (size_t at = 0; !err && (at = span_find(field, '=', at)) < field.len;) {
		size_t name = at;
		while (name > 0 && is_space(field.ptr[name - 1]) && at - name < SPACES_MAX)
			name--;
		at++;
		if (span_ends_nocase(span_sub(field, 0, name), SPAN_LIT("name")))
			err = show_words(simple_value(field, skip_space(field, at), has_end, &at), text, emit);
	}
	return err;
}

int mime_names_show(struct span field, struct mime_params *params, struct mime_emit *emit)
{
	struct buf text = { .cap = 0 };
	int err = show_plain(params, &text, emit);
	if (!err)
		err = show_joined(params, false, &text, emit);
	if (!err && mime_params_has_duplicates(params))
		err = show_joined(params, true, &text, emit);
	if (!err)
		err = show_simple(field, &text, emit);
	/* Some decode a field before they look for its parts. */
	struct buf decoded = { .cap = 0 };
	if (!err && mime_word_is_in(field))
		err = mime_word_decode(field, &decoded);
	if (!err && decoded.len > 0)
		err = show_simple(buf_span(&decoded), &text, emit);
	buf_free(&decoded);
	buf_free(&text);
	return err;
}

static struct span cut_word(struct span *rest)
{
	size_t from = 0, end;
	while (from < rest->len && is_space(rest->ptr[from]))
		from++;
	for (end = from; end < rest->len && !is_space(rest->ptr[end]);)
		end++;
	struct span word = span_sub(*rest, from, end);
	*rest = span_sub(*rest, end, rest->len);
	return word;
}

/* Old programs take "begin  name", without a mode, too; some that of a file as Git writes it. */
static bool is_mode(struct span word)
{
	uint64_t mode;
	return span_to_u64(word, 177777, &mode) == 0;
}

bool mime_name_of_line(struct span line, struct span *name_out)
{
	struct span rest = span_trim(line), name;
	if (rest.len > LINE_MAX_BYTES || line.len == 0 || (line.ptr[0] != 'b' && line.ptr[0] != '='))
		return false;
	struct span word = cut_word(&rest);
	if (span_eq(word, SPAN_LIT("=ybegin"))) {
		for (size_t at = 0; at + 5 < rest.len; at++)
			if (memcmp(rest.ptr + at, "name=", 5) == 0) {
				*name_out = span_trim(span_sub(rest, at + 5, rest.len));
				return name_out->len > 0;
			}
		return false;
	}
	if (!span_eq(word, SPAN_LIT("begin")) && !span_eq(word, SPAN_LIT("begin-base64")))
		return false;
	bool is_double = rest.len > 1 && rest.ptr[1] == ' ';
	name = rest;
	if (is_mode(cut_word(&rest)))
		name = rest;
	else if (!is_double)
		return false;
	*name_out = span_trim(name);
	return name_out->len > 0;
}

bool mime_name_is_data(struct span line)
{
	struct span s = span_trim(line);
	if (s.len == 0 || s.len > LINE_MAX_BYTES)
		return false;
	/* The first character counts the bytes of the line, three of them in four characters; some add one or two, some strip spaces at the end. */
	size_t count = ((unsigned char)line.ptr[0] - 32u) & 63u, expected = (count + 2) / 3 * 4 + 1;
	bool is_uu = line.ptr[0] >= ' ' && line.ptr[0] <= '`' && line.len <= expected + 3 && line.len * 2 >= expected;
	bool is_base64 = s.len % 4 == 0 && s.len >= 4;
	for (size_t i = 0; i < s.len; i++) {
		char c = span_lower(s.ptr[i]);
		is_uu = is_uu && s.ptr[i] >= ' ' && s.ptr[i] <= '`';
		is_base64 = is_base64 && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '+' || c == '/' || c == '=');
	}
	return is_uu || is_base64;
}
