/* net_rates.h - so many a second for each network and for all together, in fixed memory, however many networks there are.
 * Networks are an IPv4 /24 and an IPv6 /48.  They share buckets by a keyed hash, so nobody can choose whom to starve; who shares one gets less.
 * A bucket holds what one second brings.  Pure but for the memory.
 */
#ifndef POSTERN_NET_RATES_H
#define POSTERN_NET_RATES_H

#include <stdbool.h>
#include <stdint.h>

#include "addr.h"
#include "siphash.h"

/* One such rate by itself.  Zeroed: full. */
struct rate_bucket {
	uint64_t at_ms;
	uint64_t spent; /* thousandths */
};

/* False: there is none left of this second's, and nothing was taken. */
bool rate_bucket_take(struct rate_bucket *bucket, uint32_t per_s, uint64_t now_ms);

struct net_rates;

int net_rates_create(const struct siphash_key *key, struct net_rates **out);
void net_rates_destroy(struct net_rates **rates);

/* Takes one of both; false: one of them has none, and nothing was taken.  Rates: a second. */
bool net_rates_take(struct net_rates *rates, const struct addr *addr, uint32_t of_all, uint32_t of_net, uint64_t now_ms);

#endif
