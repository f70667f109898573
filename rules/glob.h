/* glob.h - wildcard comparison: `*` stands for any run of bytes, everything else for itself, without regard to case.
 * Bounds: at most length of pattern times length of text steps, no recursion.
 */
#ifndef POSTERN_GLOB_H
#define POSTERN_GLOB_H

#include <stdbool.h>

#include "span.h"

bool glob_match(struct span pattern, struct span text);

#endif
