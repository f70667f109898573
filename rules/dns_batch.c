#include "dns_batch.h"

#include <stdlib.h>

#include "err.h"

void dns_batch_start(struct dns_batch *batch, const struct dns_source *source, const struct addr *client, dns_batch_fn answered,
		     loop_fn finished, void *ctx)
{
	*batch = (struct dns_batch){ .source = source, .client = *client, .answered = answered, .finished = finished, .ctx = ctx };
}

static void one_answered(void *ctx, uint64_t id, const struct dns_answer *answer)
{
	struct dns_batch *batch = ctx;
	size_t index = 0;
	while (index < batch->count && batch->ids[index] != id)
		index++;
	if (index == batch->count)
		return;
	batch->ids[index] = 0;
	batch->open--;
	batch->answered(batch->ctx, index, answer);
	if (batch->open == 0)
		batch->finished(batch->ctx);
}

int dns_batch_ask(struct dns_batch *batch, struct span name, enum dns_type type)
{
	if (batch->count == batch->room) {
		size_t room = batch->room ? batch->room * 2 : 4;
		uint64_t *ids = realloc(batch->ids, room * sizeof *ids);
		if (!ids)
			return ERR_NOMEM;
		batch->ids = ids;
		batch->room = room;
	}
	uint64_t id = dns_ask(batch->source, &batch->client, name, type, one_answered, batch);
	if (id == 0)
		return ERR_NOMEM;
	batch->ids[batch->count++] = id;
	batch->open++;
	return 0;
}

void dns_batch_cancel(struct dns_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++)
		if (batch->ids[i])
			dns_cancel(batch->source, batch->ids[i]);
	free(batch->ids);
	*batch = (struct dns_batch){ 0 };
}
