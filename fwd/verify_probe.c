#include "verify_probe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attempt.h"
#include "dial.h"
#include "log.h"
#include "smtp_client.h"

#define SERVERS_MAX 500u
#define CONNECTIONS_MAX 64u
#define SERVER_CONNECTIONS_MAX 4u
#define SERVER_QUESTIONS_MAX 256u
#define DOWN_MS 60000u
#define CLEAR_MS 300000u      /* STARTTLS did not work */
#define REPLY_MS_MAX 60000u
#define REFUSALS_MAX 8u       /* on one connection: Postfix slows down at 10 and hangs up at 20 */

struct question {
	struct question *next;
	verify_probe_fn done;
	void *ctx;
	bool was_stale; /* put again once, since a kept connection had gone */
	char path[VERIFY_PATH_CAP];
};

struct prober {
	struct server *server;
	struct prober *next;
	struct dial *dial;
	struct smtp_client *client;
	struct question *question; /* being asked */
	struct attempt *attempt;   /* with it */
	bool was_ready, is_clear;
	unsigned answers, refusals;
};

struct server {
	struct verify_probes *probes;
	struct server *next;
	char *key;
	struct route route;
	struct question *head, **tail;
	unsigned questions;
	struct prober *probers;
	unsigned prober_count;
	uint64_t down_until_ms, clear_until_ms;
	struct loop_task kick_task;
};

struct verify_probes {
	struct forwarder *f;
	struct server *servers;
	unsigned server_count, connection_count;
};

static uint64_t now_ms(const struct verify_probes *p)
{
	return loop_now_ms(p->f->loop);
}

/* ---- servers */

static void kick(void *ctx);

static void server_free(struct server *s)
{
	struct server **link = &s->probes->servers;
	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	s->probes->server_count--;
	loop_task_cancel(&s->kick_task);
	free(s->key);
	free(s);
}

static bool is_idle(const struct server *s)
{
	return !s->head && !s->probers && now_ms(s->probes) >= s->down_until_ms && now_ms(s->probes) >= s->clear_until_ms;
}

static void forget_idle_servers(struct verify_probes *p)
{
	for (struct server *s = p->servers, *next; s; s = next) {
		next = s->next;
		if (is_idle(s))
			server_free(s);
	}
}

static struct server *server_get(struct verify_probes *p, const struct route *route, const char *key)
{
	struct server *s = p->servers;
	while (s && strcmp(s->key, key) != 0)
		s = s->next;
	if (s)
		return s;
	forget_idle_servers(p);
	s = p->server_count < SERVERS_MAX ? calloc(1, sizeof *s) : NULL;
	if (!s)
		return NULL;
	s->key = strdup(key);
	if (!s->key) {
		free(s);
		return NULL;
	}
	s->probes = p;
	s->route = *route;
	s->tail = &s->head;
	s->kick_task = (struct loop_task){ .fn = kick, .ctx = s };
	s->next = p->servers;
	p->servers = s;
	p->server_count++;
	return s;
}

static void question_put(struct server *s, struct question *q, bool in_front)
{
	q->next = in_front ? s->head : NULL;
	if (in_front) {
		s->head = q;
		if (!q->next)
			s->tail = &q->next;
	} else {
		*s->tail = q;
		s->tail = &q->next;
	}
	s->questions++;
	loop_task_post(s->probes->f->loop, &s->kick_task);
}

static struct question *question_take(struct server *s)
{
	struct question *q = s->head;
	s->head = q->next;
	if (!s->head)
		s->tail = &s->head;
	s->questions--;
	return q;
}

static void question_answer(struct question *q, enum verify_result result, struct span reply)
{
	q->done(q->ctx, result, reply);
	free(q);
}

/* Those that wait for it learn at once that nobody can say. */
static void server_failed(struct server *s, const char *why)
{
	struct verify_probes *p = s->probes;
	if (now_ms(p) >= s->down_until_ms)
		log_event(LOG_LEVEL_WARN, "verify-down", "%s can't be asked about recipients for the next %u s: %s", s->key, DOWN_MS / 1000, why);
	s->down_until_ms = now_ms(p) + DOWN_MS;
	while (s->head)
		question_answer(question_take(s), VERIFY_UNKNOWN, span_of(why));
}

/* ---- connections */

