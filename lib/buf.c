#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"

#define PRINT_TRY 64u

int buf_reserve(struct buf *b, size_t len)
{
	if (len > SIZE_MAX - b->len)
		return ERR_TOOLONG;
	size_t need = b->len + len;
	if (b->cap && need > b->cap)
		return ERR_TOOLONG;
	if (need <= b->room)
		return 0;
	size_t room = b->room ? b->room : 64;
	while (room < need) {
		if (room > SIZE_MAX / 2)
			return ERR_TOOLONG;
		room *= 2;
	}
	if (b->cap && room > b->cap)
		room = b->cap;
	char *data = realloc(b->data, room);
	if (!data)
		return ERR_NOMEM;
	b->data = data;
	b->room = room;
	return 0;
}

int buf_append(struct buf *b, const void *bytes, size_t len)
{
	if (len == 0)
		return 0;
	int err = buf_reserve(b, len);
	if (err)
		return err;
	memcpy(b->data + b->len, bytes, len);
	b->len += len;
	return 0;
}

int buf_append_span(struct buf *b, struct span s)
{
	return buf_append(b, s.ptr, s.len);
}

int buf_append_spans(struct buf *b, const struct span *parts, size_t count)
{
	size_t len = 0;
	for (size_t i = 0; i < count; i++) {
		if (parts[i].len > SIZE_MAX - len)
			return ERR_TOOLONG;
		len += parts[i].len;
	}
	int err = buf_reserve(b, len);
	for (size_t i = 0; i < count && !err; i++)
		err = buf_append_span(b, parts[i]);
	return err;
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	/* Most texts are short and fit at the first try. */
	if (b->room - b->len < PRINT_TRY)
		(void)buf_reserve(b, PRINT_TRY);
	size_t room = b->room - b->len;
	va_start(ap, fmt);
	int need = vsnprintf(room ? b->data + b->len : NULL, room, fmt, ap);
	va_end(ap);
	if (need < 0)
		return ERR_INVAL;
	if ((size_t)need < room) {
		b->len += (size_t)need;
		return 0;
	}
	/* One byte more than the text, because vsnprintf terminates. */
	size_t cap = b->cap;
	if (cap)
		b->cap = cap + 1;
	int err = buf_reserve(b, (size_t)need + 1);
	b->cap = cap;
	if (err)
		return err;
	va_start(ap, fmt);
	(void)vsnprintf(b->data + b->len, (size_t)need + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)need;
	return 0;
}

void buf_consume(struct buf *b, size_t len)
{
	if (len >= b->len) {
		b->len = 0;
		return;
	}
	if (len == 0)
		return;
	memmove(b->data, b->data + len, b->len - len);
	b->len -= len;
}

void buf_clear(struct buf *b)
{
	b->len = 0;
}

void buf_free(struct buf *b)
{
	free(b->data);
	b->data = NULL;
	b->len = 0;
	b->room = 0;
}
