/* milter_headers.h - the header of a message as a list of fields that filters change: with the original bytes of every field they leave alone.
 * Indexes mean what they mean to sendmail: a field that a filter has deleted still counts for that filter, and not for the next one.
 * The header ends at the empty line, at the final dot, or in front of the first line that is no field (has_separator is false then, and what
 * follows is body); a first line "From ..." as mailbox files have it stays, but is not shown.
 * Owns: everything in it; a zeroed struct is a valid empty list.
 * Limits: MILTER_HEADERS_CAP bytes read, as many written by filters, in MILTER_CHANGES_CAP changes; MILTER_FIELDS_CAP fields.  Beyond,
 * ERR_TOOLONG.
 */
#ifndef POSTERN_MILTER_HEADERS_H
#define POSTERN_MILTER_HEADERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "buf.h"
#include "err.h"
#include "span.h"

#define MILTER_HEADERS_CAP (1u << 20)
#define MILTER_FIELDS_CAP 20000u
#define MILTER_CHANGES_CAP 2000u
#define MILTER_FIELD_NAME_CAP 900u

struct milter_field {
	struct span raw;   /* wire form, with its last CRLF */
	struct span name;  /* empty: not for filters */
	struct span value; /* behind the colon, without the last CRLF */
	bool is_gone;
};

struct milter_headers {
	struct arena arena;
	struct milter_field *fields;
	size_t count, room;
	size_t written_bytes; /* by filters */
	size_t changes;       /* that filters have made */
	bool has_separator;
};

/* Where the header of a message in wire form ends, and where the body begins: behind the empty line, if there is one.  ERR_AGAIN: not in
 * these bytes. */
int milter_headers_find_end(struct span wire, size_t *end_out, size_t *body_out);

/* A whole header, as found.  wire is copied. */
int milter_headers_read(struct milter_headers *headers, struct span wire, bool has_separator);

/* The next field for a filter, from *at on; moves *at behind it.  NULL: none. */
const struct milter_field *milter_headers_next(const struct milter_headers *headers, size_t *at);

/* The value as a filter is shown it: lines joined by LF, the space behind the colon left out unless has_space.  Appended to out, cap bytes at
 * the most. */
int milter_field_show(const struct milter_field *field, bool has_space, size_t cap, struct buf *out);

/* Fit to be the name of a field, RFC 5322 section 2.2. */
bool milter_field_is_name(struct span name);

/* What a filter wants.  A value's lines may end in LF or CRLF; a line that would begin a new field is made a continuation.
 * ERR_INVAL: no name of a field; ERR_TOOLONG, ERR_NOMEM.
 *   add     behind the last field
 *   insert  in front of the field with that index, from 0; behind the last where there is none
 *   change  the index-th (from 1; 0 counts as 1) field of that name; an empty value deletes it; where there is none, it is added
 */
int milter_headers_add(struct milter_headers *headers, struct span name, struct span value, bool has_space);
int milter_headers_insert(struct milter_headers *headers, uint32_t index, struct span name, struct span value, bool has_space);
int milter_headers_change(struct milter_headers *headers, uint32_t index, struct span name, struct span value, bool has_space);

/* A filter has said its last word: what it has deleted does not count for the next one, which never sees it. */
void milter_headers_forget_deleted(struct milter_headers *headers);

/* In wire form, with the empty line. */
int milter_headers_write(const struct milter_headers *headers, struct buf *out);

void milter_headers_free(struct milter_headers *headers);

#endif
