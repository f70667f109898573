/* mime_param.h - the value of a Content-Type or Content-Disposition field and its parameters (RFC 2045 section 5.1), as far as they can be told apart.
 * Forgiving: comments, quotes that do not end, text behind a closing quote, a parameter without a ";" in front of the first, no value.
 * Only filename, name, boundary and charset are kept: any number of others does not hide them.
 * mime_params_join puts the sections of RFC 2231 together.
 * Linear time in the field.  Pure.  Owns: its text, from parse until mime_params_free.
 */
#ifndef POSTERN_MIME_PARAM_H
#define POSTERN_MIME_PARAM_H

#include <stdbool.h>
#include <stdint.h>

#include "buf.h"
#include "span.h"

#define MIME_PARAMS_MAX 64u

struct mime_param {
	struct span name;   /* without its "*0*" */
	struct span value;  /* without quotes and comments, backslashes in quotes resolved; up to the next ";" outside of quotes */
	struct span first;  /* the part of value that strict readers take: up to the closing quote or the first white space */
	int32_t section;    /* -1: the whole */
	bool is_extended;   /* percent-encoded, with a charset in its first section */
	bool is_joined;     /* private */
};

/* Spans point into text and the field. */
struct mime_params {
	struct span main; /* "multipart/mixed": no white space, quotes, comments */
	struct mime_param param[MIME_PARAMS_MAX];
	size_t count;
	bool is_cut; /* there were more */
	struct buf text;
};

/* field: unfolded, without its name; lives as long as the result.  ERR_NOMEM.  mime_params_free is right also after a failure. */
int mime_params_parse(struct span field, struct mime_params *out);

void mime_params_free(struct mime_params *params);

/* The next parameter that comes in sections or percent-encoded and was not joined yet: its bytes into value_out, percent signs decoded, its charset (empty: none
 * given); those of neighbours together, as a byte may be cut in two between them.  takes_last: where a section comes twice, the last one.  ERR_NOTFOUND when there is no more; fails as buf does. */
int mime_params_join(struct mime_params *params, size_t *from, bool takes_last, struct span *name_out, struct span *charset_out, struct buf *value_out);

/* Whether some section comes twice, so that taking the last makes a difference. */
bool mime_params_has_duplicates(const struct mime_params *params);

#endif
