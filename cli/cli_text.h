/* cli_text.h - text that came from peers, harmless on a terminal.
 * Everything but printable ASCII is shown as \xNN: no escape sequence, in whatever character set, reaches the terminal.
 */
#ifndef POSTERN_CLI_TEXT_H
#define POSTERN_CLI_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "buf.h"
#include "span.h"

/* Append the harmless form.  keeps_lines: LF, TAB, and CR in front of LF stay (CR itself is left out).  Fails as buf does. */
int cli_text_append(struct buf *out, struct span text, bool keeps_lines);

void cli_text_put(FILE *to, struct span text);
void cli_text_put_lines(FILE *to, struct span text);

/* "90 s", "15 min", "3 h", "2 d": rounded down, for reading. */
#define CLI_AGE_CAP 32
const char *cli_text_age(long long seconds, char out[CLI_AGE_CAP]);

/* "s" behind a word, but for one. */
const char *cli_text_plural(size_t count);

/* "512 B", "3.4 KiB", "1.2 GiB". */
#define CLI_SIZE_CAP 32
const char *cli_text_size(unsigned long long bytes, char out[CLI_SIZE_CAP]);

#endif
