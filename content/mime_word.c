#include "mime_word.h"

#include "charset.h"
#include "err.h"
#include "mime_decode.h"

#define CHARSET_NAME_MAX 64u

struct word {
	struct span charset, text;
	enum mime_encoding encoding;
	size_t end; /* behind its "?=" */
};

/* next_end: the first "?=" at or after from, kept from one word to the next so that text without any is searched once. */
static size_t find_end(struct span text, size_t from, size_t *next_end)
{
	if (*next_end >= from)
		return *next_end;
	size_t at = from;
	while ((at = span_find(text, '?', at)) + 1 < text.len && text.ptr[at + 1] != '=')
		at++;
	*next_end = at + 1 < text.len ? at : text.len;
	return *next_end;
}

/* A word that begins at from ("=?"). */
static bool parse(struct span text, size_t from, size_t *next_end, struct word *out)
{
	struct span near = span_sub(text, 0, from + 2 + CHARSET_NAME_MAX);
	size_t name_end = span_find(near, '?', from + 2);
	if (name_end == near.len || name_end + 2 >= text.len || text.ptr[name_end + 2] != '?')
		return false;
	char encoding = span_lower(text.ptr[name_end + 1]);
	if (encoding != 'b' && encoding != 'q')
		return false;
	size_t begin = name_end + 3, end = find_end(text, begin, next_end);
	if (end == text.len)
		return false;
	struct span name = span_sub(text, from + 2, name_end);
	out->charset = span_sub(name, 0, span_find(name, '*', 0));
	out->encoding = encoding == 'b' ? MIME_BASE64 : MIME_QUOTED;
	out->text = span_sub(text, begin, end);
	out->end = end + 2;
	return true;
}

/* The "Q" encoding is quoted-printable without line ends, and "_" is a space. */
static int decode_q(struct span text, struct buf *bytes)
{
	int err = buf_reserve(bytes, text.len);
	if (err)
		return err;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];
		if (c == '=' && i + 2 < text.len && mime_hex(text.ptr[i + 1]) >= 0 && mime_hex(text.ptr[i + 2]) >= 0) {
			c = (char)(mime_hex(text.ptr[i + 1]) << 4 | mime_hex(text.ptr[i + 2]));
			i += 2;
		} else if (c == '_') {
			c = ' ';
		}
		bytes->data[bytes->len++] = c;
	}
	return 0;
}

static int decode_word(const struct word *word, struct buf *bytes)
{
	if (word->encoding == MIME_QUOTED)
		return decode_q(word->text, bytes);
	struct mime_decode decode = { .encoding = MIME_BASE64 };
	int err = mime_decode_push(&decode, word->text, bytes);
	return err ? err : mime_decode_finish(&decode, bytes);
}

static bool is_space(struct span s)
{
	return span_trim(s).len == 0;
}

/* One run of words of the same charset is one text. */
struct run {
	struct charset charset;
	struct span name;
	bool is_open;
};

static int end_run(struct run *run, struct buf *out)
{
	int err = run->is_open ? charset_finish(&run->charset, out) : 0;
	charset_close(&run->charset);
	run->is_open = false;
	return err;
}

static int plain(struct span text, struct buf *out)
{
	struct charset charset = { .converter = NULL };
	int err = charset_push(&charset, text, out);
	return err ? err : charset_finish(&charset, out);
}

bool mime_word_is_in(struct span text)
{
	return text.len > 0 && memmem(text.ptr, text.len, "=?", 2) != NULL;
}

int mime_word_decode(struct span text, struct buf *out)
{
	struct run run = { .is_open = false };
	struct buf bytes = { .cap = 0 };
	struct word word;
	size_t shown = 0, at = 0, next_end = 0;
	int err = 0;
	while (!err && (at = span_find(text, '=', at)) + 1 < text.len) {
		if (text.ptr[at + 1] != '?' || !parse(text, at, &next_end, &word)) {
			at++;
			continue;
		}
		struct span between = span_sub(text, shown, at);
		bool goes_on = run.is_open && is_space(between) && span_eq_nocase(run.name, word.charset);
		if (!goes_on) {
			bool drops_space = run.is_open && is_space(between);
			err = end_run(&run, out);
			if (!err && !drops_space)
				err = plain(between, out);
			charset_open(&run.charset, word.charset);
			run.name = word.charset;
			run.is_open = true;
		}
		buf_clear(&bytes);
		if (!err)
			err = decode_word(&word, &bytes);
		if (!err)
			err = charset_push(&run.charset, buf_span(&bytes), out);
		shown = at = word.end;
	}
	int end_err = end_run(&run, out);
	if (!err)
		err = end_err;
	if (!err)
		err = plain(span_sub(text, shown, text.len), out);
	buf_free(&bytes);
	return err;
}
