/* sweep.h - removes what a crash or an abort left in the spool and nothing needs.  Only for spool/; the outside uses recovery.h.
 */
#ifndef POSTERN_SWEEP_H
#define POSTERN_SWEEP_H

#include "err.h"
#include "spool_dir.h"

/* Temporary files of queue/, hold/ and bad/, acknowledgements without a segment.  Before anybody writes. */
int spool_sweep(const struct spool_dirs *dirs, struct reason *why);

#endif
