/* filter_fold.h - letters of UTF-8 that are equal without regard to case, made the same: of Latin-1, Greek and Cyrillic, which texts that are looked
 * for as bytes may then hold (filter_literal.h).  ASCII is left to who compares.
 * Equal is what PCRE2 takes for equal; a test asks it about every character.  Pure.
 */
#ifndef POSTERN_FILTER_FOLD_H
#define POSTERN_FILTER_FOLD_H

#include <stdbool.h>
#include <stddef.h>

#include "span.h"

/* Capital letters of two bytes become small ones, in place. */
void filter_fold(char *bytes, size_t len);

/* A character of two bytes, which is folded in place.  True: whatever equals it is this, behind filter_fold_rare and filter_fold. */
bool filter_fold_is_sure(char pair[2]);

/* Signs that equal a letter with another number of bytes, such as the Kelvin sign: how many bytes at the beginning of text are one, and the letter. */
size_t filter_fold_rare(struct span text, struct span *letter_out);

#endif
