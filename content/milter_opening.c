#include "milter_opening.h"

#define AGAIN_MS 200u

static void ask(struct milter_opening *o)
{
	uint64_t now_ms = loop_now_ms(o->loop);
	int err = o->opener->open(o->opener_ctx, o->peer);
	o->is_asked = !err;
	if (err)
		milter_opening_take(o, err, -1);
	else
		/* Whoever is asked may never answer. */
		loop_timer_start(o->timer, o->until_ms > now_ms ? o->until_ms - now_ms : 0);
}

void milter_opening_take(struct milter_opening *o, int err, int fd)
{
	o->is_asked = false;
	if (err == ERR_AGAIN && loop_now_ms(o->loop) + AGAIN_MS < o->until_ms) {
		loop_timer_start(o->timer, AGAIN_MS);
		return;
	}
	loop_timer_stop(o->timer);
	o->done(o->ctx, err, fd);
}

static void time_is_up(void *ctx)
{
	struct milter_opening *o = ctx;
	if (!o->is_asked) {
		ask(o);
		return;
	}
	milter_opening_cancel(o);
	o->done(o->ctx, ERR_TIMEOUT, -1);
}

int milter_opening_init(struct milter_opening *o, struct loop *loop, const struct milter_opener *opener, void *opener_ctx, milter_opening_fn done,
			void *ctx)
{
	*o = (struct milter_opening){ .loop = loop, .opener = opener, .opener_ctx = opener_ctx, .done = done, .ctx = ctx };
	return loop_timer_create(loop, time_is_up, o, &o->timer);
}

void milter_opening_start(struct milter_opening *o, size_t peer, uint64_t limit_ms)
{
	o->peer = peer;
	o->until_ms = loop_now_ms(o->loop) + limit_ms;
	ask(o);
}

void milter_opening_cancel(struct milter_opening *o)
{
	if (o->is_asked)
		o->opener->cancel(o->opener_ctx);
	o->is_asked = false;
	loop_timer_stop(o->timer);
}

void milter_opening_free(struct milter_opening *o)
{
	if (o->timer)
		milter_opening_cancel(o);
	loop_timer_destroy(&o->timer);
}
