/* dns_batch.h - several questions at once, and one call when all are answered.
 * Calls back: answered(ctx, index, answer) for each, in the order in which answers come; index counts the questions from 0.  Then finished(ctx),
 * which may cancel the batch, ask again with it, or free what it lives in; answered must not.
 * Owns: its list of ids, until dns_batch_cancel.  A zeroed batch may be cancelled.
 */
#ifndef POSTERN_DNS_BATCH_H
#define POSTERN_DNS_BATCH_H

#include <stddef.h>

#include "dns_source.h"
#include "loop.h"

typedef void (*dns_batch_fn)(void *ctx, size_t index, const struct dns_answer *answer);

struct dns_batch {
	const struct dns_source *source;
	struct addr client;
	dns_batch_fn answered;
	loop_fn finished;
	void *ctx;
	uint64_t *ids; /* 0: answered */
	size_t count, room, open;
};

/* The batch must be fresh or cancelled.  client as in dns_source.h; copied. */
void dns_batch_start(struct dns_batch *batch, const struct dns_source *source, const struct addr *client, dns_batch_fn answered,
		     loop_fn finished, void *ctx);

/* ERR_NOMEM: this question was not asked. */
int dns_batch_ask(struct dns_batch *batch, struct span name, enum dns_type type);

void dns_batch_cancel(struct dns_batch *batch);

#endif
