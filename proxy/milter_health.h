/* milter_health.h - what a worker has seen of each filter lately: so that not every message waits for one that is silent, and the log does not say the
 * same of each.
 * A filter that did not take a connection, or did not answer the first packet on it, in its time is left alone for MILTER_HEALTH_PAUSE_MS: messages meanwhile
 * fail at once.  After that one message tries it again, for another pause alone.  One that refuses does so at once, and is asked each time.
 * A zeroed struct is valid.  A filter's place in the configuration with another address is another filter.
 */
#ifndef POSTERN_MILTER_HEALTH_H
#define POSTERN_MILTER_HEALTH_H

#include <stdbool.h>

#include "counters.h"
#include "milter_spec.h"

#define MILTER_HEALTH_PAUSE_MS 10000u
#define MILTER_HEALTH_LOG_MS 60000u

struct milter_state {
	uint64_t address_hash;
	bool is_down;            /* could not be spoken with, the last time */
	uint64_t pause_until_ms; /* 0: none */
	bool is_told;            /* the log says that it is in trouble */
	uint64_t log_ms;         /* when it says so again */
	uint64_t failures;       /* that it has not spoken of yet */
};

struct milter_health {
	struct milter_state filters[MILTERS_MAX];
};

/* False: not now.  True may begin another pause for all others: to be asked once for a message. */
bool milter_health_may_try(struct milter_health *health, size_t place, const struct milter_spec *spec, uint64_t now_ms);

/* A message has not been judged by it.  has_spoken: it was there, and failed later.  Says so in the log as an error, at first and then once in
 * MILTER_HEALTH_LOG_MS.  slot: NULL: not counted. */
void milter_health_failed(struct milter_health *health, size_t place, const struct milter_spec *spec, const char *stage, int err, bool has_spoken,
			  struct counter_slot *slot, uint64_t now_ms);

/* It speaks. */
void milter_health_answers(struct milter_health *health, size_t place, const struct milter_spec *spec, struct counter_slot *slot);

#endif
