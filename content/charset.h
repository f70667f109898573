/* charset.h - any charset that mail comes in, to UTF-8, piece by piece.  The one home of ICU.
 * Why ICU: session workers can open no file, and iconv of the C library reads each charset from one.  ICU's tables are part of a library that is mapped when the
 * process starts; its data directories are switched off.
 * Promise: what comes out is valid UTF-8 always, and the same however the input was cut.
 * Unknown and missing charsets, us-ascii and utf-8: UTF-8 where it is that, other bytes as windows-1252.  A byte that has no meaning in a known charset is U+FFFD.
 * Labels mean what browsers and mail programs take them for (iso-8859-1 is windows-1252, gb2312 is gb18030).
 * Owns: a converter (some 300 bytes), open to close.  Without memory for it push and finish fail.
 */
#ifndef POSTERN_CHARSET_H
#define POSTERN_CHARSET_H

#include <stdbool.h>

#include "buf.h"
#include "span.h"

/* Private.  A zeroed one is open, for an unknown charset. */
struct charset {
	void *converter;
	bool is_ascii_based; /* 0x00 to 0x7f mean themselves wherever a character may begin */
	bool is_latin1;
	bool has_failed; /* no memory to open it */
	unsigned char tail[4]; /* the beginning of a character of UTF-8 */
	unsigned tail_len;
	unsigned high; /* the first half of a surrogate pair */
};

/* Once a process, before it loses its rights. */
void charset_init_prepriv(void);

void charset_open(struct charset *charset, struct span name);

/* Append to out, at most 3 bytes for each one that came in, and 16.  Fails: as buf does; then some of it may have been appended. */
int charset_push(struct charset *charset, struct span bytes, struct buf *out);

/* The input is over: what is left of a broken character. */
int charset_finish(struct charset *charset, struct buf *out);

void charset_close(struct charset *charset);

/* The longest part of s, at most max bytes (4 or more), that ends where a character of UTF-8 does. */
struct span charset_cut(struct span s, size_t max);

#endif
