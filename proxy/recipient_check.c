#include "recipient_check.h"

#include <stdlib.h>

#include "err.h"

struct recipient_check {
	struct recipient_checks *checks;
	struct recipient_check *prev, *next;
	uint64_t id;
	struct loop_timer *timer;
	recipient_check_fn done; /* NULL: cancelled; posternfwd still counts it, and will answer */
	void *ctx;
};

struct recipient_checks {
	struct loop *loop;
	struct worker_spool *spool;
	struct recipient_check *list;
	unsigned count; /* that posternfwd has not answered */
	uint64_t next_id;
};

static void check_free(struct recipient_check *c)
{
	*(c->prev ? &c->prev->next : &c->checks->list) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	c->checks->count--;
	loop_timer_destroy(&c->timer);
	free(c);
}

/* Told once; what is left of it waits for posternfwd's answer, so that both sides count the same. */
static void tell(struct recipient_check *c, enum verify_result result, const char *line)
{
	recipient_check_fn done = c->done;
	c->done = NULL;
	loop_timer_stop(c->timer);
	if (done)
		done(c->ctx, result, line);
}

static void time_is_up(void *ctx)
{
	tell(ctx, VERIFY_UNKNOWN, "");
}

static void connection_lost(struct recipient_checks *checks)
{
	while (checks->list) {
		struct recipient_check *c = checks->list;
		recipient_check_fn done = c->done;
		void *done_ctx = c->ctx;
		check_free(c);
		if (done)
			done(done_ctx, VERIFY_UNKNOWN, "");
	}
}

static void answered(void *ctx, const struct verify_answer *answer)
{
	struct recipient_checks *checks = ctx;
	if (!answer) {
		connection_lost(checks);
		return;
	}
	struct recipient_check *c = checks->list;
	while (c && c->id != answer->id)
		c = c->next;
	if (!c)
		return;
	recipient_check_fn done = c->done;
	void *done_ctx = c->ctx;
	check_free(c);
	if (done)
		done(done_ctx, (enum verify_result)answer->result, answer->line);
}

int recipient_checks_create(struct loop *loop, struct worker_spool *spool, struct recipient_checks **out)
{
	struct recipient_checks *checks = calloc(1, sizeof *checks);
	if (!checks)
		return ERR_NOMEM;
	*checks = (struct recipient_checks){ .loop = loop, .spool = spool, .next_id = 1 };
	worker_spool_on_answer(spool, answered, checks);
	*out = checks;
	return 0;
}

void recipient_checks_destroy(struct recipient_checks **checks)
{
	if (!*checks)
		return;
	while ((*checks)->list)
		check_free((*checks)->list);
	free(*checks);
	*checks = NULL;
}

int recipient_check_start(struct recipient_checks *checks, const char *listener, const struct endpoint *dst, struct span path,
			  uint64_t timeout_ms, recipient_check_fn done, void *ctx, struct recipient_check **out)
{
	struct verify_ask ask;
	if (checks->count >= VERIFY_PENDING_MAX)
		return ERR_BUSY;
	int err = verify_ask_make(checks->next_id, listener, dst, path, &ask);
	if (err)
		return err;
	struct recipient_check *c = calloc(1, sizeof *c);
	if (!c)
		return ERR_NOMEM;
	err = loop_timer_create(checks->loop, time_is_up, c, &c->timer);
	if (!err)
		err = worker_spool_ask(checks->spool, &ask);
	if (err) {
		loop_timer_destroy(&c->timer);
		free(c);
		return err;
	}
	c->checks = checks;
	c->id = checks->next_id++;
	c->done = done;
	c->ctx = ctx;
	c->next = checks->list;
	if (c->next)
		c->next->prev = c;
	checks->list = c;
	checks->count++;
	loop_timer_start(c->timer, timeout_ms);
	*out = c;
	return 0;
}

void recipient_check_cancel(struct recipient_check **check)
{
	if (!*check)
		return;
	(*check)->done = NULL;
	loop_timer_stop((*check)->timer);
	*check = NULL;
}
