/* sweeper.h - removes, from time to time, the bodies in large/ that no message names: every one that is aborted or too long leaves an
 * empty file there, because the worker that wrote it may remove nothing.
 * Promise: no body goes that a writer still holds or that a record, committed or about to be, names (spool_large_sweep).
 * Works in loop jobs, one at a time.  Borrows: the directories.
 */
#ifndef POSTERN_SWEEPER_H
#define POSTERN_SWEEPER_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "spool_dir.h"

struct sweeper;

/* First after every_ms: the recovery at the start has swept already. */
int sweeper_create(struct loop *loop, const struct spool_dirs *dirs, uint64_t every_ms, struct sweeper **out);

/* No job runs. */
bool sweeper_is_quiet(const struct sweeper *sweeper);
/* Only while quiet. */
void sweeper_destroy(struct sweeper **sweeper);

#endif
