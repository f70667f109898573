/* dns_source.h - where DNS answers come from: the resolver, or in tests something that plays it.
 * Contract of ask: client is whom the question is for, ADDR_NONE when it is our own; it is copied.  Answers once, on a later turn of the loop, unless cancelled before; the answer is borrowed for the call.
 * An id is never used again; cancelling one that was answered already is normal and does nothing.  0: no memory, no answer will come.
 */
#ifndef POSTERN_DNS_SOURCE_H
#define POSTERN_DNS_SOURCE_H

#include <stdint.h>

#include "dns_answer.h"

typedef void (*dns_answer_fn)(void *ctx, uint64_t id, const struct dns_answer *answer);

struct dns_source {
	void *ctx;
	uint64_t (*ask)(void *ctx, const struct addr *client, struct span name, enum dns_type type, dns_answer_fn fn, void *fn_ctx);
	void (*cancel)(void *ctx, uint64_t id);
};

static inline uint64_t dns_ask(const struct dns_source *source, const struct addr *client, struct span name, enum dns_type type, dns_answer_fn fn,
			       void *fn_ctx)
{
	return source->ask(source->ctx, client, name, type, fn, fn_ctx);
}

static inline void dns_cancel(const struct dns_source *source, uint64_t id)
{
	source->cancel(source->ctx, id);
}

#endif
