/* backoff.h - how long to wait before the next try: doubling from min to max, with jitter so that what failed together does not
 * come back together.
 * Pure.
 */
#ifndef POSTERN_BACKOFF_H
#define POSTERN_BACKOFF_H

#include <stdint.h>

/* failures: how often it has failed so far, 1 and up (0 counts as 1).  Same unit in and out.  The result lies within one eighth of
 * the doubled value, never below min and never above max.  random: any number. */
uint64_t backoff_delay(unsigned failures, uint64_t min, uint64_t max, uint32_t random);

/* A number for the above: cheap, not for secrets. */
uint32_t backoff_random(void);

#endif
