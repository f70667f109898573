/* buf.h - a growing byte buffer with a hard cap.
 * Owns: its memory, from the first append until buf_free.  A zeroed struct with a cap is a valid empty buffer and holds no memory.
 * Fails: ERR_TOOLONG over the cap, ERR_NOMEM; then nothing was appended.
 */
#ifndef POSTERN_BUF_H
#define POSTERN_BUF_H

#include <stddef.h>

#include "span.h"

struct buf {
	char *data;
	size_t len;
	size_t room; /* bytes allocated */
	size_t cap;  /* never grows past this; 0 = no cap */
};

int buf_append(struct buf *b, const void *bytes, size_t len);
int buf_append_span(struct buf *b, struct span s);

/* All of these parts, or none of them. */
int buf_append_spans(struct buf *b, const struct span *parts, size_t count);
#define BUF_JOIN(b, ...) \
	buf_append_spans((b), (const struct span[]){ __VA_ARGS__ }, sizeof((const struct span[]){ __VA_ARGS__ }) / sizeof(struct span))

/* Five to ten times as slow as joining parts. */
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Make room for len more bytes behind data+len; the caller writes there and adds to len. */
int buf_reserve(struct buf *b, size_t len);

/* Drop the first len bytes. */
void buf_consume(struct buf *b, size_t len);

/* Empty it, keep the memory. */
void buf_clear(struct buf *b);

/* Give the memory back; the buffer stays usable (empty, same cap). */
void buf_free(struct buf *b);

static inline struct span buf_span(const struct buf *b)
{
	return (struct span){ b->data, b->len };
}

#endif
