/* mime_tree.h - the parts of one stream of lines: the part we are in, and the multiparts and messages around it (RFC 2046).
 * What is a boundary: a line "--" and a boundary of any multipart around us, the innermost first, with nothing but white space or the final "--" behind it; if there
 * is none, a line that only begins so (RFC 2046 section 5.1.1 allows it), the longest boundary first.  A multipart that was closed may be opened again: some programs
 * read on.  One that names no boundary has the first line that looks like one.
 * A line in a header that is no field ends the header, and fields up to the next empty line count all the same: some programs pass over the line.
 * A message or multipart that is encoded itself, which RFC 2046 forbids, is decoded into a tree of its own, and read as it is too.
 * Owns: its parts and the trees in them.  Fails: ERR_NOMEM.
 */
#ifndef POSTERN_MIME_TREE_H
#define POSTERN_MIME_TREE_H

#include "mime_emit.h"

struct mime_tree;

/* What all trees of a message share.  Lives longer than they do. */
struct mime_shared {
	struct mime_emit emit;
	uint32_t parts;        /* begun so far */
	unsigned trees;        /* now */
	size_t boundary_room;  /* bytes left for boundaries */
};

/* depth: how many parts are around it. */
int mime_tree_open(struct mime_shared *shared, unsigned depth, struct mime_tree **out);

/* A piece of a line, as mime_lines.h gives it (mime_line_fn; the tree is the owner). */
int mime_tree_line(void *tree, struct span piece, bool is_first, bool is_end);

/* The stream is over: all parts end. */
int mime_tree_finish(struct mime_tree *tree);

/* Accepts NULL, clears the pointer. */
void mime_tree_close(struct mime_tree **tree);

#endif
