#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "log.h"
#include "scheduler_parts.h"
#include "settle.h"

#define ROOM_MIN 64u
#define WINDOW_FIRST 4u
#define DEFER_BUDGET 16u /* messages a turn of the loop */
#define KICK_BUDGET 64u
#define PROBE_MIN_MS 1000u

/* ---- the table */

static size_t slot_of(const char *key, size_t room)
{
	return (size_t)span_hash_nocase(span_of(key)) & (room - 1);
}

static int grow(struct scheduler *s)
{
	size_t room = s->room ? s->room * 2 : ROOM_MIN;
	struct destination **slots = calloc(room, sizeof *slots);
	if (!slots)
		return ERR_NOMEM;
	for (size_t i = 0; i < s->room; i++) {
		for (struct destination *d = s->slots[i], *next; d; d = next) {
			next = d->hash_next;
			d->hash_next = slots[slot_of(d->key, room)];
			slots[slot_of(d->key, room)] = d;
		}
	}
	free(s->slots);
	s->slots = slots;
	s->room = room;
	return 0;
}

static void kick(void *ctx);
static void defer_some(void *ctx);

int destination_get(struct scheduler *s, const struct route *route, struct destination **out)
{
	char key[ROUTE_KEY_CAP];
	route_key(route, key);
	struct destination *d = s->room ? s->slots[slot_of(key, s->room)] : NULL;
	while (d && strcmp(d->key, key) != 0)
		d = d->hash_next;
	if (!d) {
		if (s->destination_count >= s->room && grow(s) != 0)
			return ERR_NOMEM;
		d = calloc(1, sizeof *d);
		if (!d)
			return ERR_NOMEM;
		d->key = strdup(key);
		if (!d->key) {
			free(d);
			return ERR_NOMEM;
		}
		d->scheduler = s;
		d->route = *route;
		d->window = WINDOW_FIRST;
		d->kick_task = (struct loop_task){ .fn = kick, .ctx = d };
		d->defer_task = (struct loop_task){ .fn = defer_some, .ctx = d };
		size_t slot = slot_of(key, s->room);
		d->hash_next = s->slots[slot];
		s->slots[slot] = d;
		s->destination_count++;
	}
	*out = d;
	return 0;
}

void destination_free(struct destination *d)
{
	struct scheduler *s = d->scheduler;
	struct destination **link = &s->slots[slot_of(d->key, s->room)];
	while (*link != d)
		link = &(*link)->hash_next;
	*link = d->hash_next;
	s->destination_count--;
	loop_task_cancel(&d->kick_task);
	loop_task_cancel(&d->defer_task);
	loop_timer_destroy(&d->retry_timer);
	free(d->key);
	free(d);
}

/* ---- the line */

void destination_append(struct destination *d, struct fwd_message *m, bool in_front)
{
	m->state = FWD_READY;
	m->prev = in_front ? NULL : d->tail;
	m->next = in_front ? d->head : NULL;
	*(m->prev ? &m->prev->next : &d->head) = m;
	*(m->next ? &m->next->prev : &d->tail) = m;
	d->ready++;
	d->scheduler->figures_ready++;
	destination_kick(d);
}

void destination_take(struct destination *d, struct fwd_message *m)
{
	*(m->prev ? &m->prev->next : &d->head) = m->next;
	*(m->next ? &m->next->prev : &d->tail) = m->prev;
	m->prev = m->next = NULL;
	d->ready--;
	d->scheduler->figures_ready--;
}

/* ---- starting */

static bool may_open(const struct destination *d)
{
	const struct scheduler *s = d->scheduler;
	const struct conf *conf = &s->f->in.conf;
	if (d->route.spec.kind == FORWARD_SENDMAIL && d->failures == 0)
		return s->child_count < conf->sendmail_children;
	unsigned limit = d->window < conf->destination_connections ? d->window : (unsigned)conf->destination_connections;
	/* Down: one probe at a time, when its time has come. */
	if (d->failures > 0)
		limit = loop_now_ms(s->f->loop) >= d->retry_at_ms ? 1 : 0;
	return d->connections < limit && d->dialing < d->ready;
}

static void starve(struct destination *d)
{
	struct scheduler *s = d->scheduler;
	if (d->is_starved)
		return;
	d->is_starved = true;
	d->starved_next = NULL;
	*s->starved_tail = d;
	s->starved_tail = &d->starved_next;
}

