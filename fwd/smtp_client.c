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
#define READ_CHUNK 4096u
#define READ_BUDGET 8         /* chunks a turn */
#define QUIT_MS 5000u
#define OUT_CAP (16u << 20)

static const char *const state_names[] = { "greeting", "ehlo",   "helo",  "ready", "xclient", "xhelo", "envelope",
					   "body",     "result", "reset", "quit",  "ended" };

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

/* False: the connection has ended. */
static bool send_commands(struct smtp_client *c)
{
	while (c->out.len > 0) {
		ssize_t n = send(c->fd, c->out.data, c->out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n < 0) {
			dialogue_broken(c, strerror(errno));
			return false;
		}
		buf_consume(&c->out, (size_t)n);
	}
	return true;
}

/* Straight from the spool's file into the socket.  The body has wire form, final dot included. */
static void send_body(struct smtp_client *c)
{
	const struct spool_body_source *body = &c->attempt->body;
	uint64_t budget = BODY_CHUNK;
	while (c->body_sent < body->len && budget > 0) {
		off_t at = (off_t)(body->offset + c->body_sent);
		uint64_t left = body->len - c->body_sent;
		ssize_t n = sendfile(c->fd, body->fd, &at, (size_t)(left < budget ? left : budget));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			/* Hanging up without the final dot is the one way to take back what was sent. */
			dialogue_broken(c, n == 0 ? "the spool file is shorter than it should be" : strerror(errno));
			return;
		}
		c->body_sent += (uint64_t)n;
		budget -= (uint64_t)n;
		client_set_state(c, CLIENT_BODY);
	}
	if (c->body_sent == body->len)
		client_set_state(c, CLIENT_RESULT);
}

void client_flush(struct smtp_client *c)
{
	if (c->state == CLIENT_ENDED || !send_commands(c))
		return;
	if (c->state == CLIENT_BODY && c->out.len == 0)
		send_body(c);
	if (c->state == CLIENT_ENDED)
		return;
	(void)loop_io_want(c->io, c->out.len > 0 || c->state == CLIENT_BODY ? LOOP_READ | LOOP_WRITE : LOOP_READ);
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
	}
}

static void receive(struct smtp_client *c)
{
	char bytes[READ_CHUNK];
	for (int budget = READ_BUDGET; budget > 0 && c->state != CLIENT_ENDED; budget--) {
		ssize_t n = recv(c->fd, bytes, sizeof bytes, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			dialogue_broken(c, n == 0 ? "the server hung up" : strerror(errno));
			return;
		}
		take(c, (struct span){ bytes, (size_t)n });
		if ((size_t)n < sizeof bytes)
			return;
	}
}

static void socket_ready(void *ctx, unsigned events)
{
	struct smtp_client *c = ctx;
	if (events & (LOOP_READ | LOOP_HANGUP))
		receive(c);
	client_flush(c);
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
	loop_timer_destroy(&c->timer);
	loop_io_destroy(&c->io);
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
