#include "smtp_client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "smtp_client_parts.h"

#define BODY_CHUNK (1u << 20) /* sent in one turn of the loop */
#define TLS_BODY_CHUNK (128u << 10)
#define TLS_CHUNK 16384u      /* the largest record */
#define READ_CHUNK 4096u
#define READ_BUDGET 8         /* chunks a turn */
#define QUIT_MS 5000u
#define OUT_CAP (16u << 20)

static const char *const state_names[] = { "greeting", "ehlo",     "helo", "starttls", "tls",   "ready", "xclient",
					   "xhelo",    "envelope", "body", "result",   "reset", "quit",  "ended" };

const char *smtp_client_state_name(const struct smtp_client *client)
{
	return state_names[client->state];
}

/* Arms the deadline that belongs to the state. */
void client_set_state(struct smtp_client *c, enum client_state state)
{
	c->state = state;
	if (state == CLIENT_ENDED)
		loop_timer_stop(c->timer);
	else
		loop_timer_start(c->timer, state == CLIENT_READY  ? c->idle_ms
					   : state == CLIENT_QUIT ? QUIT_MS
								  : c->reply_timeout_ms);
}

static void call_ended(void *ctx)
{
	struct smtp_client *c = ctx;
	struct attempt *a = c->attempt;
	struct reason why = c->why; /* outlives the client */
	c->attempt = NULL;
	c->events.ended(c->events.ctx, c->end, a, &why);
}

/* Always by a task: the owner destroys the client in `ended`, and nobody up the stack may touch it then. */
void client_end(struct smtp_client *c, enum smtp_end end, const char *fmt, ...)
{
	va_list ap;
	if (c->state == CLIENT_ENDED)
		return;
	c->end = end;
	va_start(ap, fmt);
	(void)vsnprintf(c->why.text, sizeof c->why.text, fmt, ap);
	va_end(ap);
	client_set_state(c, CLIENT_ENDED);
	(void)loop_io_want(c->io, 0);
	loop_task_post(c->loop, &c->end_task);
}

/* ---- out */

/* As much as goes at once: 0, ERR_AGAIN, or how the connection has failed. */
static int put(struct smtp_client *c, const char *bytes, size_t len, size_t *len_out)
{
	if (c->tls)
		return tls_write(c->tls, bytes, len, len_out);
	ssize_t n;
	do
		n = send(c->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? ERR_AGAIN : err_from_errno(errno);
	*len_out = (size_t)n;
	return 0;
}

/* Right behind the call that failed. */
static const char *failure(const struct smtp_client *c, int err)
{
	return err == ERR_EOF ? "the server hung up" : c->tls ? err_name(err) : strerror(errno);
}

/* False: the connection has ended. */
static bool send_commands(struct smtp_client *c)
{
	while (c->out.len > 0) {
		size_t n;
		int err = put(c, c->out.data, c->out.len, &n);
		if (err == ERR_AGAIN)
			return true;
		if (err) {
			dialogue_broken(c, failure(c, err));
			return false;
		}
		buf_consume(&c->out, n);
	}
	return true;
}

/* Hanging up without the final dot is the one way to take back what was sent. */
static void body_fails(struct smtp_client *c, ssize_t n, const char *why)
{
	dialogue_broken(c, n == 0 ? "the spool file is shorter than it should be" : why);
}

/* The kernel can't encrypt it for us.  A write that must be repeated gets the same bytes again: they are read anew. */
static bool send_body_piece_tls(struct smtp_client *c, size_t len)
{
	const struct spool_body_source *body = &c->attempt->body;
	char bytes[TLS_CHUNK];
	size_t sent;
	ssize_t n = pread(body->fd, bytes, len < sizeof bytes ? len : sizeof bytes, (off_t)(body->offset + c->body_sent));
	if (n < 0 && errno == EINTR)
		return true;
	if (n <= 0) {
		body_fails(c, n, strerror(errno));
		return false;
	}
	int err = tls_write(c->tls, bytes, (size_t)n, &sent);
	if (err && err != ERR_AGAIN)
		dialogue_broken(c, failure(c, err));
	if (err)
		return false;
	c->body_sent += sent;
	return true;
}

/* Straight from the spool's file into the socket. */
static bool send_body_piece(struct smtp_client *c, size_t len)
{
	const struct spool_body_source *body = &c->attempt->body;
	off_t at = (off_t)(body->offset + c->body_sent);
	ssize_t n = sendfile(c->fd, body->fd, &at, len);
	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		body_fails(c, n, strerror(errno));
		return false;
	}
	c->body_sent += (uint64_t)n;
	return true;
}

