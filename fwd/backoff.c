#include "backoff.h"

#include <time.h>

uint64_t backoff_delay(unsigned failures, uint64_t min, uint64_t max, uint32_t random)
{
	uint64_t delay = min;
	for (unsigned i = 1; i < failures && delay < max; i++)
		delay = delay > UINT64_MAX / 2 ? max : delay * 2;
	if (delay > max)
		delay = max;
	uint64_t eighth = delay / 8;
	delay = delay - eighth + random % (2 * eighth + 1);
	if (delay > max)
		delay = max;
	return delay < min ? min : delay;
}

uint32_t backoff_random(void)
{
	/* xorshift32 */
	static uint32_t state;
	if (state == 0) {
		struct timespec now;
		(void)clock_gettime(CLOCK_MONOTONIC, &now);
		state = (uint32_t)now.tv_nsec | 1u;
	}
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state;
}
