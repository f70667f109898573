/* filter_literal.h - what a basic regular expression demands: texts of which at least one is in everything that it matches.
 * The texts are in lower case (ASCII); compare without regard to case.  Of several things that are demanded it says the one that is
 * least likely to be found in ordinary mail.
 * Pure.  Bounds: FILTER_LITERALS_MAX texts of FILTER_LITERAL_MIN to FILTER_LITERAL_LEN_MAX bytes.
 */
#ifndef POSTERN_FILTER_LITERAL_H
#define POSTERN_FILTER_LITERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "span.h"

#define FILTER_LITERALS_MAX 16u
#define FILTER_LITERAL_MIN 2u
#define FILTER_LITERAL_LEN_MAX 24u

struct filter_literal {
	uint8_t len;
	char bytes[FILTER_LITERAL_LEN_MAX];
};

struct filter_literals {
	unsigned count;
	struct filter_literal items[FILTER_LITERALS_MAX];
};

/* How rare a byte is in mail; the sum over a text says how rare that is. */
unsigned filter_literal_rarity(char c);

/* The expression has to be one that bre_to_pcre takes.  is_utf: it is compared with regard to Unicode's cases; the texts then are in the form of
 * filter_fold, and so must be what they are looked for in.
 * False: nothing is demanded that would help. */
bool filter_literals_find(struct span expression, bool is_utf, struct filter_literals *out);

#endif
