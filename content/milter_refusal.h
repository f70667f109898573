/* milter_refusal.h - what a filter's refusal is to the client: an SMTP reply, checked and made harmless.
 * Pure.  Whatever the filter wrote, the text is printable ASCII in lines, the code from 400 to 599.  Holds no pointers.
 */
#ifndef POSTERN_MILTER_REFUSAL_H
#define POSTERN_MILTER_REFUSAL_H

#include <stdbool.h>

#include "err.h"
#include "smtp_reply_text.h"
#include "span.h"

#define MILTER_REFUSAL_TEXT_CAP 512u

struct milter_refusal {
	unsigned code;
	char enhanced[12];                  /* "": none */
	char text[MILTER_REFUSAL_TEXT_CAP]; /* a newline parts its lines; cut where a filter says more */
};

/* A filter's own words, "550 5.7.1 text" or several such lines, as in MILTER_REPLY_CODE.  ERR_PROTO: it does not begin with a code from 400 to 599.  Who
 * begins so refuses, however the rest looks, as with sendmail: all lines get the first one's code, an enhanced status of another class is left out. */
int milter_refusal_read(struct span text, struct milter_refusal *out);

/* Ours, for a filter that gives none. */
void milter_refusal_set(struct milter_refusal *out, const struct smtp_reply_text *reply);

/* "550 5.7.1 text": its first line, cut to what a line of SMTP holds.  Returns line. */
#define MILTER_REFUSAL_LINE_CAP 511u
const char *milter_refusal_line(const struct milter_refusal *refusal, char line[MILTER_REFUSAL_LINE_CAP]);

#endif
