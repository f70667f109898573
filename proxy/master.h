/* master.h - the root process of posternd: opens what needs rights, starts the roles and watches them.  Reads no peer byte.
 */
#ifndef POSTERN_MASTER_H
#define POSTERN_MASTER_H

#include "options.h"

/* Returns the exit status. */
int master_run(const struct options *options);

#endif
