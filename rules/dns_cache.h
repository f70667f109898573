/* dns_cache.h - answers by name and type, for as long as they are good.
 * Owns: copies of the answers.  An entry that somebody holds outlives its removal; dns_cache_release gives it back.
 * Bounds: entries and bytes; the one that was used longest ago goes first.
 * Times are seconds of any clock that does not go back.  Names are compared without regard to case.
 */
#ifndef POSTERN_DNS_CACHE_H
#define POSTERN_DNS_CACHE_H

#include <stddef.h>
#include <stdint.h>

#include "dns_answer.h"

/* Answers are kept at least and at most so long, whatever their servers say; failures always so long (RFC 2308 section 7). */
#define DNS_CACHE_MIN_S 5u
#define DNS_CACHE_MAX_S 3600u
#define DNS_CACHE_NEGATIVE_MAX_S 900u
#define DNS_CACHE_NEGATIVE_DEFAULT_S 60u
#define DNS_CACHE_FAILURE_S 5u

struct dns_cache;
struct dns_cached;

int dns_cache_create(size_t max_entries, size_t max_bytes, struct dns_cache **out);
void dns_cache_destroy(struct dns_cache **cache);

/* NULL: not there, or out of date.  A found one is held; its ttl_s is what is left of its time. */
struct dns_cached *dns_cache_find(struct dns_cache *cache, struct span name, enum dns_type type, uint64_t now_s);

/* Store a copy, replacing an older one; returns it held, or NULL without memory. */
struct dns_cached *dns_cache_put(struct dns_cache *cache, struct span name, enum dns_type type, const struct dns_answer *answer, uint64_t now_s);

const struct dns_answer *dns_cached_answer(const struct dns_cached *cached);
void dns_cached_release(struct dns_cached **cached);

void dns_cache_clear(struct dns_cache *cache);
size_t dns_cache_count(const struct dns_cache *cache);
size_t dns_cache_bytes(const struct dns_cache *cache);

#endif
