/* mime_name.h - the names that mail programs would read from a Content-Type or Content-Disposition field.
 * They disagree where a field is broken, so two readers look at it: the careful one of mime_param.h (quotes, comments, sections, charsets) and a simple one that takes
 * what follows any `name=`, up to the next quote, or the next ";" or white space.  What both find is shown.
 * Linear time.  Fails: ERR_NOMEM.
 */
#ifndef POSTERN_MIME_NAME_H
#define POSTERN_MIME_NAME_H

#include "mime_emit.h"
#include "mime_param.h"

/* field: unfolded, without its name; params: made of it. */
int mime_names_show(struct span field, struct mime_params *params, struct mime_emit *emit);

/* A file that stands in a text: "begin 644 name", "begin-base64 644 name" (uuencode), "=ybegin ... name=name" (yEnc).  Its name as the line has it, false for
 * another line. */
bool mime_name_of_line(struct span line, struct span *name_out);

/* Whether a line may be the first of a uuencoded file, so that a "begin" above it was meant so. */
bool mime_name_is_data(struct span line);

#endif
