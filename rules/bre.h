/* bre.h - POSIX basic regular expressions, token by token, as regcomp(3) and grep read them.
 * Also what GNU adds and administrators use: \| \+ \? \{,n\} \< \> \b \B \w \W \s \S.  A backslash in front of any other character
 * stands for that character.
 * What an expression means hangs on the place: `*` at its beginning, `^` behind and `$` in front of anything are characters.  PCRE2's own
 * conversion takes that `$` for the end and knows none of GNU's words; therefore this one.
 * Pure.  Bounds: one pass; groups at most BRE_DEPTH_MAX deep.
 */
#ifndef POSTERN_BRE_H
#define POSTERN_BRE_H

#include "buf.h"
#include "err.h"
#include "span.h"

#define BRE_DEPTH_MAX 50u
#define BRE_REPEAT_MAX 255u
#define BRE_NO_MAX UINT32_MAX

enum bre_kind {
	BRE_CHAR,    /* c */
	BRE_ANY,
	BRE_SET,     /* text: the brackets and what is in them */
	BRE_OPEN,
	BRE_CLOSE,
	BRE_REPEAT,  /* of what stands in front of it: min to max times */
	BRE_OR,
	BRE_BACKREF, /* c: its digit */
	BRE_BEGIN,
	BRE_END,
	BRE_GNU      /* c: one of < > b B w W s S */
};

struct bre_token {
	enum bre_kind kind;
	struct span text;
	char c;
	uint32_t min, max; /* max BRE_NO_MAX: any number */
};

struct bre {
	struct span text;
	size_t at;       /* of the next token; after an error, where it is */
	unsigned depth;
	bool is_at_begin; /* nothing in front that could be repeated */
	bool is_at_start; /* of a branch: `^` is an anchor */
	unsigned groups;  /* closed so far */
};

void bre_init(struct bre *bre, struct span text);

/* 0, ERR_EOF behind the last one, ERR_SYNTAX with a reason and its place in `at`. */
int bre_next(struct bre *bre, struct bre_token *out, struct reason *why);

/* The same in the syntax of Perl and PCRE2, for a matcher whose dot matches every byte; appended.  ERR_SYNTAX: *at_out is the place in text. */
int bre_to_pcre(struct span text, struct buf *out, size_t *at_out, struct reason *why);

#endif