/* The body has wire form, final dot included. */
static void send_body(struct smtp_client *c)
{
	const struct spool_body_source *body = &c->attempt->body;
	uint64_t stop = c->body_sent + (c->tls ? TLS_BODY_CHUNK : BODY_CHUNK);
	if (stop > body->len)
		stop = body->len;
	while (c->body_sent < stop) {
		size_t len = (size_t)(stop - c->body_sent);
		if (!(c->tls ? send_body_piece_tls(c, len) : send_body_piece(c, len)))
			return;
		client_set_state(c, CLIENT_BODY);
	}
	if (c->body_sent == body->len)
		client_set_state(c, CLIENT_RESULT);
}

/* What the socket must be ready for. */
static unsigned wanted_events(const struct smtp_client *c)
{
	bool has_more = c->out.len > 0 || c->state == CLIENT_BODY || c->state == CLIENT_TLS;
	if (!has_more)
		return LOOP_READ;
	return LOOP_READ | (c->tls ? tls_waits_for(c->tls) : LOOP_WRITE);
}

void client_flush(struct smtp_client *c)
{
	if (c->state == CLIENT_ENDED || (c->state != CLIENT_TLS && !send_commands(c)))
		return;
	if (c->state == CLIENT_BODY && c->out.len == 0)
		send_body(c);
	if (c->state == CLIENT_ENDED)
		return;
	(void)loop_io_want(c->io, wanted_events(c));
}

void client_say(struct smtp_client *c, const char *line)
{
	if (buf_append_span(&c->out, span_of(line)) != 0)
		dialogue_broken(c, "no memory");
}

/* ---- in */

static void take(struct smtp_client *c, struct span in)
{
	while (in.len > 0 && c->state != CLIENT_ENDED) {
		size_t consumed = 0;
		int err = smtp_reply_push(&c->reply, in, &consumed);
		if (err == ERR_AGAIN)
			return;
		if (err) {
			dialogue_broken(c, "the reply is no SMTP");
			return;
		}
		in = span_sub(in, consumed, in.len);
		dialogue_reply(c);
		smtp_reply_reset(&c->reply);
		if (c->state == CLIENT_TLS && in.len > 0) {
			/* Whoever put it there, it would count as said under the key that is only to be agreed. */
			dialogue_broken(c, "more came behind the 220 to STARTTLS, in clear text");
			return;
		}
	}
}

