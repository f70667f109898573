/* mime_text.h - the decoded bytes of one part as lines of UTF-8, and the names of files that stand in them.
 * A part that says it is no text is text for us when its first bytes have none that no text has.  One that begins with the byte order mark of UTF-16 is that,
 * if the charset it names, or does not name, would not make sense of it.
 * Memory: one piece and what came behind it.  Fails: ERR_NOMEM.
 */
#ifndef POSTERN_MIME_TEXT_H
#define POSTERN_MIME_TEXT_H

#include "charset.h"
#include "mime_emit.h"

struct mime_text {
	struct mime_emit *emit;
	struct charset charset;
	struct buf line;     /* UTF-8 that was not shown yet */
	size_t searched;     /* of it: no LF in there */
	bool is_inside_line; /* pieces of this line were shown */
	bool is_sniffing;
	size_t sniffs; /* so many bytes */
	bool is_binary;
	struct buf sniffed;
	struct buf file; /* the name in a "begin" line, until the next line shows that it was one */
};

/* Begins a part; the memory of the one before is used again. */
void mime_text_begin(struct mime_text *text, struct mime_emit *emit, struct span charset, bool must_sniff);

int mime_text_push(struct mime_text *text, struct span bytes);

/* The part is over: shows the rest of it. */
int mime_text_end(struct mime_text *text);

void mime_text_free(struct mime_text *text);

#endif
