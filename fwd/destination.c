#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "log.h"
#include "quarantine.h"
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
		d->fresh.order = d->again.order = MESSAGE_BY_AGE;
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

static struct message_heap *heap_of(struct destination *d, const struct fwd_message *m)
{
	return m->attempts > 0 ? &d->again : &d->fresh;
}

void destination_append(struct destination *d, struct fwd_message *m)
{
	m->state = FWD_READY;
	message_heap_add(heap_of(d, m), m);
	d->scheduler->figures_ready++;
	destination_kick(d);
}

/* New mail and mail that was tried before take turns, so neither a backlog nor a flood holds up the other. */
struct fwd_message *destination_first(const struct destination *d)
{
	struct fwd_message *fresh = message_heap_first(&d->fresh), *again = message_heap_first(&d->again);
	return again && (d->is_turn_of_again || !fresh) ? again : fresh;
}

size_t destination_ready(const struct destination *d)
{
	return d->fresh.count + d->again.count;
}

void destination_take(struct destination *d, struct fwd_message *m)
{
	d->is_turn_of_again = heap_of(d, m) == &d->fresh;
	message_heap_remove(heap_of(d, m), m);
	d->scheduler->figures_ready--;
}

/* ---- starting */

static bool is_program(const struct destination *d)
{
	return d->route.spec.kind == FORWARD_SENDMAIL;
}

static bool may_open(const struct destination *d)
{
	const struct scheduler *s = d->scheduler;
	const struct conf *conf = &s->f->in.conf;
	if (is_program(d) && d->failures == 0)
		return true;
	unsigned limit = d->window < conf->destination_connections ? d->window : (unsigned)conf->destination_connections;
	/* Down: one probe at a time, when its time has come. */
	if (d->failures > 0)
		limit = loop_now_ms(s->f->loop) >= d->retry_at_ms ? 1 : 0;
	return d->connections < limit && d->dialing < destination_ready(d);
}

bool destination_has_slot(const struct destination *d)
{
	const struct scheduler *s = d->scheduler;
	if (is_program(d))
		return s->child_count < s->f->in.conf.sendmail_children;
	if (s->connection_count >= s->connection_max)
		return false;
	return d->has_answered ? s->connection_count - s->unproven < s->connection_max - s->connection_max / 8
			       : s->unproven < (s->connection_max + 1) / 2;
}

static struct starved *starved_of(const struct destination *d)
{
	return &d->scheduler->starved[is_program(d) ? STARVED_LINES - 1 : d->has_answered];
}

static void starve(struct destination *d)
{
	struct starved *list = starved_of(d);
	if (d->is_starved)
		return;
	d->is_starved = true;
	d->starved_next = NULL;
	*list->tail = d;
	list->tail = &d->starved_next;
}

/* Who wants a connection stands in line behind those that wait for one. */
static bool must_wait(const struct destination *d)
{
	return !destination_has_slot(d) || (!d->is_woken && starved_of(d)->head);
}

static void kick(void *ctx)
{
	struct destination *d = ctx;
	struct scheduler *s = d->scheduler;
	for (unsigned budget = KICK_BUDGET; destination_ready(d) > 0 && !s->is_stopping; budget--) {
		if (budget == 0) {
			destination_kick(d);
			return;
		}
		if (d->idle) {
			connection_give(d->idle);
			continue;
		}
		if (!may_open(d))
			break;
		if (must_wait(d)) {
			starve(d);
			if (d->has_answered || s->connection_count >= s->connection_max)
				connection_end_idle(s);
			break;
		}
		if (connection_open(d) != 0)
			break;
	}
	d->is_woken = false;
	/* What it did not need is for the next. */
	connection_wake_starved(s);
	if (d->remembered == 0 && d->connections == 0 && !d->is_starved)
		destination_free(d);
}

void destination_kick(struct destination *d)
{
	loop_task_post(d->scheduler->f->loop, &d->kick_task);
}

/* ---- up and down */

static void set_answered(struct destination *d, bool has_answered)
{
	struct scheduler *s = d->scheduler;
	if (is_program(d) || d->has_answered == has_answered)
		return;
	/* One that waits changes its line when its turn comes. */
	d->has_answered = has_answered;
	if (has_answered)
		s->unproven -= d->connections;
	else
		s->unproven += d->connections;
	connection_wake_starved(s);
}

void destination_works(struct destination *d)
{
	d->has_worked = true;
	set_answered(d, true);
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
	for (unsigned budget = DEFER_BUDGET; destination_ready(d) > 0 && d->failures > 0; budget--) {
		struct fwd_message *m = destination_first(d);
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
		if (quarantine_wants(m, &a->envelope)) {
			destination_append(d, m);
			quarantine_hold(s->f, m, &a->envelope);
			attempt_destroy(&a);
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
	set_answered(d, false);
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
		  "%s: %s; %zu wait in line, next try in %u s", d->key, why, destination_ready(d), (unsigned)(wait_ms / 1000));
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
		  why, destination_ready(d), (unsigned)(wait_ms / 1000));
}

const char *destination_key(const struct destination *d)
{
	return d->key;
}

const char *destination_error(const struct destination *d)
{
	return d->failures > 0 ? d->error : "";
}

uint64_t destination_probe_s(const struct scheduler *s, const struct destination *d)
{
	uint64_t now = loop_now_ms(s->f->loop);
	return d->failures > 0 && d->retry_at_ms > now ? (d->retry_at_ms - now + 999) / 1000 : 0;
}
