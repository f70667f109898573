/* rules_source.h - the texts that a rule set is made of: the rule file and every FILE= list and access table that it names.
 * The privileged master reads them (rules_source_read), passes them on as one sealed memory file (rules_source_to_fd), and an
 * unprivileged worker that may open nothing maps it (rules_source_from_fd) and compiles it there: same bytes, same rule set.
 * Owns: the texts or the mapping.  Counted: hold and release; the last release gives the memory back.
 * Limits: regular files only; RULES_SOURCE_FILE_MAX bytes the rule file, RULES_SOURCE_LIST_MAX each list, RULES_SOURCE_TOTAL_MAX all,
 * RULES_SOURCE_FILES_MAX files.
 * Fails: a rule file that can't be read fails the call; a named list that can't be read is kept with its reason, which rules_compile
 * reports at each place that names it.  rules_source_from_fd trusts no byte of what it is given: ERR_PROTO.
 */
#ifndef POSTERN_RULES_SOURCE_H
#define POSTERN_RULES_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "rules_diag.h"
#include "span.h"

#define RULES_SOURCE_FILE_MAX (64u << 20)
#define RULES_SOURCE_LIST_MAX (256u << 20)
#define RULES_SOURCE_TOTAL_MAX (1u << 30)
#define RULES_SOURCE_FILES_MAX 1024u

struct rules_source;

struct rules_source_file {
	struct span path;    /* as the rule file names it */
	struct span text;
	struct span failure; /* not empty: it could not be read, and why */
};

/* Blocks on the disk: for the master and the tools only.  A relative FILE= path is taken from the rule file's folder. */
int rules_source_read(const char *path, struct rules_source **out, struct reason *why);

/* One file of at most max_bytes as it is, of whatever language: nothing that it names is read.  The reason names the file. */
int rules_source_read_one(const char *path, size_t max_bytes, struct rules_source **out, struct reason *why);

/* From memory: the rule file's name and text (copied), then the lists it names.  For tests and tools. */
int rules_source_from_text(struct span name, struct span text, struct rules_source **out);
int rules_source_add(struct rules_source *source, struct span path, struct span text);

/* A new memory file, close-on-exec, sealed against change; the caller closes it. */
int rules_source_to_fd(const struct rules_source *source, int *fd_out, struct reason *why);

/* Do two of them hold the same texts under the same names? */
bool rules_source_is_same(int fd, int other_fd);

/* Maps it; the descriptor stays the caller's and may be closed afterwards. */
int rules_source_from_fd(int fd, struct rules_source **out, struct reason *why);

/* Index 0 is the rule file. */
uint32_t rules_source_count(const struct rules_source *source);
const struct rules_source_file *rules_source_get(const struct rules_source *source, uint32_t index);

/* A named list; NULL when the source has none of that path. */
const struct rules_source_file *rules_source_find(const struct rules_source *source, struct span path);

struct rules_source *rules_source_hold(struct rules_source *source);
void rules_source_release(struct rules_source **source); /* accepts a NULL inside, clears it */

#endif
