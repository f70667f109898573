/* rules_lex.h - cuts the text of a rule file: physical lines into logical ones, these into fields, a field into words.
 * Pure: span in, spans out; memory only for lines that were joined with a backslash.
 * Limits: a logical line has at most RULES_LINE_MAX bytes; a longer one is passed over and reported as one error.
 */
#ifndef POSTERN_RULES_LEX_H
#define POSTERN_RULES_LEX_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "rules_diag.h"
#include "span.h"

#define RULES_LINE_MAX 65536u
#define RULES_FIELDS_MAX 6u

struct rules_lex {
	struct span file;      /* its name, for places */
	struct span rest;
	uint32_t line;         /* physical lines read so far */
	struct arena *arena;   /* for joined lines */
	struct rules_diags *diags;
};

/* Where a piece of a joined line came from. */
struct lex_piece {
	uint32_t offset; /* in the logical line */
	uint32_t line;
};

struct lex_line {
	struct span file;
	struct span text;               /* no line end, no joining backslashes */
	uint32_t line;                  /* of its first byte */
	const struct lex_piece *pieces; /* joined lines only */
	uint32_t piece_count;
};

/* The next logical line, comments and blank ones too.  0, ERR_EOF, ERR_NOMEM. */
int rules_lex_next(struct rules_lex *lex, struct lex_line *out);

/* The place of the byte at ptr, which must lie in the line's text. */
struct rules_place lex_place(const struct lex_line *line, const char *ptr);

/* Cuts at each `:` that is not inside [...]; spaces around the fields are trimmed.  The last field holds the rest of the line when
 * there are more than RULES_FIELDS_MAX.  Returns the number of fields. */
uint32_t lex_fields(struct span line, struct span fields[RULES_FIELDS_MAX]);

/* The next word of a list (separated by spaces, tabs, commas), moving *rest behind it.  A /regex/ at its beginning, or behind an `@`
 * or `=`, may hold separators; `\/` is a slash in it.  False at the end. */
bool lex_word(struct span *rest, struct span *word_out);

/* Where the regex that begins with the slash at s.ptr[at] ends: the index of its last slash, or s.len when it never ends. */
size_t lex_regex_end(struct span s, size_t at);

#endif
