#include "mime_decode.h"

#include "err.h"

/* 64: not of the alphabet; 65: padding. */
static const unsigned char digits[256] = {
#define NONE8 64, 64, 64, 64, 64, 64, 64, 64
#define NONE32 NONE8, NONE8, NONE8, NONE8
	NONE32, NONE8, 64, 64, 64, 62, 64, 64, 64, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 65, 64, 64,
	64, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64,
	64, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, 64, 64, 64, 64, 64,
	NONE32, NONE32, NONE32, NONE32,
#undef NONE8
#undef NONE32
};

int mime_hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = span_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void end_group(struct mime_decode *d, struct buf *out)
{
	if (d->count >= 2)
		out->data[out->len++] = (char)(d->count == 2 ? d->bits >> 4 : d->bits >> 10);
	if (d->count == 3)
		out->data[out->len++] = (char)(d->bits >> 2);
	d->count = 0;
	d->bits = 0;
}

static void pad(struct mime_decode *d, struct buf *out)
{
	bool is_end = d->count == 3 || d->is_padded;
	d->is_odd |= d->count == 1;
	d->is_padded = d->count == 2 && !is_end;
	if (is_end)
		end_group(d, out);
}

static void base64(struct mime_decode *d, struct span in, struct buf *out)
{
	const unsigned char *p = (const unsigned char *)in.ptr, *end = p + in.len;
	while (p < end) {
		if (d->count == 0 && end - p >= 4) {
			unsigned a = digits[p[0]], b = digits[p[1]], c = digits[p[2]], e = digits[p[3]];
			if ((a | b | c | e) < 64) {
				uint32_t bits = a << 18 | b << 12 | c << 6 | e;
				out->data[out->len++] = (char)(bits >> 16);
				out->data[out->len++] = (char)(bits >> 8);
				out->data[out->len++] = (char)bits;
				p += 4;
				continue;
			}
		}
		unsigned digit = digits[*p++];
		if (digit == 65)
			pad(d, out);
		if (digit >= 64)
			continue;
		d->is_odd |= d->is_padded;
		d->is_padded = false;
		d->bits = d->bits << 6 | digit;
		if (++d->count == 4) {
			out->data[out->len++] = (char)(d->bits >> 16);
			out->data[out->len++] = (char)(d->bits >> 8);
			out->data[out->len++] = (char)d->bits;
			d->count = 0;
			d->bits = 0;
		}
	}
}

/* White space behind an "=" that is held back in case the line ends there. */
#define SPACES_MAX 1000u

/* States of quoted-printable. */
enum { Q_TEXT, Q_EQUALS, Q_HEX, Q_SPACES };

static int release(struct mime_decode *d, struct buf *out)
{
	int err = buf_reserve(out, 2 + (size_t)d->spaces);
	if (err)
		return err;
	if (d->count != Q_TEXT)
		out->data[out->len++] = '=';
	if (d->count == Q_HEX)
		out->data[out->len++] = d->held;
	memset(out->data + out->len, ' ', d->spaces);
	out->len += d->spaces;
	d->spaces = 0;
	d->count = Q_TEXT;
	return 0;
}

static int quoted(struct mime_decode *d, struct span in, struct buf *out)
{
	for (size_t i = 0; i < in.len;) {
		char c = in.ptr[i];
		bool is_space = c == ' ' || c == '\t';
		if (d->count == Q_TEXT) {
			size_t end = span_find(in, '=', i);
			int err = buf_append(out, in.ptr + i, end - i);
			if (err)
				return err;
			i = end + 1;
			if (end < in.len)
				d->count = Q_EQUALS;
		} else if (d->count == Q_HEX && mime_hex(c) >= 0) {
			int err = buf_reserve(out, 1);
			if (err)
				return err;
			out->data[out->len++] = (char)(mime_hex(d->held) << 4 | mime_hex(c));
			d->count = Q_TEXT;
			i++;
		} else if (d->count == Q_EQUALS && mime_hex(c) >= 0) {
			d->held = c;
			d->count = Q_HEX;
			i++;
		} else if (d->count != Q_HEX && c == '\n') {
			d->count = Q_TEXT;
			d->spaces = 0;
			i++;
		} else if (d->count != Q_HEX && c == '\r') {
			i++; /* of a line end */
		} else if (d->count != Q_HEX && is_space && d->spaces < SPACES_MAX) {
			d->count = Q_SPACES;
			d->spaces++;
			i++;
		} else {
			int err = release(d, out);
			if (err)
				return err;
		}
	}
	return 0;
}

int mime_decode_push(struct mime_decode *d, struct span in, struct buf *out)
{
	if (in.len == 0)
		return 0;
	if (d->encoding == MIME_QUOTED)
		return quoted(d, in, out);
	if (d->encoding == MIME_IDENTITY)
		return buf_append_span(out, in);
	int err = buf_reserve(out, in.len + 4);
	if (!err)
		base64(d, in, out);
	return err;
}

int mime_decode_finish(struct mime_decode *d, struct buf *out)
{
	if (d->encoding == MIME_QUOTED)
		return release(d, out);
	int err = buf_reserve(out, 4);
	if (!err && d->encoding == MIME_BASE64)
		end_group(d, out);
	return err;
}
