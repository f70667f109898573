/* load_average.h - is this host too busy for mail that was tried before?  What sendmail calls QueueLA.
 * The kernel's load average of the last minute, looked at every few seconds at most.
 */
#ifndef POSTERN_LOAD_AVERAGE_H
#define POSTERN_LOAD_AVERAGE_H

#include <stdbool.h>
#include <stdint.h>

struct load_average {
	bool is_high;
	uint64_t looked_ms; /* 0: never */
};

/* limit 0: never high.  Logs when it changes. */
bool load_average_is_high(struct load_average *load, uint64_t limit, uint64_t now_ms);

#endif