/* 0, ERR_AGAIN, ERR_EOF, or how the connection has failed. */
static int get(struct smtp_client *c, char bytes[READ_CHUNK], size_t *len_out)
{
	if (c->tls)
		return tls_read(c->tls, bytes, READ_CHUNK, len_out);
	ssize_t n;
	do
		n = recv(c->fd, bytes, READ_CHUNK, MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? ERR_AGAIN : err_from_errno(errno);
	*len_out = (size_t)n;
	return n > 0 ? 0 : ERR_EOF;
}

static void receive(struct smtp_client *c)
{
	char bytes[READ_CHUNK];
	size_t len;
	for (int budget = READ_BUDGET; budget > 0; budget--) {
		if (c->state == CLIENT_ENDED || c->state == CLIENT_TLS)
			return;
		int err = get(c, bytes, &len);
		if (err == ERR_AGAIN)
			return;
		if (err) {
			dialogue_broken(c, failure(c, err));
			return;
		}
		take(c, (struct span){ bytes, len });
		if (!c->tls && len < sizeof bytes)
			return;
	}
	if (c->tls)
		loop_task_post(c->loop, &c->read_task);
}

/* The handshake, as far as it goes now. */
static void shake_hands(struct smtp_client *c)
{
	struct reason why;
	if (!c->tls && tls_create(c->trust, c->fd, c->tls_name, c->tls_level, &c->tls) != 0) {
		dialogue_broken(c, "TLS can't be started: no memory");
		return;
	}
	switch (tls_handshake(c->tls, &why)) {
	case STEP_WAIT: return;
	case STEP_FAIL: dialogue_broken(c, why.text); return;
	case STEP_DONE:
		tls_describe(c->tls, c->tls_text);
		hello_encrypted(c);
		return;
	}
}

static void socket_ready(void *ctx, unsigned events)
{
	struct smtp_client *c = ctx;
	/* TLS may have to read before it can write, and the other way round. */
	if (c->tls || (events & (LOOP_READ | LOOP_HANGUP)))
		receive(c);
	if (c->state == CLIENT_TLS)
		shake_hands(c);
	client_flush(c);
}

static void read_on(void *ctx)
{
	socket_ready(ctx, LOOP_READ);
}

static void time_is_up(void *ctx)
{
	struct smtp_client *c = ctx;
	if (c->state == CLIENT_READY)
		smtp_client_quit(c);
	else
		dialogue_broken(c, "the server did not answer in time");
}

/* ---- life */

int smtp_client_create(int fd, const struct smtp_client_options *options, const struct smtp_client_events *events,
		       struct smtp_client **out)
{
	struct smtp_client *c = calloc(1, sizeof *c);
	if (!c)
		return ERR_NOMEM;
	c->loop = options->loop;
	c->events = *events;
	c->fd = fd;
	c->end_task = (struct loop_task){ .fn = call_ended, .ctx = c };
	(void)snprintf(c->hostname, sizeof c->hostname, "%s", options->hostname);
	(void)snprintf(c->remote, sizeof c->remote, "%s", options->remote);
	c->is_lmtp = options->is_lmtp;
	c->identity = options->identity;
	c->read_task = (struct loop_task){ .fn = read_on, .ctx = c };
	c->tls_level = options->tls;
	if (c->tls_level != TLS_NONE) {
		(void)snprintf(c->tls_name, sizeof c->tls_name, "%s", options->tls_name);
		c->trust = tls_trust_hold(options->trust);
	}
	c->reply_timeout_ms = options->reply_timeout_ms;
	c->idle_ms = options->idle_ms;
	c->out.cap = OUT_CAP;
	smtp_reply_reset(&c->reply);
	int err = loop_timer_create(c->loop, time_is_up, c, &c->timer);
	if (!err)
		err = loop_io_create(c->loop, fd, socket_ready, c, &c->io);
	if (!err)
		err = loop_io_want(c->io, LOOP_READ);
	if (err) {
		c->fd = -1;
		smtp_client_destroy(&c);
		return err;
	}
	client_set_state(c, CLIENT_GREETING);
	*out = c;
	return 0;
}

void smtp_client_destroy(struct smtp_client **client)
{
	struct smtp_client *c = *client;
	if (!c)
		return;
	loop_task_cancel(&c->end_task);
	loop_task_cancel(&c->read_task);
	loop_timer_destroy(&c->timer);
	loop_io_destroy(&c->io);
	tls_destroy(&c->tls);
	tls_trust_release(&c->trust);
	if (c->fd >= 0)
		(void)close(c->fd);
	buf_free(&c->out);
	buf_free(&c->plan.xforward);
	buf_free(&c->xclient);
	buf_free(&c->introduced);
	free(c);
	*client = NULL;
}

bool smtp_client_hides_clients(const struct smtp_client *client)
{
	return (client->identity == IDENTITY_XFORWARD && client->caps.xforward == 0) ||
	       (client->identity == IDENTITY_XCLIENT && client->caps.xclient == 0);
}

bool smtp_client_is_ready(const struct smtp_client *client)
{
	return client->state == CLIENT_READY;
}

void smtp_client_send(struct smtp_client *client, struct attempt *attempt)
{
	client->attempt = attempt;
	dialogue_begin(client);
	client_flush(client);
}

void smtp_client_quit(struct smtp_client *client)
{
	if (client->state != CLIENT_READY)
		return;
	client_set_state(client, CLIENT_QUIT);
	client_say(client, "QUIT\r\n");
	client_flush(client);
}
