/* span.h - borrowed bytes with their length.
 * A span never owns and is never NUL-terminated by promise.  Whoever returns one says how long it lives.
 * Comparisons without regard to case are ASCII only, as RFC 5321 section 2.4 wants it.
 */
#ifndef POSTERN_SPAN_H
#define POSTERN_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct span {
	const char *ptr;
	size_t len;
};

#define SPAN_LIT(s) ((struct span){ (s), sizeof(s) - 1 })
#define SPAN_NONE ((struct span){ NULL, 0 })
/* For printf("%.*s"): cuts at INT_MAX, which no span of ours reaches. */
#define SPAN_FMT(s) (int)(s).len, (s).ptr ? (s).ptr : ""

static inline struct span span_of(const char *cstr)
{
	return (struct span){ cstr, cstr ? strlen(cstr) : 0 };
}

static inline struct span span_sub(struct span s, size_t from, size_t to)
{
	if (to > s.len)
		to = s.len;
	if (from > to)
		from = to;
	return (struct span){ s.ptr ? s.ptr + from : NULL, to - from };
}

static inline char span_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool span_eq(struct span a, struct span b);
bool span_eq_nocase(struct span a, struct span b);
bool span_starts_nocase(struct span s, struct span prefix);
bool span_ends_nocase(struct span s, struct span suffix);

/* Without spaces, tabs, CR and LF at both ends. */
struct span span_trim(struct span s);

/* Index of the first c at or after from, or s.len. */
size_t span_find(struct span s, char c, size_t from);

/* Index of the last c, or s.len when there is none. */
size_t span_rfind(struct span s, char c);

/* Cut the part before the first sep off *rest and return it; *rest is what follows the separator.  False when *rest was empty
 * from the start (ptr NULL); the last part is returned once, then ptr is NULL. */
bool span_cut(struct span *rest, char sep, struct span *part_out);

/* Cut the next word of a list off the front of *rest; spaces, tabs and commas separate.  Empty: there is no other. */
struct span span_next_word(struct span *rest);

/* Decimal digits only, the whole span, within [0, max].  ERR_SYNTAX or ERR_TOOLONG otherwise. */
int span_to_u64(struct span s, uint64_t max, uint64_t *out);

/* The other way: the digits of value in base 10 or 16 (lower case).  They stand in the caller's array. */
#define SPAN_DIGITS_CAP 20
struct span span_of_u64(uint64_t value, unsigned base, char digits[SPAN_DIGITS_CAP]);

/* Copy into a caller's array and terminate; ERR_TOOLONG (and nothing written) when it does not fit or holds a NUL. */
int span_to_cstr(struct span s, char *out, size_t cap);

/* FNV-1a over the lower-cased bytes: for hash tables, never for security. */
uint64_t span_hash_nocase(struct span s);

#endif