static void prober_close(struct prober *b)
{
	struct server *s = b->server;
	struct verify_probes *p = s->probes;
	struct prober **link = &s->probers;
	while (*link != b)
		link = &(*link)->next;
	*link = b->next;
	s->prober_count--;
	p->connection_count--;
	dial_cancel(&b->dial);
	smtp_client_destroy(&b->client);
	attempt_destroy(&b->attempt);
	free(b);
	/* Somebody may have waited for a connection of the whole process. */
	for (struct server *other = p->servers; other; other = other->next) {
		if (other->head)
			loop_task_post(p->f->loop, &other->kick_task);
	}
}

static struct attempt *make_attempt(const struct question *q)
{
	struct attempt *a = calloc(1, sizeof *a);
	if (!a)
		return NULL;
	a->file_fd = a->body.fd = -1;
	a->is_probe = true;
	a->envelope.recipients = arena_alloc(&a->arena, sizeof *a->envelope.recipients);
	a->todo = arena_alloc(&a->arena, sizeof *a->todo);
	struct span path = arena_copy(&a->arena, span_of(q->path));
	if (!a->envelope.recipients || !a->todo || !path.ptr) {
		attempt_destroy(&a);
		return NULL;
	}
	a->envelope.recipients[0].path = path;
	a->envelope.recipient_count = a->todo_count = 1;
	return a;
}

static void prober_ask(struct prober *b)
{
	struct server *s = b->server;
	while (s->head) {
		struct question *q = question_take(s);
		struct attempt *a = make_attempt(q);
		if (a) {
			b->question = q;
			b->attempt = a;
			smtp_client_send(b->client, a);
			return;
		}
		question_answer(q, VERIFY_UNKNOWN, SPAN_LIT("no memory"));
	}
}

static void client_ready(void *ctx)
{
	struct prober *b = ctx;
	b->was_ready = true;
	b->server->down_until_ms = 0;
	if (b->refusals >= REFUSALS_MAX)
		smtp_client_quit(b->client);
	else
		prober_ask(b);
	/* More of them, now that it answers. */
	loop_task_post(b->server->probes->f->loop, &b->server->kick_task);
}

static void client_done(void *ctx, struct attempt *a)
{
	struct prober *b = ctx;
	struct question *q = b->question;
	enum spool_outcome outcome = a->todo[0].outcome;
	b->question = NULL;
	b->attempt = NULL;
	b->answers++;
	b->refusals += outcome != SPOOL_OUTCOME_DELIVERED;
	question_answer(q,
			outcome == SPOOL_OUTCOME_DELIVERED ? VERIFY_YES
			: outcome == SPOOL_OUTCOME_FAILED  ? VERIFY_NO
							   : VERIFY_UNKNOWN,
			a->todo[0].text);
	attempt_destroy(&a);
}

static int start_dial(struct prober *b);

static void client_ended(void *ctx, enum smtp_end end, struct attempt *a, const struct reason *why)
{
	struct prober *b = ctx;
	struct server *s = b->server;
	struct question *q = b->question;
	b->attempt = NULL;
	attempt_destroy(&a);
	if (end == SMTP_END_NO_TLS) {
		b->is_clear = true;
		s->clear_until_ms = now_ms(s->probes) + CLEAR_MS;
		smtp_client_destroy(&b->client);
		if (start_dial(b) == 0)
			return;
	}
	b->question = NULL;
	/* A kept connection may have gone, or have had enough of our questions; but a server that hangs up on each has said enough. */
	bool is_old = end == SMTP_END_STALE || (end == SMTP_END_BROKEN && b->answers > 0);
	if (end != SMTP_END_IDLE && !(is_old && q && !q->was_stale))
		server_failed(s, why->text);
	if (q && is_old && !q->was_stale) {
		q->was_stale = true;
		question_put(s, q, true);
	} else if (q) {
		question_answer(q, VERIFY_UNKNOWN, span_of(why->text));
	}
	prober_close(b);
}

