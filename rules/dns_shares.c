#include "dns_shares.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

struct dns_share {
	struct dns_share *next; /* in the bucket */
	struct addr client;
	size_t taken;
};

/* No secret is in it: a chain has room entries at most, and only for one who has as many addresses. */
static struct dns_share **bucket_of(struct dns_shares *all, const struct addr *client)
{
	uint64_t net;
	memcpy(&net, client->bytes, sizeof net);
	uint64_t hash = (net ^ client->family) * 0x9e3779b97f4a7c15u;
	return &all->buckets[(hash >> 32) % DNS_SHARES_BUCKETS];
}

int dns_shares_take(struct dns_shares *all, const struct addr *client, struct dns_share **out)
{
	const struct addr key = addr_client(client);
	struct dns_share **bucket = bucket_of(all, &key), *share = *bucket;
	while (share && !addr_eq(&share->client, &key))
		share = share->next;
	if (all->taken >= all->room || (share ? share->taken : 0) * DNS_SHARE_PART >= all->room - all->taken)
		return ERR_BUSY;
	if (!share) {
		share = calloc(1, sizeof *share);
		if (!share)
			return ERR_NOMEM;
		share->client = key;
		share->next = *bucket;
		*bucket = share;
	}
	share->taken++;
	all->taken++;
	*out = share;
	return 0;
}

void dns_shares_give_back(struct dns_shares *all, struct dns_share **given)
{
	struct dns_share *share = *given;
	*given = NULL;
	if (!share)
		return;
	all->taken--;
	if (--share->taken)
		return;
	struct dns_share **link = bucket_of(all, &share->client);
	while (*link != share)
		link = &(*link)->next;
	*link = share->next;
	free(share);
}
