#include "mime_walk.h"

#include <stdio.h>
#include <stdlib.h>

#include "charset.h"
#include "err.h"
#include "mime_lines.h"
#include "mime_tree.h"

/* Boundaries of all parts together: more than mail has, and little enough to compare each line with. */
#define BOUNDARY_BYTES_MAX 16384u

struct mime_walk {
	struct mime_shared shared;
	struct mime_lines lines;
	struct mime_tree *tree;
	int err;
};

void mime_walk_init_prepriv(void)
{
	charset_init_prepriv();
}

int mime_walk_open(enum mime_form form, mime_sink sink, void *owner, struct mime_walk **out)
{
	struct mime_walk *walk = calloc(1, sizeof *walk);
	if (!walk)
		return ERR_NOMEM;
	walk->shared.emit = (struct mime_emit){ .sink = sink, .owner = owner };
	walk->shared.boundary_room = BOUNDARY_BYTES_MAX;
	if (mime_tree_open(&walk->shared, 0, &walk->tree) != 0) {
		free(walk);
		return ERR_NOMEM;
	}
	walk->lines = (struct mime_lines){ .show = mime_tree_line, .owner = walk->tree, .is_wire = form == MIME_WIRE };
	*out = walk;
	return 0;
}

int mime_walk_push(struct mime_walk *walk, struct span bytes)
{
	if (!walk->err)
		walk->err = mime_lines_push(&walk->lines, bytes);
	return walk->err;
}

int mime_walk_finish(struct mime_walk *walk)
{
	if (!walk->err)
		walk->err = mime_lines_finish(&walk->lines);
	if (!walk->err)
		walk->err = mime_tree_finish(walk->tree);
	walk->lines.has_ended = true;
	return walk->err;
}

unsigned mime_walk_flags(const struct mime_walk *walk)
{
	return walk->shared.emit.flags;
}

void mime_walk_close(struct mime_walk **walk)
{
	if (!*walk)
		return;
	buf_free(&(*walk)->lines.head);
	mime_tree_close(&(*walk)->tree);
	free(*walk);
	*walk = NULL;
}

void mime_walk_flags_text(unsigned flags, char *out, size_t len)
{
	static const char *const names[] = { "depth", "field", "boundary", "params", "encoded", "partial", "base64", "coding", "charset" };
	size_t at = 0;
	if (len > 0)
		out[0] = '\0';
	for (size_t i = 0; i < sizeof names / sizeof names[0] && at < len; i++)
		if (flags & 1u << i)
			at += (size_t)snprintf(out + at, len - at, "%s%s", at ? "," : "", names[i]);
}
