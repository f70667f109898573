#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "quarantine.h"
#include "scheduler_parts.h"
#include "settle.h"
#include "verify.h"

#define SERVED_MAX 20u /* messages in a row by one connection while others wait for any */

#define CLEAR_MS 300000u

/* Reading a file of queue/ in a job; outlives its connection, since a job can't be taken back. */
struct load {
	struct connection *connection; /* NULL: gone meanwhile */
	struct scheduler *scheduler;
	const struct spool_dirs *dirs;
	struct fwd_message *message;
	struct attempt *attempt;
	int err;
};

static bool is_program(const struct connection *c)
{
	return c->destination->route.spec.kind == FORWARD_SENDMAIL;
}

/* ---- idle or not */

static void set_idle(struct connection *c, bool is_idle)
{
	struct destination *d = c->destination;
	if (c->is_idle == is_idle)
		return;
	c->is_idle = is_idle;
	if (is_idle) {
		c->idle_prev = NULL;
		c->idle_next = d->idle;
		if (d->idle)
			d->idle->idle_prev = c;
		d->idle = c;
		d->scheduler->figures_idle++;
		return;
	}
	*(c->idle_prev ? &c->idle_prev->idle_next : &d->idle) = c->idle_next;
	if (c->idle_next)
		c->idle_next->idle_prev = c->idle_prev;
	d->scheduler->figures_idle--;
}

/* First those that are known to answer: there a connection is used best. */
void connection_wake_starved(struct scheduler *s)
{
	static const unsigned lines[STARVED_LINES] = { 1, 0, 2 };
	for (size_t i = 0; i < STARVED_LINES; i++) {
		struct starved *list = &s->starved[lines[i]];
		struct destination *d = list->head;
		if (!d || !destination_has_slot(d))
			continue;
		list->head = d->starved_next;
		if (!list->head)
			list->tail = &list->head;
		d->is_starved = false;
		d->is_woken = true;
		destination_kick(d);
	}
}

void connection_end_idle(struct scheduler *s)
{
	for (struct connection *c = s->connections; c; c = c->next) {
		if (!c->is_idle || c->is_leaving || !c->client || destination_ready(c->destination) > 0)
			continue;
		c->is_leaving = true;
		smtp_client_quit(c->client);
		return;
	}
}

static bool somebody_waits(const struct scheduler *s)
{
	return s->starved[0].head || s->starved[1].head;
}

void connection_close(struct connection **connection)
{
	struct connection *c = *connection;
	struct destination *d = c->destination;
	struct scheduler *s = d->scheduler;
	set_idle(c, false);
	if (c->load)
		c->load->connection = NULL;
	if (!c->was_ready)
		d->dialing--;
	dial_cancel(&c->dial);
	smtp_client_destroy(&c->client);
	sendmail_pipe_destroy(&c->pipe);
	*(c->prev ? &c->prev->next : &s->connections) = c->next;
	if (c->next)
		c->next->prev = c->prev;
	d->connections--;
	if (is_program(c))
		s->child_count--;
	else
		s->connection_count--;
	if (!is_program(c) && !d->has_answered)
		s->unproven--;
	free(c);
	*connection = NULL;
	/* Others first: who has had one stands behind them. */
	connection_wake_starved(s);
	destination_kick(d);
}

/* ---- attempts */

/* For the next in line, by the kick and not from here: a thousand messages in a row that take no sending would be a thousand
 * calls deep. */
static void give_back(struct connection *c)
{
	if (is_program(c)) {
		connection_close(&c);
		return;
	}
	set_idle(c, true);
	destination_kick(c->destination);
}

static void program_done(void *ctx, struct attempt *a)
{
	struct connection *c = ctx;
	struct destination *d = c->destination;
	struct scheduler *s = d->scheduler;
	char why[sizeof d->error] = "";
	c->attempt = NULL;
	s->active--;
	if (a->is_our_fault) {
		struct span text = a->todo[a->todo_count - 1].text;
		(void)snprintf(why, sizeof why, "%.*s", SPAN_FMT(text));
		destination_hold(d, why);
		/* Only this message?  Then it ages like any other, or it would come back for ever. */
		if (c->way_works)
			a->is_our_fault = false;
	} else {
		destination_works(d);
	}
	connection_close(&c);
	settle_attempt(s->f->settle, &a);
}

static int run_program(struct connection *c)
{
	struct scheduler *s = c->destination->scheduler;
	struct sendmail_options options = {
		.loop = s->f->loop, .program = c->destination->route.spec.path, .timeout_ms = s->f->in.conf.reply_timeout_s * 1000
	};
	c->way_works = c->destination->has_worked && c->destination->failures == 0;
	return sendmail_pipe_start(&options, c->attempt, program_done, c, &c->pipe);
}

