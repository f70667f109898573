/* tri.h - three-valued logic (Kleene): true, false, and unknown for what can't be found out.
 * A fourth value, pending, is an unknown that may still become known: its facts are not in yet.  Combining an unknown with a pending
 * gives pending, because the pending one may still decide; a false decides every `and`, a true every `or`, whatever the others are.
 */
#ifndef POSTERN_TRI_H
#define POSTERN_TRI_H

#include <stdbool.h>

enum tri { TRI_FALSE, TRI_UNKNOWN, TRI_PENDING, TRI_TRUE };

static inline enum tri tri_of(bool value)
{
	return value ? TRI_TRUE : TRI_FALSE;
}

/* The order of the enum is the order of `or`: the greater one wins. */
static inline enum tri tri_or(enum tri a, enum tri b)
{
	return a > b ? a : b;
}

static inline enum tri tri_not(enum tri a)
{
	return a == TRI_TRUE ? TRI_FALSE : a == TRI_FALSE ? TRI_TRUE : a;
}

static inline enum tri tri_and(enum tri a, enum tri b)
{
	return tri_not(tri_or(tri_not(a), tri_not(b)));
}

const char *tri_name(enum tri value);

#endif
