#include "flow_cleaner.h"

#include <stdlib.h>

#include "conntrack.h"
#include "log.h"

#define SMTP_PORT 25

struct flow_cleaner {
	struct nfnl *nl;
	struct loop_timer *timer;
	struct addr queue[FLOW_CLEANER_QUEUE];
	size_t head, count;
	bool has_complained;
};

int flow_cleaner_create_prepriv(struct flow_cleaner **out, struct reason *why)
{
	struct flow_cleaner *c = calloc(1, sizeof *c);
	int err = c ? nfnl_open(&c->nl, why) : reason_set(why, ERR_NOMEM, "no memory");
	if (err)
		free(c);
	else
		*out = c;
	return err;
}

static void clean_one(void *ctx)
{
	struct flow_cleaner *c = ctx;
	const struct addr client = c->queue[c->head];
	unsigned count = 0;
	c->head = (c->head + 1) % FLOW_CLEANER_QUEUE;
	if (--c->count)
		loop_timer_start(c->timer, FLOW_CLEANER_MS);
	int err = conntrack_forget_client(c->nl, &client, SMTP_PORT, &count);
	if (!err && count) {
		struct kv kv;
		kv_init(&kv);
		kv_text(&kv, "ev", "flows-forgotten");
		kv_addr(&kv, "client", &client);
		kv_u64(&kv, "count", count);
		log_kv(LOG_LEVEL_INFO, &kv);
	}
	if (err && !c->has_complained)
		log_event(LOG_LEVEL_WARN, "flows-kept", "connection tracking keeps the flows of clients that are cut off (%s)", err_name(err));
	c->has_complained = err != 0;
}

int flow_cleaner_start(struct flow_cleaner *c, struct loop *loop)
{
	return loop_timer_create(loop, clean_one, c, &c->timer);
}

void flow_cleaner_add(struct flow_cleaner *c, const struct addr *client)
{
	if (c->count == FLOW_CLEANER_QUEUE)
		return;
	c->queue[(c->head + c->count) % FLOW_CLEANER_QUEUE] = *client;
	/* The packets must find themselves dropped first: the entry would come back. */
	if (c->count++ == 0)
		loop_timer_start(c->timer, FLOW_CLEANER_MS);
}

void flow_cleaner_destroy(struct flow_cleaner **cleaner)
{
	struct flow_cleaner *c = *cleaner;
	if (!c)
		return;
	loop_timer_destroy(&c->timer);
	nfnl_close(&c->nl);
	free(c);
	*cleaner = NULL;
}
