/* tarpit.h - the pace of replies to a client that has sunk in: each waits longer than the one before, and behind it.
 * Pure: the caller says when somebody has sunk in and holds the reply back by a timer.
 */
#ifndef POSTERN_TARPIT_H
#define POSTERN_TARPIT_H

#include <stdint.h>

struct tarpit_options {
	uint64_t delay_ms;   /* of the first reply */
	uint64_t multiplier; /* 1: all wait the same */
	uint64_t max_ms;     /* at most UINT32_MAX */
};

/* Zeroed: nobody has sunk in. */
struct tarpit {
	uint64_t until_ms; /* when the reply before this one leaves */
	uint32_t delay_ms; /* what that one waited; 0: none did */
};

/* How long from now the next reply waits.  Replies to pipelined commands wait in a row, so that who sends all at once gains nothing. */
uint64_t tarpit_hold_ms(struct tarpit *pit, const struct tarpit_options *options, uint64_t now_ms);

#endif
