/* rules_pattern_file.h - FILE= lists: the patterns of a file, one a line, `#` comments and blank lines skipped.
 * In the file of a source list octets are a network, IPv6 needs no brackets, and a name means all below it, too (PATTERN_HOST_DOMAIN).
 * A list that several rules name in the same kind of place is built once.
 */
#ifndef POSTERN_RULES_PATTERN_FILE_H
#define POSTERN_RULES_PATTERN_FILE_H

#include "rules_pattern.h"

struct pattern_file {
	struct pattern_file *next;
	struct span path;
	enum pattern_where where;
	uint32_t entries; /* lines that hold a pattern */
	struct pattern_set set;
};

struct pattern_files {
	struct pattern_file *first;
};

/* Errors are reported with the place in the list, or with `place` when there is no such list. */
int pattern_file_find(struct pattern_builder *b, enum pattern_where where, struct span path, const struct rules_place *place,
		      const struct pattern_set **set_out);

#endif
