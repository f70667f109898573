#include "spool_text.h"

#include "err.h"

static bool is_refused(unsigned char c)
{
	return c == '\0' || c == '\r' || c == '\n';
}

static bool is_plain(unsigned char c, bool is_token)
{
	if (c < ' ' || c > '~' || c == '\\')
		return false;
	return !is_token || (c != ' ' && c != '<' && c != '>');
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

size_t spool_text_len(struct span value, bool is_token)
{
	size_t len = 0;
	for (size_t i = 0; i < value.len; i++)
		len += is_plain((unsigned char)value.ptr[i], is_token) ? 1 : sizeof "\\xNN" - 1;
	return len;
}

int spool_text_put(struct buf *out, struct span value, bool is_token, size_t cap)
{
	static const char hex[] = "0123456789abcdef";
	if (value.len > cap)
		return ERR_TOOLONG;
	if (value.len == 0)
		return 0;
	int err = buf_reserve(out, 4 * value.len);
	if (err)
		return err;
	char *at = out->data + out->len;
	for (size_t i = 0; i < value.len; i++) {
		unsigned char c = (unsigned char)value.ptr[i];
		if (is_refused(c))
			return ERR_INVAL;
		if (is_plain(c, is_token)) {
			*at++ = (char)c;
			continue;
		}
		*at++ = '\\';
		*at++ = 'x';
		*at++ = hex[c >> 4];
		*at++ = hex[c & 15];
	}
	out->len = (size_t)(at - out->data);
	return 0;
}

int spool_text_get(struct span text, bool is_token, size_t cap, struct arena *arena, struct span *out)
{
	if (text.len > 4 * cap)
		return ERR_TOOLONG;
	char *bytes = arena_alloc(arena, text.len + 1);
	if (!bytes)
		return ERR_NOMEM;
	size_t len = 0;
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];
		if (c == '\\') {
			if (text.len - i < 4 || text.ptr[i + 1] != 'x')
				return ERR_CORRUPT;
			int high = hex_value(text.ptr[i + 2]), low = hex_value(text.ptr[i + 3]);
			if (high < 0 || low < 0)
				return ERR_CORRUPT;
			c = (unsigned char)(high << 4 | low);
			if (is_refused(c))
				return ERR_CORRUPT;
			i += 3;
		} else if (!is_plain(c, is_token))
			return ERR_CORRUPT;
		bytes[len++] = (char)c;
	}
	if (len > cap)
		return ERR_TOOLONG;
	*out = (struct span){ bytes, len };
	return 0;
}

struct span spool_text_word(struct span *rest)
{
	size_t end = span_find(*rest, ' ', 0);
	struct span word = span_sub(*rest, 0, end);
	*rest = span_sub(*rest, end + 1, rest->len);
	return word;
}
