#include "kv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "err.h"

void kv_init(struct kv *kv)
{
	kv->len = 0;
	kv->text[0] = '\0';
}

/* Bytes that need no quotes: what addresses, host names, numbers and SMTP paths are made of. */
static bool is_plain(unsigned char c)
{
	return c > 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '=';
}

static bool put(struct kv *kv, const char *bytes, size_t len)
{
	if (len >= sizeof kv->text - kv->len)
		return false;
	memcpy(kv->text + kv->len, bytes, len);
	kv->len += len;
	kv->text[kv->len] = '\0';
	return true;
}

static bool put_quoted(struct kv *kv, struct span value)
{
	bool fits = put(kv, "\"", 1);
	for (size_t i = 0; fits && i < value.len; i++) {
		unsigned char c = (unsigned char)value.ptr[i];
		char hex[5] = { '\\', (char)c };
		if (c == '"' || c == '\\') {
			fits = put(kv, hex, 2);
		} else if (c >= 0x20 && c < 0x7f) {
			fits = put(kv, hex + 1, 1);
		} else {
			(void)snprintf(hex, sizeof hex, "\\x%02x", c);
			fits = put(kv, hex, 4);
		}
	}
	return fits && put(kv, "\"", 1);
}

void kv_span(struct kv *kv, const char *key, struct span value)
{
	char cut[KV_VALUE_CAP + 3];
	if (value.len > KV_VALUE_CAP) {
		memcpy(cut, value.ptr, KV_VALUE_CAP);
		memcpy(cut + KV_VALUE_CAP, "...", 3);
		value = (struct span){ cut, sizeof cut };
	}
	bool plain = value.len > 0;
	for (size_t i = 0; plain && i < value.len; i++)
		plain = is_plain((unsigned char)value.ptr[i]);
	size_t before = kv->len;
	bool fits = (kv->len == 0 || put(kv, " ", 1)) && put(kv, key, strlen(key)) && put(kv, "=", 1) &&
		    (plain ? put(kv, value.ptr, value.len) : put_quoted(kv, value));
	if (!fits) {
		kv->len = before;
		kv->text[before] = '\0';
	}
}

void kv_text(struct kv *kv, const char *key, const char *value)
{
	kv_span(kv, key, span_of(value));
}

void kv_printf(struct kv *kv, const char *key, const char *fmt, ...)
{
	char text[KV_VALUE_CAP + 1];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	kv_text(kv, key, text);
}

/* Every line of a session has several numbers: printf takes longer for one than all the rest of the line. */
void kv_u64(struct kv *kv, const char *key, uint64_t value)
{
	char digits[SPAN_DIGITS_CAP];
	kv_span(kv, key, span_of_u64(value, 10, digits));
}

void kv_hex(struct kv *kv, const char *key, uint64_t value)
{
	char digits[SPAN_DIGITS_CAP];
	kv_span(kv, key, span_of_u64(value, 16, digits));
}

void kv_i64(struct kv *kv, const char *key, int64_t value)
{
	kv_printf(kv, key, "%" PRId64, value);
}

void kv_addr(struct kv *kv, const char *key, const struct addr *value)
{
	char text[ADDR_TEXT_CAP];
	kv_text(kv, key, addr_format(value, text));
}

void kv_endpoint(struct kv *kv, const char *key, const struct endpoint *value)
{
	char text[ENDPOINT_TEXT_CAP];
	kv_text(kv, key, endpoint_format(value, text));
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = span_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads a quoted value whose opening quote is at line.ptr[0]; returns the index behind the closing quote, or an error. */
static int read_quoted(struct span line, struct kv_pair *out, size_t *behind_out)
{
	size_t i = 1;
	while (i < line.len && line.ptr[i] != '"') {
		char c = line.ptr[i++];
		if (c == '\\') {
			if (i >= line.len)
				return ERR_SYNTAX;
			c = line.ptr[i++];
			if (c == 'x') {
				int high = i < line.len ? hex_digit(line.ptr[i]) : -1;
				int low = i + 1 < line.len ? hex_digit(line.ptr[i + 1]) : -1;
				if (high < 0 || low < 0)
					return ERR_SYNTAX;
				c = (char)(high * 16 + low);
				i += 2;
			} else if (c != '"' && c != '\\') {
				return ERR_SYNTAX;
			}
		}
		if (out->value_len + 1 >= sizeof out->value)
			return ERR_TOOLONG;
		out->value[out->value_len++] = c;
	}
	if (i >= line.len)
		return ERR_SYNTAX;
	*behind_out = i + 1;
	return 0;
}

int kv_next(struct span *rest, struct kv_pair *out)
{
	struct span line = span_trim(*rest);
	if (line.len == 0)
		return ERR_EOF;
	size_t equals = span_find(line, '=', 0);
	if (equals == 0 || equals == line.len || span_find(line, ' ', 0) < equals)
		return ERR_SYNTAX;
	out->key = span_sub(line, 0, equals);
	out->value_len = 0;
	line = span_sub(line, equals + 1, line.len);
	size_t behind = span_find(line, ' ', 0);
	if (line.len && line.ptr[0] == '"') {
		int err = read_quoted(line, out, &behind);
		if (err)
			return err;
		if (behind < line.len && line.ptr[behind] != ' ')
			return ERR_SYNTAX;
	} else {
		if (behind >= sizeof out->value)
			return ERR_TOOLONG;
		memcpy(out->value, line.ptr, behind);
		out->value_len = behind;
	}
	out->value[out->value_len] = '\0';
	*rest = span_sub(line, behind, line.len);
	return 0;
}
