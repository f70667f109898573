/* resolver.h - asks DNS servers, asynchronously, and remembers what they said.  The one home of c-ares.
 * Promise: no file is opened and nothing waits after resolver_create_prepriv; one query in flight for a name and type, shared by all
 * who ask; every question is answered within RESOLVER_DEADLINE_MS, at worst with DNS_FAILED.
 * Its questions leave from other ports every second or so, also while there are always some under way.
 * A late answer finds nobody, and goes into the cache.  EDNS with 1232 bytes; a truncated answer is asked for again over TCP.
 * Owns: its cache and sockets.  Calls back: see dns_source.h.  Bounds: RESOLVER_IN_FLIGHT_MAX queries, of which each client has a share
 * (dns_shares.h): what it asks beyond is answered with DNS_FAILED at once; the cache's.
 */
#ifndef POSTERN_RESOLVER_H
#define POSTERN_RESOLVER_H

#include <stdint.h>

#include "dns_source.h"
#include "err.h"
#include "loop.h"
#include "name_servers.h"

#define RESOLVER_DEADLINE_MS 20000u
#define RESOLVER_IN_FLIGHT_MAX 4096u

struct resolver;

struct resolver_stats {
	uint64_t queries;   /* sent to servers, repetitions not counted */
	uint64_t hits;      /* answered from the cache, or by a query that was under way */
	uint64_t failures;  /* queries without an answer to use */
	uint64_t refused;   /* questions of clients that had their share of queries under way already */
};

/* Before the privileges go: c-ares takes the secret of its query ids from a device file. */
int resolver_create_prepriv(struct resolver **out);

/* Once, before the first question. */
int resolver_start(struct resolver *resolver, struct loop *loop, const struct name_servers *servers);

/* Other servers from here on; what is in flight is asked again there.  The cache is emptied if they differ. */
int resolver_set_servers(struct resolver *resolver, const struct name_servers *servers);

/* Valid as long as the resolver is. */
const struct dns_source *resolver_source(const struct resolver *resolver);
const struct resolver_stats *resolver_stats(const struct resolver *resolver);

/* What the cache holds now. */
void resolver_cached(const struct resolver *resolver, size_t *entries_out, size_t *bytes_out);

/* Questions that wait are dropped without an answer. */
void resolver_destroy(struct resolver **resolver);

#endif
