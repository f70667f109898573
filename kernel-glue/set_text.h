/* set_text.h - what is in the kernel's sets as text, to be kept while the daemon or the host is down.  Pure.
 * A line each: the set, what is in it (kernel_element_parse), and when it expires, in seconds since 1970 or 0 for never.
 * The first line says what it is.
 */
#ifndef POSTERN_SET_TEXT_H
#define POSTERN_SET_TEXT_H

#include "buf.h"
#include "kernel_sets.h"

#define SET_TEXT_HEAD "# postern: kernel sets 1"
#define SET_TEXT_LINE_CAP 160

/* With its newline; terminated.  Returns its length. */
size_t set_text_line(enum kernel_set set, const struct kernel_element *element, char line[SET_TEXT_LINE_CAP]);

/* One line without its newline.  ERR_SYNTAX; ERR_NOTFOUND: a comment, or empty. */
int set_text_parse(struct span line, enum kernel_set *set_out, struct kernel_element *out);

#endif