static void dialed(void *ctx, struct dial_result *result)
{
	struct prober *b = ctx;
	struct server *s = b->server;
	struct forwarder *f = s->probes->f;
	const struct conf *conf = &f->in.conf;
	b->dial = NULL;
	if (result->err) {
		server_failed(s, result->why.text);
		prober_close(b);
		return;
	}
	bool is_clear = s->route.tls == TLS_MAY && (b->is_clear || now_ms(s->probes) < s->clear_until_ms);
	uint64_t reply_ms = conf->reply_timeout_s * 1000;
	struct smtp_client_options options = {
		.loop = f->loop,
		.hostname = conf->hostname,
		.remote = result->remote,
		.is_lmtp = s->route.spec.kind == FORWARD_LMTP || s->route.spec.kind == FORWARD_LMTP_UNIX,
		.identity = IDENTITY_NONE,
		.tls = is_clear ? TLS_NONE : s->route.tls,
		.tls_name = s->route.tls_name,
		.trust = f->trust,
		.reply_timeout_ms = reply_ms < REPLY_MS_MAX ? reply_ms : REPLY_MS_MAX,
		.idle_ms = conf->keep_idle_s * 1000,
	};
	struct smtp_client_events events = { client_ready, client_done, client_ended, b };
	if (smtp_client_create(result->fd, &options, &events, &b->client) != 0) {
		(void)close(result->fd);
		server_failed(s, "no memory");
		prober_close(b);
	}
}

static int start_dial(struct prober *b)
{
	struct forwarder *f = b->server->probes->f;
	const struct conf *conf = &f->in.conf;
	uint64_t timeout_s = conf->connect_timeout_s < conf->verify_timeout_s ? conf->connect_timeout_s : conf->verify_timeout_s;
	struct dial_options options = { .loop = f->loop, .broker = f->broker, .connect_timeout_ms = timeout_s * 1000 };
	return dial_start(&options, &b->server->route, dialed, b, &b->dial);
}

static int prober_open(struct server *s)
{
	struct prober *b = calloc(1, sizeof *b);
	if (!b)
		return ERR_NOMEM;
	b->server = s;
	int err = start_dial(b);
	if (err) {
		free(b);
		return err;
	}
	b->next = s->probers;
	s->probers = b;
	s->prober_count++;
	s->probes->connection_count++;
	return 0;
}

/* Idle connections first; then one more at a time, and none while another is about to be ready. */
static void kick(void *ctx)
{
	struct server *s = ctx;
	struct verify_probes *p = s->probes;
	unsigned coming = 0;
	for (struct prober *b = s->probers; b && s->head; b = b->next) {
		coming += !b->was_ready || (b->client && !b->question && !smtp_client_is_ready(b->client));
		if (b->client && !b->question && smtp_client_is_ready(b->client))
			prober_ask(b);
	}
	if (!s->head || coming > 0 || s->prober_count >= SERVER_CONNECTIONS_MAX || p->connection_count >= CONNECTIONS_MAX)
		return;
	if (prober_open(s) != 0 && !s->probers)
		server_failed(s, "no memory");
}

/* ---- life */

int verify_probe_start(struct verify_probes *probes, const struct route *route, const char *key, const char *path, verify_probe_fn done,
		       void *ctx)
{
	struct server *s = server_get(probes, route, key);
	if (!s || s->questions >= SERVER_QUESTIONS_MAX)
		return ERR_BUSY;
	if (now_ms(probes) < s->down_until_ms)
		return ERR_REFUSED;
	struct question *q = calloc(1, sizeof *q);
	if (!q)
		return ERR_BUSY;
	q->done = done;
	q->ctx = ctx;
	if (span_to_cstr(span_of(path), q->path, sizeof q->path)) {
		free(q);
		return ERR_BUSY;
	}
	question_put(s, q, false);
	return 0;
}

size_t verify_probes_connections(const struct verify_probes *probes)
{
	return probes->connection_count;
}

int verify_probes_create(struct forwarder *f, struct verify_probes **out)
{
	struct verify_probes *p = calloc(1, sizeof *p);
	if (!p)
		return ERR_NOMEM;
	p->f = f;
	*out = p;
	return 0;
}

void verify_probes_destroy(struct verify_probes **probes)
{
	struct verify_probes *p = *probes;
	if (!p)
		return;
	while (p->servers) {
		struct server *s = p->servers;
		while (s->head)
			free(question_take(s));
		while (s->probers) {
			struct prober *b = s->probers;
			free(b->question);
			prober_close(b);
		}
		server_free(s);
	}
	free(p);
	*probes = NULL;
}