/* The message was read: off it goes, by this connection, unless a new configuration sends it elsewhere. */
static void begin(struct connection *c, struct attempt *a)
{
	struct scheduler *s = c->destination->scheduler;
	struct fwd_message *m = a->message;
	bool goes_elsewhere = m->route_generation != s->f->conf_generation && scheduler_reroutes(s, m, &a->envelope);
	if (goes_elsewhere || a->todo_count == 0) {
		s->active--;
		if (goes_elsewhere)
			attempt_destroy(&a);
		else
			settle_attempt(s->f->settle, &a);
		give_back(c);
		return;
	}
	if (c->client && !smtp_client_is_ready(c->client)) {
		/* It has hung up, or we have, while the file was read. */
		s->active--;
		attempt_destroy(&a);
		destination_append(c->destination, m);
		return;
	}
	a->started_ms = loop_now_ms(s->f->loop);
	c->attempt = a;
	if (c->client) {
		smtp_client_send(c->client, a);
		return;
	}
	if (run_program(c) != 0) {
		s->active--;
		c->attempt = NULL;
		attempt_settle_rest(a, SPOOL_OUTCOME_DEFERRED, 0, SPAN_LIT("no memory"));
		settle_attempt(s->f->settle, &a);
		connection_close(&c);
	}
}

static void load_work(void *ctx)
{
	struct load *load = ctx;
	load->err = attempt_load(load->dirs, load->message, &load->attempt);
}

static void loaded(struct scheduler *s, struct connection *c, struct fwd_message *m, struct attempt *a, int err)
{
	bool is_good = !err || err == ERR_EOF;
	if (is_good && quarantine_wants(m, &a->envelope)) {
		/* It could not be held when it came in. */
		s->active--;
		destination_append(m->destination, m);
		quarantine_hold(s->f, m, &a->envelope);
		attempt_destroy(&a);
		if (c)
			give_back(c);
		return;
	}
	if (is_good && c) {
		begin(c, a);
		return;
	}
	s->active--;
	if (is_good) {
		attempt_destroy(&a);
		destination_append(m->destination, m);
		return;
	}
	scheduler_load_failed(s, m, err);
	if (c)
		give_back(c);
}

static void load_done(void *ctx)
{
	struct load *load = ctx, copy = *load;
	free(load);
	if (copy.connection)
		copy.connection->load = NULL;
	loaded(copy.scheduler, copy.connection, copy.message, copy.attempt, copy.err);
}

static void start_load(struct connection *c, struct fwd_message *m)
{
	struct scheduler *s = c->destination->scheduler;
	struct load *load = calloc(1, sizeof *load);
	int err = load ? 0 : ERR_NOMEM;
	if (!err) {
		*load = (struct load){ .connection = c, .scheduler = s, .dirs = &s->f->in.dirs, .message = m };
		err = loop_job_start(s->f->loop, load_work, load_done, load);
	}
	if (!err) {
		c->load = load;
		return;
	}
	free(load);
	loaded(s, c, m, NULL, err);
}

/* The first in line; without one, a client waits and a program's slot is given back. */
void connection_give(struct connection *connection)
{
	struct connection *c = connection;
	struct destination *d = c->destination;
	struct scheduler *s = d->scheduler;
	struct fwd_message *m = s->is_stopping ? NULL : destination_first(d);
	set_idle(c, false);
	if (c->is_leaving || (c->client && !smtp_client_is_ready(c->client)))
		return; /* about to end */
	if (m && c->client && c->served >= SERVED_MAX && somebody_waits(s)) {
		c->is_leaving = true;
		smtp_client_quit(c->client);
		return;
	}
	if (!m) {
		if (is_program(c))
			connection_close(&c);
		else if (s->is_stopping)
			smtp_client_quit(c->client);
		else
			set_idle(c, true);
		return;
	}
	destination_take(d, m);
	m->state = FWD_ACTIVE;
	s->active++;
	if (!m->segment) {
		start_load(c, m);
		return;
	}
	/* From the page cache: the record was written a moment ago. */
	struct attempt *a = NULL;
	int err = attempt_load(&s->f->in.dirs, m, &a);
	loaded(s, c, m, a, err);
}

/* ---- the client's events */

static void client_ready(void *ctx)
{
	struct connection *c = ctx;
	if (!c->was_ready) {
		c->was_ready = true;
		c->destination->dialing--;
		destination_works(c->destination);
		if (smtp_client_hides_clients(c->client) && !c->destination->is_hiding_logged) {
			c->destination->is_hiding_logged = true;
			log_event(LOG_LEVEL_WARN, "identity",
				  "%s: the server does not offer this host XFORWARD or XCLIENT, whichever is configured: it takes all mail "
				  "for ours",
				  c->destination->key);
		}
	}
	connection_give(c);
}