static void kick(void *ctx)
{
	struct destination *d = ctx;
	struct scheduler *s = d->scheduler;
	for (unsigned budget = KICK_BUDGET; d->head && !s->is_stopping; budget--) {
		if (budget == 0) {
			destination_kick(d);
			return;
		}
		if (d->idle) {
			connection_give(d->idle);
			continue;
		}
		bool is_program = d->route.spec.kind == FORWARD_SENDMAIL;
		bool is_full =
			is_program ? s->child_count >= s->f->in.conf.sendmail_children : s->connection_count >= s->connection_max;
		if (is_full) {
			starve(d);
			break;
		}
		if (!may_open(d) || connection_open(d) != 0)
			break;
	}
	if (d->remembered == 0 && d->connections == 0 && !d->is_starved)
		destination_free(d);
}

void destination_kick(struct destination *d)
{
	loop_task_post(d->scheduler->f->loop, &d->kick_task);
}

/* ---- up and down */

void destination_works(struct destination *d)
{
	d->has_worked = true;
	if (d->failures > 0) {
		log_event(LOG_LEVEL_INFO, "destination-up", "%s answers again", d->key);
		loop_timer_stop(d->retry_timer);
		d->failures = 0;
		d->is_held = false;
		d->window = 1;
	}
	destination_kick(d);
}

/* A short outage costs no file: messages stay in the journal until they have been in line for retry-min.  The one that the failed
 * connection was opened for goes at once, so that its status shows what is wrong. */
static void defer_some(void *ctx)
{
	struct destination *d = ctx;
	struct scheduler *s = d->scheduler;
	int64_t limit = loop_wall_time() - (int64_t)s->f->in.conf.retry_min_s;
	for (unsigned budget = DEFER_BUDGET; d->head && d->failures > 0; budget--) {
		struct fwd_message *m = d->head;
		struct attempt *a;
		if (!d->defers_first && m->next_time > limit)
			return;
		if (budget == 0) {
			loop_task_post(s->f->loop, &d->defer_task);
			return;
		}
		d->defers_first = false;
		destination_take(d, m);
		int err = attempt_load(&s->f->in.dirs, m, &a);
		if (err && err != ERR_EOF) {
			scheduler_load_failed(s, m, err);
			continue;
		}
		attempt_settle_rest(a, SPOOL_OUTCOME_DEFERRED, 0, span_of(d->error));
		settle_attempt(s->f->settle, &a);
	}
}

static void probe(void *ctx)
{
	struct destination *d = ctx;
	destination_kick(d);
}

/* Down until the next probe, the pause of which it returns.  0: down already; connections that were opened together fail together,
 * and that is one failure. */
static uint64_t go_down(struct destination *d, const char *why)
{
	struct scheduler *s = d->scheduler;
	if (d->failures > 0 && loop_now_ms(s->f->loop) < d->retry_at_ms)
		return 0;
	d->failures++;
	d->window = 1;
	(void)snprintf(d->error, sizeof d->error, "%s", why);
	uint64_t wait_ms = backoff_delay(d->failures, PROBE_MIN_MS, s->f->in.conf.retry_max_s * 1000, backoff_random());
	d->retry_at_ms = loop_now_ms(s->f->loop) + wait_ms;
	/* Without a timer the next message kicks it. */
	if (d->retry_timer || loop_timer_create(s->f->loop, probe, d, &d->retry_timer) == 0)
		loop_timer_start(d->retry_timer, wait_ms);
	return wait_ms;
}

void destination_failed(struct destination *d, const char *why)
{
	uint64_t wait_ms = go_down(d, why);
	if (!wait_ms)
		return;
	log_event(d->failures == 1 ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, "destination-down",
		  "%s: %s; %zu wait in line, next try in %u s", d->key, why, d->ready, (unsigned)(wait_ms / 1000));
	d->defers_first = true;
	loop_task_post(d->scheduler->f->loop, &d->defer_task);
}

/* The one that was tried has gone to the end of the line; the others stay in it, untried, until it works. */
void destination_hold(struct destination *d, const char *why)
{
	uint64_t wait_ms = go_down(d, why);
	if (!wait_ms)
		return;
	d->is_held = true;
	log_event(LOG_LEVEL_ERR, "queue-held", "%s; its mail is held and nobody gets a report: mend it and reload; %zu wait in line, next try in %u s",
		  why, d->ready, (unsigned)(wait_ms / 1000));
}

const char *destination_key(const struct destination *d)
{
	return d->key;
}

const char *destination_error(const struct destination *d)
{
	return d->failures > 0 ? d->error : "";
}

bool destination_is_held(const struct destination *d)
{
	return d->is_held;
}

uint64_t destination_probe_s(const struct scheduler *s, const struct destination *d)
{
	uint64_t now = loop_now_ms(s->f->loop);
	return d->failures > 0 && d->retry_at_ms > now ? (d->retry_at_ms - now + 999) / 1000 : 0;
}
