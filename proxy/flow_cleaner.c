#include "flow_cleaner.h"

#include <stdlib.h>
#include <string.h>

#include "conntrack.h"
#include "log.h"

#define SMTP_PORT 25

/* For those of one time; more would be somebody who opens connections faster than they are forgotten. */
#define ROUNDS_MAX 64u

struct flow_cleaner {
	struct nfnl *nl;
	struct loop *loop;
	struct loop_timer *timer;
	struct kernel_element queue[FLOW_CLEANER_QUEUE];
	uint64_t added_ms[FLOW_CLEANER_QUEUE];
	size_t count;
	size_t ripe; /* so many of the first are walked for */
	unsigned rounds;
	unsigned forgotten; /* in these rounds */
	flow_spared_fn is_spared;
	void *ctx;
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

static void log_forgotten(const struct flow_cleaner *c)
{
	char text[KERNEL_ELEMENT_TEXT_CAP];
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "flows-forgotten");
	if (c->ripe == 1)
		kv_text(&kv, "client", kernel_element_format(&c->queue[0], text));
	else
		kv_u64(&kv, "clients", c->ripe);
	kv_u64(&kv, "count", c->forgotten);
	log_kv(LOG_LEVEL_INFO, &kv);
}

static size_t count_ripe(const struct flow_cleaner *c)
{
	uint64_t now_ms = loop_now_ms(c->loop);
	size_t ripe = 0;
	while (ripe < c->count && c->added_ms[ripe] + FLOW_CLEANER_LEAST_MS <= now_ms)
		ripe++;
	return ripe;
}

static void forget_ripe(struct flow_cleaner *c)
{
	c->count -= c->ripe;
	memmove(c->queue, c->queue + c->ripe, c->count * sizeof c->queue[0]);
	memmove(c->added_ms, c->added_ms + c->ripe, c->count * sizeof c->added_ms[0]);
	c->ripe = 0;
	c->forgotten = c->rounds = 0;
	if (c->count)
		loop_timer_start(c->timer, FLOW_CLEANER_MS);
}

static void clean(void *ctx)
{
	struct flow_cleaner *c = ctx;
	unsigned count = 0;
	/* A walk that goes on is for whom it was begun. */
	if (c->ripe == 0)
		c->ripe = count_ripe(c);
	conntrack_clients_sort(c->queue, c->ripe);
	const struct conntrack_clients clients = { c->queue, c->ripe, c->is_spared, c->ctx };
	int err = conntrack_forget_clients(c->nl, &clients, SMTP_PORT, &count);
	c->forgotten += count;
	if (err == ERR_AGAIN && ++c->rounds < ROUNDS_MAX) {
		loop_timer_start(c->timer, FLOW_CLEANER_MS);
		return;
	}
	if (c->forgotten)
		log_forgotten(c);
	if (err && !c->has_complained)
		log_event(LOG_LEVEL_WARN, "flows-kept", "connection tracking keeps the flows of clients that are cut off (%s)", err_name(err));
	c->has_complained = err != 0;
	forget_ripe(c);
}

int flow_cleaner_start(struct flow_cleaner *c, struct loop *loop, flow_spared_fn is_spared, void *ctx)
{
	c->loop = loop;
	c->is_spared = is_spared;
	c->ctx = ctx;
	return loop_timer_create(loop, clean, c, &c->timer);
}

void flow_cleaner_add(struct flow_cleaner *c, const struct kernel_element *clients)
{
	if (c->count == FLOW_CLEANER_QUEUE)
		return;
	c->queue[c->count] = *clients;
	c->added_ms[c->count] = loop_now_ms(c->loop);
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