static void client_done(void *ctx, struct attempt *a)
{
	struct connection *c = ctx;
	struct destination *d = c->destination;
	struct scheduler *s = d->scheduler;
	c->attempt = NULL;
	c->served++;
	s->active--;
	for (size_t i = 0; d->route.is_verified && i < a->todo_count; i++) {
		bool is_delivered = a->todo[i].outcome == SPOOL_OUTCOME_DELIVERED;
		if (is_delivered || a->todo[i].outcome == SPOOL_OUTCOME_FAILED)
			verify_learn(s->f->verify, &d->route, a->envelope.recipients[a->todo[i].index].path, is_delivered);
	}
	if (d->window < s->f->in.conf.destination_connections) {
		d->window++;
		destination_kick(d);
	}
	settle_attempt(s->f->settle, &a);
}

static int start_dial(struct connection *c);

/* tls = may: the same again, and the next connections for a while, without. */
static void dial_in_clear(struct connection *c, const struct reason *why)
{
	struct destination *d = c->destination;
	uint64_t now = loop_now_ms(d->scheduler->f->loop);
	if (now >= d->clear_until_ms)
		log_event(LOG_LEVEL_WARN, "no-tls", "%s; in clear text for the next %u s", why->text, CLEAR_MS / 1000);
	d->clear_until_ms = now + CLEAR_MS;
	c->is_clear = true;
	smtp_client_destroy(&c->client);
	if (start_dial(c) != 0) {
		connection_close(&c);
		destination_failed(d, "no memory");
	}
}

static void client_ended(void *ctx, enum smtp_end end, struct attempt *a, const struct reason *why)
{
	struct connection *c = ctx;
	struct destination *d = c->destination;
	struct scheduler *s = d->scheduler;
	struct fwd_message *m = a ? a->message : NULL;
	log_event(LOG_LEVEL_DEBUG, "connection-end", "%s", why->text);
	if (end == SMTP_END_NO_TLS) {
		dial_in_clear(c, why);
		return;
	}
	c->attempt = NULL;
	connection_close(&c);
	s->active -= a != NULL;
	switch (end) {
	case SMTP_END_NO_TLS:
	case SMTP_END_IDLE: break;
	case SMTP_END_REFUSED: destination_failed(d, why->text); break;
	case SMTP_END_STALE:
		attempt_destroy(&a);
		destination_append(d, m);
		break;
	case SMTP_END_BROKEN:
		log_event(LOG_LEVEL_WARN, "connection-broken", "%s", why->text);
		d->window = 1;
		settle_attempt(s->f->settle, &a);
		break;
	}
}

static void dialed(void *ctx, struct dial_result *result)
{
	struct connection *c = ctx;
	struct destination *d = c->destination;
	struct scheduler *s = d->scheduler;
	const struct conf *conf = &s->f->in.conf;
	c->dial = NULL;
	if (result->err) {
		connection_close(&c);
		destination_failed(d, result->why.text);
		return;
	}
	bool is_clear = d->route.tls == TLS_MAY && (c->is_clear || loop_now_ms(s->f->loop) < d->clear_until_ms);
	struct smtp_client_options options = {
		.loop = s->f->loop,
		.hostname = conf->hostname,
		.remote = result->remote,
		.is_lmtp = d->route.spec.kind == FORWARD_LMTP || d->route.spec.kind == FORWARD_LMTP_UNIX,
		.identity = result->has_fallen_back ? d->route.spoof_fallback : d->route.identity,
		.tls = is_clear ? TLS_NONE : d->route.tls,
		.tls_name = d->route.tls_name,
		.trust = s->f->trust,
		.reply_timeout_ms = conf->reply_timeout_s * 1000,
		.idle_ms = conf->keep_idle_s * 1000,
	};
	struct smtp_client_events events = { client_ready, client_done, client_ended, c };
	s->f->stats.connections++;
	int err = smtp_client_create(result->fd, &options, &events, &c->client);
	if (err) {
		(void)close(result->fd);
		connection_close(&c);
		destination_failed(d, err_name(err));
	}
}

static int start_dial(struct connection *c)
{
	struct scheduler *s = c->destination->scheduler;
	struct dial_options options = { .loop = s->f->loop,
					.broker = s->f->broker,
					.local = &s->local,
					.connect_timeout_ms = s->f->in.conf.connect_timeout_s * 1000 };
	return dial_start(&options, &c->destination->route, dialed, c, &c->dial);
}

int connection_open(struct destination *d)
{
	struct scheduler *s = d->scheduler;
	struct connection *c = calloc(1, sizeof *c);
	if (!c)
		return ERR_NOMEM;
	c->destination = d;
	bool is_smtp = !is_program(c);
	int err = is_smtp ? start_dial(c) : 0;
	if (err) {
		free(c);
		return err;
	}
	c->next = s->connections;
	if (c->next)
		c->next->prev = c;
	s->connections = c;
	d->connections++;
	c->was_ready = !is_smtp;
	if (is_smtp) {
		s->connection_count++;
		s->unproven += !d->has_answered;
		d->dialing++;
	} else {
		s->child_count++;
		connection_give(c);
	}
	return 0;
}
