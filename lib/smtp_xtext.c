#include "smtp_xtext.h"

#include "err.h"

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = span_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_plain(char c)
{
	return c > ' ' && c < 0x7f && c != '+' && c != '=';
}

/* The byte at index *at, which moves behind it; -1 when that is no xtext. */
static int next_byte(struct span xtext, size_t *at)
{
	char c = xtext.ptr[*at];
	if (is_plain(c)) {
		++*at;
		return c;
	}
	if (c != '+' || xtext.len - *at < 3)
		return -1;
	int high = hex_value(xtext.ptr[*at + 1]);
	int low = hex_value(xtext.ptr[*at + 2]);
	*at += 3;
	return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool smtp_xtext_is_valid(struct span xtext)
{
	for (size_t at = 0; at < xtext.len;)
		if (next_byte(xtext, &at) < 0)
			return false;
	return true;
}

bool smtp_xtext_is_printable(struct span xtext)
{
	for (size_t at = 0; at < xtext.len;) {
		int byte = next_byte(xtext, &at);
		if (byte < ' ' || byte > '~')
			return false;
	}
	return true;
}

int smtp_xtext_decode(struct span xtext, struct buf *out)
{
	const size_t len_before = out->len;
	int err = 0;
	for (size_t at = 0; at < xtext.len && err == 0;) {
		int value = next_byte(xtext, &at);
		char byte = (char)value;
		err = value < 0 ? ERR_SYNTAX : buf_append(out, &byte, 1);
	}
	if (err)
		out->len = len_before;
	return err;
}

int smtp_xtext_encode(struct span bytes, struct buf *out)
{
	static const char digits[] = "0123456789ABCDEF";
	const size_t len_before = out->len;
	int err = 0;
	for (size_t i = 0; i < bytes.len && err == 0; i++) {
		unsigned char c = (unsigned char)bytes.ptr[i];
		const char escaped[3] = { '+', digits[c >> 4], digits[c & 15] };
		err = is_plain(bytes.ptr[i]) ? buf_append(out, &bytes.ptr[i], 1) : buf_append(out, escaped, sizeof escaped);
	}
	if (err)
		out->len = len_before;
	return err;
}
