/* mime_facts.h - what the header of a part says about its body (RFC 2045, 2046), taken from its fields one after another.
 * Where a field comes twice mail programs take the first or the last, so both count: a multipart or a message if one of them says so, with every boundary named.
 * Owns: its boundaries, until mime_facts_free.
 */
#ifndef POSTERN_MIME_FACTS_H
#define POSTERN_MIME_FACTS_H

#include <stdbool.h>

#include "mime_decode.h"
#include "mime_emit.h"
#include "mime_param.h"

#define MIME_BOUNDARIES_MAX 4u
#define MIME_CHARSET_MAX 40u

enum mime_body { MIME_BODY_UNSAID, MIME_BODY_TEXT, MIME_BODY_OTHER, MIME_BODY_MESSAGE, MIME_BODY_MULTIPART };

struct mime_facts {
	enum mime_body body;
	bool is_digest;    /* parts are messages unless they say otherwise */
	bool has_encoding; /* was said */
	enum mime_encoding encoding;
	bool is_ambiguous; /* another encoding was said as well */
	char charset[MIME_CHARSET_MAX];
	struct span boundary[MIME_BOUNDARIES_MAX];
	size_t boundary_count;
};

/* The field if it is one of those that count; its names are shown.  *changed_out: something is known that was not.  boundary_room: bytes that boundaries may
 * still take in this message; what is taken goes off it.  ERR_NOMEM. */
int mime_facts_field(struct mime_facts *facts, struct span name, struct span value, struct mime_emit *emit, size_t *boundary_room, bool *changed_out);

/* Remember a boundary; false when it is not new, or over a bound (which is flagged). */
int mime_facts_boundary(struct mime_facts *facts, struct span boundary, struct mime_emit *emit, size_t *boundary_room, bool *added_out);

void mime_facts_free(struct mime_facts *facts, size_t *boundary_room);

#endif
