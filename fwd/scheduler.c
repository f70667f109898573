#include "scheduler.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bad.h"
#include "log.h"
#include "scheduler_parts.h"
#include "settle.h"

#define CONNECTIONS_MAX 1000u
#define CONNECTIONS_MIN 8u
#define FDS_A_CONNECTION 3u /* its socket, the message's file, a large body */
#define FDS_OTHER 200u      /* segments, programs, the control socket, jobs */
#define LOAD_PAUSE_S 30u
#define DUE_CHECK_MS 30000u /* the wall clock may jump */
#define DUE_BUDGET 256u

/* ---- routes */

static int set_route(struct scheduler *s, struct fwd_message *m, const struct spool_envelope *envelope)
{
	struct route route;
	struct destination *d;
	int err = route_choose(&s->f->in.conf, &m->id, envelope, &route);
	if (!err)
		err = destination_get(s, &route, &d);
	if (err)
		return err;
	m->route_generation = s->f->conf_generation;
	d->remembered++;
	scheduler_forget(s, m);
	m->destination = d;
	return 0;
}

void scheduler_forget(struct scheduler *s, struct fwd_message *m)
{
	(void)s;
	if (!m->destination)
		return;
	if (--m->destination->remembered == 0)
		destination_kick(m->destination);
	m->destination = NULL;
}

bool scheduler_reroutes(struct scheduler *s, struct fwd_message *m, const struct spool_envelope *envelope)
{
	struct destination *before = m->destination;
	if (set_route(s, m, envelope) != 0 || m->destination == before)
		return false;
	destination_append(m->destination, m);
	return true;
}

/* ---- times */

static void arm(struct scheduler *s)
{
	const struct fwd_message *first = message_heap_first(&s->due);
	if (!first)
		return;
	int64_t in_s = first->next_time - loop_wall_time();
	uint64_t ms = in_s <= 0 ? 0 : (uint64_t)in_s < DUE_CHECK_MS / 1000 ? (uint64_t)in_s * 1000 : DUE_CHECK_MS;
	/* A start that moves the timer later would be wrong for one that is due before. */
	loop_timer_stop(s->due_timer);
	loop_timer_start(s->due_timer, ms);
}

/* queue-load-average: above it only new mail is tried. */
static bool is_postponed(struct scheduler *s, const struct fwd_message *m)
{
	return m->attempts > 0 && load_average_is_high(&s->load, s->f->in.conf.queue_load_average, loop_now_ms(s->f->loop));
}

static void postpone(struct scheduler *s, struct fwd_message *m)
{
	uint64_t pause_s = s->f->in.conf.retry_min_s < LOAD_PAUSE_S ? s->f->in.conf.retry_min_s : LOAD_PAUSE_S;
	m->next_time = loop_wall_time() + (int64_t)pause_s;
	scheduler_wait(s, m);
}

static void due(void *ctx)
{
	struct scheduler *s = ctx;
	int64_t now = loop_wall_time();
	struct fwd_message *m;
	for (unsigned budget = DUE_BUDGET; budget > 0 && (m = message_heap_first(&s->due)) != NULL && m->next_time <= now; budget--) {
		message_heap_remove(&s->due, m);
		if (is_postponed(s, m))
			postpone(s, m);
		else
			scheduler_ready(s, m);
	}
	arm(s);
}

void scheduler_wait(struct scheduler *s, struct fwd_message *m)
{
	message_heap_add(&s->due, m);
	m->state = FWD_WAITING;
	if (message_heap_first(&s->due) == m)
		arm(s);
}

/* No route was found when it was last looked for, or the configuration has changed since. */
static void find_route(struct scheduler *s, struct fwd_message *m)
{
	struct attempt *a;
	int err = attempt_load(&s->f->in.dirs, m, &a);
	if (err && err != ERR_EOF) {
		scheduler_load_failed(s, m, err);
		return;
	}
	(void)scheduler_add(s, m, &a->envelope);
	attempt_destroy(&a);
}

