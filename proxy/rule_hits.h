/* rule_hits.h - how often each rule matched, counted by the workers in memory shared with the master.
 * One array of rule_count numbers a worker, each with one writer.  The memory outlives a worker that dies, and goes with its rule set.
 * The master trusts it as numbers, nothing more.
 */
#ifndef POSTERN_RULE_HITS_H
#define POSTERN_RULE_HITS_H

#include <stddef.h>
#include <stdint.h>

#include "err.h"

struct rule_hits {
	uint64_t *counts;
	size_t rule_count, worker_count;
};

/* Master: new zeroed memory.  Without rules there is none: counts stays NULL, but the descriptor is valid. */
int rule_hits_create(size_t rule_count, size_t worker_count, struct rule_hits *out, int *fd_out);

/* Worker: map what the master passed; ERR_PROTO when its size is not that of these rules. */
int rule_hits_map(int fd, size_t rule_count, size_t worker_count, struct rule_hits *out);

void rule_hits_unmap(struct rule_hits *hits); /* accepts a zeroed struct, leaves one */

static inline void rule_hits_add(struct rule_hits *hits, size_t worker, size_t rule)
{
	if (!hits->counts || worker >= hits->worker_count || rule >= hits->rule_count)
		return;
	uint64_t *count = &hits->counts[worker * hits->rule_count + rule];
	__atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
}

uint64_t rule_hits_sum(const struct rule_hits *hits, size_t rule);

#endif
