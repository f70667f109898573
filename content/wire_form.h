/* wire_form.h - is a message that another process hands over in wire form (RFC 5321 section 4.5.2)?
 * What is not would be taken for several messages, or for commands, by the server that it is forwarded to.
 */
#ifndef POSTERN_WIRE_FORM_H
#define POSTERN_WIRE_FORM_H

#include <stdbool.h>
#include <stdint.h>

#include "span.h"

struct wire_form {
	bool is_broken; /* private, as the rest */
	unsigned state;
};

void wire_form_init(struct wire_form *form);

/* The message piece by piece, however it is cut. */
void wire_form_push(struct wire_form *form, struct span wire);

/* Lines end in CRLF, no CR or LF on its own, no NUL, and a line that is one dot at the end and nowhere else. */
bool wire_form_is_whole(const struct wire_form *form);

/* All of it from a file: its first len bytes, and no more are in it.  Blocks.  0, ERR_CORRUPT, or what reading says. */
int wire_form_check_file(int fd, uint64_t len);

#endif
