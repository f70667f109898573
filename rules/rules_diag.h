/* rules_diag.h - what is wrong with a rule file: every error and warning with its place.
 * Promise: all errors are counted; RULES_DIAG_MAX messages are kept, sorted by place within each file.
 * Owns: its texts, until rules_diags_free.  A zeroed struct is valid and empty.
 */
#ifndef POSTERN_RULES_DIAG_H
#define POSTERN_RULES_DIAG_H

#include <stdint.h>

#include "arena.h"
#include "span.h"

#define RULES_DIAG_MAX 200
#define RULES_DIAG_LINE_CAP 1024

enum rules_severity { RULES_WARNING, RULES_ERROR };

/* A place in a text.  Lines and columns (bytes) count from 1; line 0: the file as a whole. */
struct rules_place {
	struct span file;
	uint32_t line, column;
};

struct rules_diag {
	struct rules_diag *next;
	enum rules_severity severity;
	struct rules_place place;
	struct span text; /* terminated; no control characters */
};

struct rules_diags {
	struct arena arena;
	struct rules_diag *first;
	uint32_t errors, warnings; /* found, also those not kept */
	uint32_t kept;
};

/* diags may be NULL: then nothing is kept. */
void rules_diag_add(struct rules_diags *diags, enum rules_severity severity, const struct rules_place *place, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* "FILE:LINE:COLUMN: error: TEXT" into text, always terminated.  Returns text. */
const char *rules_diag_format(const struct rules_diag *diag, char text[RULES_DIAG_LINE_CAP]);

void rules_diags_free(struct rules_diags *diags);

#endif
