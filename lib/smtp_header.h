/* smtp_header.h - looks at the header section of a message as it passes: counts Received fields, for loop detection.
 * Fed with the wire form that smtp_data emits, cut anywhere.  Stops at the first empty line or at the final dot; pushing more is
 * free.
 * Memory: this struct, however long or folded a line is.  Borrows: the own host name, as long as the struct lives.
 */
#ifndef POSTERN_SMTP_HEADER_H
#define POSTERN_SMTP_HEADER_H

#include <stdbool.h>
#include <stddef.h>

#include "span.h"

struct smtp_header {
	bool is_done;         /* the end of the header section was seen */
	bool has_date;
	bool has_message_id;
	unsigned received_count;
	unsigned own_count;   /* Received fields with "by OWN-NAME": the whole token, without regard to case, outside comments */

	/* private */
	struct span own_host;
	unsigned state;
	unsigned field_len;   /* bytes of the field name, or of a line that is none */
	char field[12];       /* its beginning, lower-cased */
	unsigned comment_depth;
	size_t token_len;
	bool is_by, is_own;   /* the token equals "by", the own name, so far */
	bool after_by;        /* the token before this one was "by" */
	bool is_quoted, is_escaped, is_own_field;
};

/* An empty own_host is never found. */
void smtp_header_init(struct smtp_header *header, struct span own_host);
void smtp_header_push(struct smtp_header *header, struct span wire);

#endif
