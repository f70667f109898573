#include "dsn_text.h"

#include <stdint.h>

#include "err.h"

#define ADDRESS_CAP (DSN_LINE_CAP - 100u) /* leaves room for the name of the field */
#define QP_LINE_CAP 76u /* with the "=" of a soft line break */

int dsn_text_clean(struct buf *out, struct span text, size_t cap)
{
	if (text.len > cap)
		text.len = cap;
	int err = buf_reserve(out, text.len);
	for (size_t i = 0; i < text.len && !err; i++)
		out->data[out->len++] = text.ptr[i] >= ' ' && text.ptr[i] <= '~' ? text.ptr[i] : '?';
	return err;
}

bool dsn_text_is_8bit(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if ((unsigned char)text.ptr[i] > 0x7f)
			return true;
	}
	return false;
}

/* The character at the start of a non-empty text; its length in bytes, 0 when it is none. */
static size_t decode(struct span text, uint32_t *out)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)text.ptr[0];
	size_t len = first < 0x80 ? 1 : first >= 0xf0 && first < 0xf8 ? 4 : first >= 0xe0 && first < 0xf0 ? 3 : first >= 0xc0 && first < 0xe0 ? 2 : 0;
	if (len == 0 || len > text.len)
		return 0;
	uint32_t c = len == 1 ? first : first & (0xffu >> (len + 1));
	for (size_t i = 1; i < len; i++) {
		unsigned char next = (unsigned char)text.ptr[i];
		if ((next & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (next & 0x3f);
	}
	/* Not the shortest form, half a pair of UTF-16, or no character at all. */
	if (c < smallest[len] || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff)
		return 0;
	*out = c;
	return len;
}

bool dsn_text_is_utf8(struct span text)
{
	bool has_other = false;
	while (text.len > 0) {
		uint32_t c;
		size_t len = decode(text, &c);
		if (len == 0 || c < ' ' || (c >= 0x7f && c < 0xa0))
			return false;
		has_other = has_other || len > 1;
		text = span_sub(text, len, text.len);
	}
	return has_other;
}

/* utf-8-addr-xtext of RFC 6533 section 3. */
static int put_encoded(struct buf *out, struct span text)
{
	int err = 0;
	while (text.len > 0 && !err) {
		uint32_t c = 0;
		size_t len = decode(text, &c);
		bool is_plain = c > ' ' && c <= '~' && c != '+' && c != '=' && c != '\\';
		err = is_plain ? buf_append(out, text.ptr, 1) : buf_printf(out, "\\x{%X}", (unsigned)c);
		text = span_sub(text, len, text.len);
	}
	return err;
}

int dsn_text_address(struct buf *out, struct span path, bool is_global)
{
	size_t start = out->len;
	int err = 0;
	if (dsn_text_is_utf8(path)) {
		err = buf_append_span(out, SPAN_LIT("utf-8;"));
		if (!err)
			err = is_global ? buf_append_span(out, path) : put_encoded(out, path);
		if (err || out->len - start <= ADDRESS_CAP)
			return err;
		/* Longer than any line may be. */
		out->len = start;
	}
	err = buf_append_span(out, SPAN_LIT("rfc822;"));
	return err ? err : dsn_text_clean(out, path, ADDRESS_CAP);
}

bool dsn_text_is_short(struct span lines)
{
	struct span line;
	while (span_cut(&lines, '\n', &line)) {
		if (line.len > DSN_LINE_CAP + 1)
			return false;
	}
	return true;
}

static int put_qp_line(struct buf *out, struct span line)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t column = 0;
	int err = 0;
	for (size_t i = 0; i < line.len && !err; i++) {
		unsigned char c = (unsigned char)line.ptr[i];
		bool is_blank = (c == ' ' || c == '\t') && i + 1 < line.len;
		bool is_plain = is_blank || (c > ' ' && c <= '~' && c != '=' && !(c == '.' && column == 0));
		size_t len = is_plain ? 1 : 3;
		if (column + len >= QP_LINE_CAP) {
			err = buf_append(out, "=\r\n", 3);
			column = 0;
			/* A dot that has come to stand first. */
			is_plain = is_plain && c != '.';
			len = is_plain ? 1 : 3;
		}
		if (!err)
			err = is_plain ? buf_append(out, &c, 1) : buf_append(out, (char[]){ '=', hex[c >> 4], hex[c & 15] }, 3);
		column += len;
	}
	return err ? err : buf_append(out, "\r\n", 2);
}

int dsn_text_quoted_printable(struct buf *out, struct span lines)
{
	struct span line;
	int err = 0;
	while (!err && lines.len > 0 && span_cut(&lines, '\n', &line)) {
		if (line.len > 0 && line.ptr[line.len - 1] == '\r')
			line.len--;
		if (line.len > 1 && line.ptr[0] == '.')
			line = span_sub(line, 1, line.len);
		err = put_qp_line(out, line);
	}
	return err;
}
