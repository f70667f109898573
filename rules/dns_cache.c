#include "dns_cache.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

struct dns_cached {
	struct dns_cached *chain;         /* in the bucket */
	struct dns_cached *newer, *older; /* in order of use */
	struct span name;
	enum dns_type type;
	uint64_t good_until_s;
	uint32_t holders; /* the cache is one of them */
	size_t bytes;
	struct dns_answer answer;
};

struct dns_cache {
	struct dns_cached **buckets;
	size_t bucket_mask;
	struct dns_cached *newest, *oldest;
	size_t count, bytes, max_entries, max_bytes;
};

int dns_cache_create(size_t max_entries, size_t max_bytes, struct dns_cache **out)
{
	struct dns_cache *cache = calloc(1, sizeof *cache);
	size_t buckets = 64;
	while (buckets < max_entries / 2)
		buckets *= 2;
	if (cache)
		cache->buckets = calloc(buckets, sizeof(struct dns_cached *));
	if (!cache || !cache->buckets) {
		free(cache);
		return ERR_NOMEM;
	}
	cache->bucket_mask = buckets - 1;
	cache->max_entries = max_entries;
	cache->max_bytes = max_bytes;
	*out = cache;
	return 0;
}

void dns_cached_release(struct dns_cached **cached)
{
	if (*cached && --(*cached)->holders == 0)
		free(*cached);
	*cached = NULL;
}

const struct dns_answer *dns_cached_answer(const struct dns_cached *cached)
{
	return &cached->answer;
}

static struct dns_cached **link_of(const struct dns_cache *cache, struct span name, enum dns_type type)
{
	struct dns_cached **link = &cache->buckets[(span_hash_nocase(name) ^ (size_t)type * 0x9e3779b9u) & cache->bucket_mask];
	while (*link && ((*link)->type != type || !span_eq_nocase((*link)->name, name)))
		link = &(*link)->chain;
	return link;
}

static void leave_order(struct dns_cache *cache, struct dns_cached *e)
{
	*(e->newer ? &e->newer->older : &cache->newest) = e->older;
	*(e->older ? &e->older->newer : &cache->oldest) = e->newer;
	e->newer = e->older = NULL;
}

static void become_newest(struct dns_cache *cache, struct dns_cached *e)
{
	e->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = e;
	cache->newest = e;
}

static void drop(struct dns_cache *cache, struct dns_cached *e)
{
	struct dns_cached **link = link_of(cache, e->name, e->type);
	*link = e->chain;
	leave_order(cache, e);
	cache->count--;
	cache->bytes -= e->bytes;
	dns_cached_release(&e);
}

struct dns_cached *dns_cache_find(struct dns_cache *cache, struct span name, enum dns_type type, uint64_t now_s)
{
	struct dns_cached *e = *link_of(cache, name, type);
	if (!e)
		return NULL;
	if (e->good_until_s <= now_s) {
		drop(cache, e);
		return NULL;
	}
	leave_order(cache, e);
	become_newest(cache, e);
	e->answer.ttl_s = (uint32_t)(e->good_until_s - now_s);
	e->holders++;
	return e;
}

/* One block: the entry, its records, its name, its texts. */
static struct dns_cached *copy(struct span name, enum dns_type type, const struct dns_answer *answer)
{
	size_t records = answer->count * sizeof(struct dns_record), bytes = sizeof(struct dns_cached) + records + name.len;
	for (uint32_t i = 0; i < answer->count; i++)
		bytes += answer->records[i].text.len;
	struct dns_cached *e = malloc(bytes);
	if (!e)
		return NULL;
	struct dns_record *to = (struct dns_record *)(e + 1);
	char *text = (char *)(to + answer->count);
	*e = (struct dns_cached){ .name = { text, name.len }, .type = type, .holders = 1, .bytes = bytes, .answer = *answer };
	if (name.len)
		memcpy(text, name.ptr, name.len);
	text += name.len;
	e->answer.records = to;
	for (uint32_t i = 0; i < answer->count; i++) {
		to[i] = answer->records[i];
		to[i].text.ptr = text;
		if (to[i].text.len)
			memcpy(text, answer->records[i].text.ptr, to[i].text.len);
		text += to[i].text.len;
	}
	return e;
}

static uint64_t clamp(uint64_t value, uint64_t max)
{
	return value < DNS_CACHE_MIN_S ? DNS_CACHE_MIN_S : value > max ? max : value;
}

static uint64_t lifetime_s(const struct dns_answer *answer)
{
	if (answer->status == DNS_FAILED)
		return DNS_CACHE_FAILURE_S;
	if (answer->status == DNS_FOUND)
		return clamp(answer->ttl_s, DNS_CACHE_MAX_S);
	return clamp(answer->ttl_s ? answer->ttl_s : DNS_CACHE_NEGATIVE_DEFAULT_S, DNS_CACHE_NEGATIVE_MAX_S);
}

struct dns_cached *dns_cache_put(struct dns_cache *cache, struct span name, enum dns_type type, const struct dns_answer *answer, uint64_t now_s)
{
	struct dns_cached *e = copy(name, type, answer);
	if (!e)
		return NULL;
	struct dns_cached *old = *link_of(cache, name, type);
	if (old)
		drop(cache, old);
	e->answer.ttl_s = (uint32_t)lifetime_s(answer);
	e->good_until_s = now_s + e->answer.ttl_s;
	*link_of(cache, e->name, type) = e;
	become_newest(cache, e);
	cache->count++;
	cache->bytes += e->bytes;
	e->holders++; /* the caller's: it survives even if it is too large to stay */
	while (cache->oldest && (cache->count > cache->max_entries || cache->bytes > cache->max_bytes))
		drop(cache, cache->oldest);
	return e;
}

void dns_cache_clear(struct dns_cache *cache)
{
	while (cache->oldest)
		drop(cache, cache->oldest);
}

void dns_cache_destroy(struct dns_cache **cache)
{
	if (!*cache)
		return;
	dns_cache_clear(*cache);
	free((*cache)->buckets);
	free(*cache);
	*cache = NULL;
}

size_t dns_cache_count(const struct dns_cache *cache)
{
	return cache->count;
}

size_t dns_cache_bytes(const struct dns_cache *cache)
{
	return cache->bytes;
}
