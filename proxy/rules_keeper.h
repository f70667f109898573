/* rules_keeper.h - the master's rule set: read, checked, and packed for the workers.
 */
#ifndef POSTERN_RULES_KEEPER_H
#define POSTERN_RULES_KEEPER_H

#include "conf.h"
#include "err.h"

/* Read and compile the rule file, log every error and warning, and pack the texts into a sealed memory file (the caller closes it).
 * On failure the reason counts the errors. */
int rules_keeper_load(const struct conf *conf, int *fd_out, struct reason *why);

#endif