void scheduler_ready(struct scheduler *s, struct fwd_message *m)
{
	m->next_time = loop_wall_time();
	if (m->destination && m->route_generation == s->f->conf_generation)
		destination_append(m->destination, m);
	else
		find_route(s, m);
}

static void say_no_route(const struct scheduler *s, const struct fwd_message *m, const struct spool_envelope *envelope, int err)
{
	char what[160];
	const char *why = what;
	if (err == ERR_NOTFOUND)
		(void)snprintf(what, sizeof what, "it came in by 'listen \"%.*s\"', and there is no such section in the configuration",
			       (int)(envelope->listener.len < 64 ? envelope->listener.len : 64), envelope->listener.ptr);
	else if (err == ERR_INVAL)
		why = "forward = original, but the message was not diverted: it has no original destination";
	else
		why = err_name(err);
	log_event(LOG_LEVEL_ERR, "no-route", "%s: %s; looked for again in %" PRIu64 " s", m->id.text, why,
		  s->f->in.conf.retry_max_s);
}

int scheduler_add(struct scheduler *s, struct fwd_message *m, const struct spool_envelope *envelope)
{
	int64_t now = loop_wall_time();
	int err = set_route(s, m, envelope);
	if (err) {
		say_no_route(s, m, envelope, err);
		/* No listing must name the way that it had before. */
		scheduler_forget(s, m);
		m->next_time = now + (int64_t)s->f->in.conf.retry_max_s;
	}
	if (m->next_time > now) {
		scheduler_wait(s, m);
	} else if (is_postponed(s, m)) {
		postpone(s, m);
	} else {
		m->next_time = now;
		destination_append(m->destination, m);
	}
	return err;
}

void scheduler_take(struct scheduler *s, struct fwd_message *m)
{
	if (m->state == FWD_WAITING)
		message_heap_remove(&s->due, m);
	else if (m->state == FWD_READY)
		destination_take(m->destination, m);
}

void scheduler_retry(struct scheduler *s, struct fwd_message *m)
{
	scheduler_take(s, m);
	if (m->destination)
		m->destination->retry_at_ms = 0;
	scheduler_ready(s, m);
}

static bool save_bad(struct scheduler *s, const struct fwd_message *m)
{
	const struct spool_dirs *dirs = &s->f->in.dirs;
	int err;
	if (m->segment) {
		err = spool_bad_save(dirs, m->id.text, m->segment->fd, m->offset, m->length, NULL);
		if (!err)
			err = spool_large_to_bad(dirs, &m->id);
	} else {
		struct spool_bad_name name;
		err = spool_queue_to_bad(dirs, fwd_message_place(m), m->id.text, &name);
		if (err && !spool_queue_has(dirs, &m->id))
			err = 0; /* somebody took its file away */
	}
	return !err;
}

void scheduler_load_failed(struct scheduler *s, struct fwd_message *m, int err)
{
	struct forwarder *f = s->f;
	bool is_bad = err == ERR_CORRUPT || err == ERR_NOTFOUND || err == ERR_TOOLONG;
	/* What can't be saved stays where it is: nobody throws away what a person may still read. */
	bool is_saved = is_bad && save_bad(s, m);
	log_event(LOG_LEVEL_ERR, "unreadable", "%s: can't read it from %s (%s): %s", m->id.text,
		  m->segment ? m->segment->name.text : "queue/", err_name(err), is_saved ? "moved to bad/" : "tried again later");
	if (!is_saved) {
		m->next_time = loop_wall_time() + (int64_t)f->in.conf.retry_min_s;
		scheduler_wait(s, m);
		return;
	}
	f->stats.bad++;
	if (m->segment)
		journal_settle(f->journal, m->segment, m->offset, SPOOL_OUTCOME_BAD, NULL);
	scheduler_forget(s, m);
	fwd_table_remove(&f->messages, m);
}

/* ---- life */

bool scheduler_child_exited(struct scheduler *s, pid_t pid, int status)
{
	for (struct connection *c = s->connections; c; c = c->next) {
		if (c->pipe && sendmail_pipe_pid(c->pipe) == pid) {
			sendmail_pipe_exited(c->pipe, status);
			return true;
		}
	}
	return false;
}

