/* gate_questions.h - the gate's answers to `postern set`.
 *   set list [SET ...]         lines: set, address, expires (seconds since 1970, 0 never), expires_in (s), state active or waiting (for the kernel)
 *   set add SET ADDRESS [TIME] TIME as in postern.conf; without it for ever
 *   set del SET ADDRESS
 * SET: pass, block, tarpit, block_net, and the family follows from the address; or the name of the one set, such as pass4.  A prefix that is to be
 * blocked goes into block_net.
 */
#ifndef POSTERN_GATE_QUESTIONS_H
#define POSTERN_GATE_QUESTIONS_H

#include "gate_sets.h"

/* *fd_out: a memory file with lines, or -1. */
int gate_questions_answer(struct gate_sets *sets, struct span question, int *fd_out, struct reason *why);

#endif
