#include "net_rates.h"

#include <stdlib.h>

#include "err.h"

#define BUCKETS 65536u

struct net_rates {
	struct siphash_key key;
	struct rate_bucket all, nets[BUCKETS];
};

int net_rates_create(const struct siphash_key *key, struct net_rates **out)
{
	struct net_rates *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->key = *key;
	*out = r;
	return 0;
}

void net_rates_destroy(struct net_rates **rates)
{
	free(*rates);
	*rates = NULL;
}

/* Each millisecond gives a thousandth of the rate back. */
static bool has_one(struct rate_bucket *b, uint32_t rate, uint64_t now_ms)
{
	uint64_t passed = now_ms > b->at_ms ? now_ms - b->at_ms : 0;
	uint64_t back = passed > 1000 ? 1000ull * rate : passed * rate;
	b->spent = b->spent > back ? b->spent - back : 0;
	b->at_ms = now_ms;
	return b->spent + 1000 <= 1000ull * rate;
}

bool rate_bucket_take(struct rate_bucket *bucket, uint32_t per_s, uint64_t now_ms)
{
	if (!has_one(bucket, per_s, now_ms))
		return false;
	bucket->spent += 1000;
	return true;
}

bool net_rates_take(struct net_rates *rates, const struct addr *addr, uint32_t of_all, uint32_t of_net, uint64_t now_ms)
{
	const size_t prefix = addr->family == ADDR_V6 ? 6 : 3;
	struct rate_bucket *net = &rates->nets[siphash(&rates->key, addr->bytes, prefix) % BUCKETS];
	if (!has_one(&rates->all, of_all, now_ms) || !has_one(net, of_net, now_ms))
		return false;
	rates->all.spent += 1000;
	net->spent += 1000;
	return true;
}