static bool waits_for_operator(const struct fwd_message *m)
{
	return m->state == FWD_WAITING && m->destination && m->destination->is_held;
}

void scheduler_each_held(const struct scheduler *s, void (*fn)(void *ctx, const struct destination *d), void *ctx)
{
	for (size_t i = 0; i < s->room; i++) {
		for (const struct destination *d = s->slots[i]; d; d = d->hash_next) {
			if (d->is_held)
				fn(ctx, d);
		}
	}
}

/* All that are in line go through the heap, which finds their routes anew a few a turn; those that wait do so when they are due. */
void scheduler_reload(struct scheduler *s)
{
	struct fwd_table *messages = &s->f->messages;
	(void)local_addrs_read(&s->local);
	for (size_t i = 0; i < messages->room; i++) {
		for (struct fwd_message *m = messages->slots[i]; m; m = m->hash_next) {
			if (m->state != FWD_READY && !waits_for_operator(m))
				continue;
			if (m->destination->is_held)
				m->destination->retry_at_ms = 0;
			scheduler_take(s, m);
			m->next_time = loop_wall_time();
			message_heap_add(&s->due, m);
			m->state = FWD_WAITING;
		}
	}
	arm(s);
}

void scheduler_stop(struct scheduler *s)
{
	s->is_stopping = true;
	for (struct connection *c = s->connections, *next; c; c = next) {
		next = c->next;
		if (c->is_idle)
			smtp_client_quit(c->client);
	}
}

bool scheduler_is_quiet(const struct scheduler *s)
{
	return s->active == 0;
}

void scheduler_figures(const struct scheduler *s, struct scheduler_figures *out)
{
	*out = (struct scheduler_figures){
		.ready = s->figures_ready,
		.waiting = s->due.count,
		.active = s->active,
		.destinations = s->destination_count,
		.connections = s->connection_count,
		.idle_connections = s->figures_idle,
		.children = s->child_count,
		.connection_max = s->connection_max,
		.is_load_high = s->load.is_high,
	};
	for (size_t i = 0; i < s->room; i++) {
		for (const struct destination *d = s->slots[i]; d; d = d->hash_next)
			out->destinations_down += d->failures > 0;
	}
}

/* What descriptors there are must suffice for all that a connection may have open at the same time. */
static unsigned connection_budget(const struct forwarder *f)
{
	uint64_t others = FDS_OTHER + 4 * f->in.conf.sendmail_children;
	uint64_t left = f->in.max_files > others ? (f->in.max_files - others) / FDS_A_CONNECTION : 0;
	return left > CONNECTIONS_MAX ? CONNECTIONS_MAX : left < CONNECTIONS_MIN ? CONNECTIONS_MIN : (unsigned)left;
}

int scheduler_create(struct forwarder *f, struct scheduler **out)
{
	struct scheduler *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->f = f;
	for (size_t i = 0; i < STARVED_LINES; i++)
		s->starved[i].tail = &s->starved[i].head;
	s->due.order = MESSAGE_BY_DUE_TIME;
	s->connection_max = connection_budget(f);
	if (local_addrs_read(&s->local) != 0)
		log_event(LOG_LEVEL_WARN, "local-addresses", "can't read the addresses of this host");
	int err = loop_timer_create(f->loop, due, s, &s->due_timer);
	if (err)
		free(s);
	else
		*out = s;
	return err;
}

void scheduler_destroy(struct scheduler **scheduler)
{
	struct scheduler *s = *scheduler;
	if (!s)
		return;
	s->is_stopping = true;
	while (s->connections) {
		struct connection *c = s->connections;
		attempt_destroy(&c->attempt);
		connection_close(&c);
	}
	for (size_t i = 0; i < s->room; i++) {
		while (s->slots[i])
			destination_free(s->slots[i]);
	}
	loop_timer_destroy(&s->due_timer);
	free(s->slots);
	free(s);
	*scheduler = NULL;
}
