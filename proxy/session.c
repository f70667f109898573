#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "smtp_reply.h"
#include "session_state.h"

#define LINGER_S 2u                /* for the client to read the last reply; a close with unread bytes would destroy it */
#define DATA_RATE_MIN 500u         /* bytes a second */
#define OUT_HIGH_BYTES 65536u      /* a client that reads nothing is read no further */
#define INPUT_AHEAD_BYTES 4096u    /* pipelined commands taken in while one waits */
#define INPUT_CAP_BYTES (2 * SESSION_SCRATCH_BYTES)

const struct conf *session_conf(const struct session *s)
{
	return &s->host->conf.conf;
}

const struct conf_listen *session_listen(const struct session *s)
{
	return &session_conf(s)->listen[s->listen_index];
}

static const char *state_name(enum session_state state)
{
	static const char *const names[] = { "fresh", "idle", "mail", "data", "checking", "storing", "linger", "dead" };
	return names[state];
}

void session_log_begin(const struct session *s, struct kv *kv, const char *event)
{
	kv_init(kv);
	kv_hex(kv, "sid", s->sid);
	kv_text(kv, "ev", event);
}

void session_set_state(struct session *s, enum session_state state)
{
	if (log_enabled(LOG_LEVEL_DEBUG)) {
		struct kv kv;
		session_log_begin(s, &kv, "state");
		kv_text(&kv, "from", state_name(s->state));
		kv_text(&kv, "to", state_name(state));
		log_kv(LOG_LEVEL_DEBUG, &kv);
	}
	s->state = state;
}

/* ---- time */

/* The clock runs while the client is to act.  It is not wound up again by every byte: a command must be complete in one
 * command-timeout, and data must come at DATA_RATE_MIN on the whole, so that a client that drips bytes holds nothing for long. */
static void arm_timer(struct session *s)
{
	const struct conf *conf = session_conf(s);
	uint64_t now = loop_now_ms(s->host->loop);
	uint64_t pause = 1000 * (s->state == SESSION_DATA ? conf->data_timeout_s : conf->command_timeout_s);
	uint64_t deadline = s->phase_ms + pause;
	if (s->state == SESSION_DATA)
		deadline += s->txn->data.seen_bytes * 1000 / DATA_RATE_MIN;
	uint64_t left = deadline > now ? deadline - now : 1;
	loop_timer_start(s->timer, left < pause ? left : pause);
}

/* ---- the end */

static void list_add(struct session **head, struct session *s)
{
	s->prev = NULL;
	s->next = *head;
	if (s->next)
		s->next->prev = s;
	*head = s;
}

static void list_remove(struct session **head, struct session *s)
{
	if (s->prev)
		s->prev->next = s->next;
	else
		*head = s->next;
	if (s->next)
		s->next->prev = s->prev;
}

static void free_session(struct session *s)
{
	struct session_host *host = s->host;
	session_txn_reset(s);
	reply_queue_free(&s->replies);
	policy_close(&s->policy);
	buf_free(&s->in);
	buf_free(&s->out);
	free(s->helo);
	list_remove(&host->dead, s);
	host->session_count--;
	counter_sub(host->counters, COUNTER_SESSIONS, 1);
	free(s);
}

static void reap(void *ctx)
{
	struct session_host *host = ctx;
	while (host->dead)
		free_session(host->dead);
	if (host->is_draining && host->session_count == 0)
		host->emptied(host->emptied_ctx);
}

void session_host_init(struct session_host *host)
{
	host->reap = (struct loop_task){ .fn = reap, .ctx = host };
}

void session_close(struct session *s, const char *why)
{
	if (s->state == SESSION_DEAD)
		return;
	struct kv kv;
	session_log_begin(s, &kv, "disconnect");
	kv_addr(&kv, "client", &s->where.client.addr);
	kv_text(&kv, "why", why);
	kv_text(&kv, "state", state_name(s->state));
	kv_u64(&kv, "messages", s->messages);
	log_kv(LOG_LEVEL_INFO, &kv);
	session_log_null(s);
	session_set_state(s, SESSION_DEAD);
	const struct client_limits limits = session_client_limits(s->host);
	client_table_leave(s->host->clients, &limits, loop_now_ms(s->host->loop), &s->client);
	loop_io_destroy(&s->io);
	loop_timer_destroy(&s->timer);
	if (s->fd >= 0)
		(void)close(s->fd);
	/* Its number may be another client's before the policy is closed. */
	s->fd = s->policy.fd = -1;
	/* Callers further up the stack still hold s. */
	list_remove(&s->host->sessions, s);
	list_add(&s->host->dead, s);
	loop_task_post(s->host->loop, &s->host->reap);
}

/* ---- replies */

static void out_of_memory(struct session *s)
{
	session_close(s, "out of memory");
}

static void reply_text(struct session *s, unsigned code, const char *enhanced, struct span text, bool closes)
{
	struct buf lines = { .cap = 16384 };
	if (smtp_reply_append(&lines, code, enhanced, text) != 0 ||
	    reply_queue_fill(&s->replies, NULL, buf_span(&lines), closes, closes ? 0 : session_tarpit_ms(s)) != 0)
		out_of_memory(s);
	buf_free(&lines);
}

#define FORMAT_REPLY(text)                                      \
	char text[512];                                         \
	va_list ap;                                             \
	va_start(ap, fmt);                                      \
	(void)vsnprintf(text, sizeof text, fmt, ap);            \
	va_end(ap)

void session_reply(struct session *s, unsigned code, const char *enhanced, const char *fmt, ...)
{
	FORMAT_REPLY(text);
	reply_text(s, code, enhanced, span_of(text), false);
}

void session_reply_const(struct session *s, const struct smtp_reply_text *reply)
{
	reply_text(s, reply->code, reply->enhanced, span_of(reply->text), false);
}

void session_last_reply(struct session *s, unsigned code, const char *enhanced, const char *fmt, ...)
{
	FORMAT_REPLY(text);
	reply_text(s, code, enhanced, span_of(text), true);
}

static void reply_line(struct session *s, struct reply_slot *slot, struct span line, bool closes, uint64_t hold_ms)
{
	struct buf lines = { .cap = 1024 };
	if (buf_append_span(&lines, line) != 0 || buf_append(&lines, "\r\n", 2) != 0 ||
	    reply_queue_fill(&s->replies, slot, buf_span(&lines), closes, hold_ms) != 0)
		out_of_memory(s);
	buf_free(&lines);
}

void session_reply_line(struct session *s, struct reply_slot *slot, struct span line, bool closes, uint64_t hold_ms)
{
	uint64_t pit_ms = closes ? 0 : session_tarpit_ms(s);
	reply_line(s, slot, line, closes, pit_ms > hold_ms ? pit_ms : hold_ms);
}

void session_reply_at_once(struct session *s, struct reply_slot *slot, struct span line, bool closes)
{
	reply_line(s, slot, line, closes, 0);
}

static void count_error(struct session *s)
{
	if (++s->errors < session_conf(s)->max_errors)
		return;
	session_log_deterred(s, COUNTER_TOO_MANY_ERRORS, "max-errors is reached");
	session_last_reply(s, 421, "4.7.0", "%s too many errors, closing connection", session_conf(s)->hostname);
}

void session_error(struct session *s, unsigned code, const char *enhanced, const char *fmt, ...)
{
	FORMAT_REPLY(text);
	reply_text(s, code, enhanced, span_of(text), false);
	count_error(s);
}

void session_error_const(struct session *s, const struct smtp_reply_text *reply)
{
	session_reply_const(s, reply);
	count_error(s);
}

/* ---- input */

static bool can_use_input(const struct session *s)
{
	if (s->state >= SESSION_CHECKING || s->replies.is_closing || s->out.len > OUT_HIGH_BYTES)
		return false;
	return s->state == SESSION_DATA ? !s->is_spool_waiting && !s->is_check_waiting : !s->is_held;
}

/* One line, or less, from the front of the bytes.  Returns how many were used; 0: nothing can be done with them now. */
static size_t use_line(struct session *s, struct span bytes)
{
	struct span line;
	size_t drop;
	/* A command that has to wait must be found again as a whole: framing of a ready line leaves no trace in the state. */
	enum smtp_line_result result = smtp_line_next(&s->line, bytes, &line, &drop);
	if (result == SMTP_LINE_MORE)
		return drop;
	s->phase_ms = loop_now_ms(s->host->loop);
	if (result != SMTP_LINE_READY) {
		/* The complaint takes its turn behind what is waiting, as a command that can't overlap would. */
		s->held_fault = result;
		s->is_held = !reply_queue_is_empty(&s->replies);
		return drop;
	}
	if (session_command(s, line))
		return drop;
	s->is_held = true;
	/* The line stays; the rest of a faulty one in front of it must not come back as a command. */
	return (size_t)(line.ptr - bytes.ptr);
}

/* Returns how many bytes were used. */
static size_t use_input(struct session *s, struct span bytes)
{
	size_t used = 0;
	while (can_use_input(s)) {
		if (s->held_fault != SMTP_LINE_MORE) {
			session_error_const(s, smtp_line_fault_reply(s->held_fault));
			s->held_fault = SMTP_LINE_MORE;
			continue;
		}
		if (used == bytes.len)
			break;
		struct span rest = span_sub(bytes, used, bytes.len);
		size_t n = s->state == SESSION_DATA ? session_data_push(s, rest) : use_line(s, rest);
		if (n == 0)
			break;
		used += n;
	}
	return used;
}

static void flush_output(struct session *s)
{
	if (s->is_tarpitted && s->replies.closes && session_stutter(s))
		return;
	while (s->out.len && s->state != SESSION_DEAD) {
		ssize_t n = send(s->fd, s->out.data, s->out.len, MSG_NOSIGNAL);
		if (n > 0)
			buf_consume(&s->out, (size_t)n);
		else if (n < 0 && errno == EAGAIN)
			return;
		else if (n < 0 && errno != EINTR)
			session_close(s, strerror(errno));
	}
	buf_free(&s->out);
}

static void begin_linger(struct session *s)
{
	session_txn_reset(s);
	session_set_state(s, SESSION_LINGER);
	buf_free(&s->in);
	(void)shutdown(s->fd, SHUT_WR);
	loop_timer_start(s->timer, LINGER_S * 1000);
}

/* With the draining worker's patience only a transaction holds a session up. */
static void drain_if_idle(struct session *s)
{
	if (s->host->is_draining && s->state <= SESSION_IDLE && !s->replies.is_closing && reply_queue_is_empty(&s->replies))
		session_last_reply(s, 421, "4.3.2", "%s shutting down, try again later", session_conf(s)->hostname);
}

static void set_interest(struct session *s)
{
	bool waits_for_us = !can_use_input(s) || !reply_queue_is_empty(&s->replies);
	unsigned want = s->out.len ? LOOP_WRITE : 0;
	if (s->state == SESSION_LINGER || (!s->has_eof && s->in.len < (waits_for_us ? INPUT_AHEAD_BYTES : INPUT_CAP_BYTES)))
		want |= LOOP_READ;
	if (s->state == SESSION_DATA && (s->is_spool_waiting || s->is_check_waiting))
		want &= ~(unsigned)LOOP_READ;
	if (loop_io_want(s->io, want) != 0) {
		session_close(s, "cannot be polled");
		return;
	}
	if (s->state == SESSION_LINGER)
		return;
	/* While the client waits for us its time stands still. */
	if (waits_for_us || s->has_waited)
		s->phase_ms = loop_now_ms(s->host->loop);
	s->has_waited = waits_for_us;
	/* To act is to send the next bytes, or to read ours. */
	if (waits_for_us && !s->out.len)
		loop_timer_stop(s->timer);
	else
		arm_timer(s);
}

/* Commands and replies in turn: one packet can hold commands for more replies than may wait at once, and when those are sent nothing
 * else will happen that could make us look at the rest. */
static void use_and_flush(struct session *s)
{
	bool could_use;
	size_t used;
	do {
		if (reply_queue_is_empty(&s->replies))
			s->is_held = false;
		could_use = can_use_input(s);
		used = use_input(s, buf_span(&s->in));
		buf_consume(&s->in, used);
		drain_if_idle(s);
		flush_output(s);
	} while (s->in.len && can_use_input(s) && (used || !could_use));
}

void session_go_on(struct session *s)
{
	if (s->state == SESSION_DEAD || s->is_running)
		return;
	s->is_running = true;
	drain_if_idle(s);
	use_and_flush(s);
	if (s->in.len == 0)
		buf_free(&s->in);
	s->is_running = false;
	if (s->state == SESSION_DEAD)
		return;
	if (s->replies.closes && s->out.len == 0 && s->state != SESSION_LINGER) {
		if (s->has_eof || s->is_quitting)
			session_close(s, "done");
		else
			begin_linger(s);
	} else if (s->has_eof && can_use_input(s) && s->out.len == 0 && reply_queue_is_empty(&s->replies)) {
		/* Nothing that is here can be used any more, and no more will come. */
		session_close(s, s->state == SESSION_DATA ? "client left in the middle of its data" : "client left");
	}
	if (s->state != SESSION_DEAD)
		set_interest(s);
}

/* ---- events */

static void take_bytes(struct session *s, struct span bytes)
{
	size_t used = 0;
	if (s->in.len == 0) {
		/* The usual case: nothing is copied. */
		s->is_running = true;
		used = use_input(s, bytes);
		s->is_running = false;
	}
	if (s->state != SESSION_DEAD && buf_append_span(&s->in, span_sub(bytes, used, bytes.len)) != 0)
		session_close(s, "more input than was agreed on");
}

static void read_ready(struct session *s)
{
	ssize_t n = recv(s->fd, s->host->scratch, sizeof s->host->scratch, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n < 0) {
		session_close(s, strerror(errno));
		return;
	}
	if (s->state == SESSION_LINGER) {
		if (n == 0)
			session_close(s, "done");
		return;
	}
	if (n == 0 && s->is_greeting) {
		session_close(s, "client left before the greeting");
		return;
	}
	if (n == 0)
		s->has_eof = true;
	else if (s->is_greeting)
		session_talks_early(s);
	else
		take_bytes(s, (struct span){ s->host->scratch, (size_t)n });
	session_go_on(s);
}

static void io_ready(void *ctx, unsigned events)
{
	struct session *s = ctx;
	if (events & LOOP_READ)
		read_ready(s);
	if (events & LOOP_WRITE && s->state != SESSION_DEAD)
		session_go_on(s);
}

static void timed_out(void *ctx)
{
	struct session *s = ctx;
	if (s->state == SESSION_LINGER || s->out.len) {
		session_close(s, s->state == SESSION_LINGER ? "done" : "client does not read");
		return;
	}
	session_last_reply(s, 421, "4.4.2", "%s timeout exceeded, closing connection", session_conf(s)->hostname);
	/* What waits is not run any more. */
	buf_free(&s->in);
	session_go_on(s);
}

static void replies_ready(void *ctx)
{
	struct session *s = ctx;
	/* The first reply that was held back is the greeting, where that was. */
	s->is_greeting = false;
	session_go_on(s);
}

/* ---- the beginning */

int session_create(struct session_host *host, int fd, uint32_t listen_index, const struct origdst *where, const struct endpoint *balancer,
		   struct client *client)
{
	struct session *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->host = host;
	s->fd = fd;
	s->sid = host->next_sid++;
	s->listen_index = listen_index;
	s->where = *where;
	s->client = client;
	s->is_relayed = balancer != NULL;
	/* It looks after us again and again. */
	s->is_accounted = balancer && endpoint_eq(balancer, &where->client);
	s->phase_ms = loop_now_ms(host->loop);
	s->in.cap = INPUT_CAP_BYTES + SESSION_SCRATCH_BYTES;
	int err = loop_io_create(host->loop, fd, io_ready, s, &s->io);
	if (!err)
		err = loop_timer_create(host->loop, timed_out, s, &s->timer);
	if (err) {
		loop_io_destroy(&s->io);
		free(s);
		return err;
	}
	list_add(&host->sessions, s);
	host->session_count++;
	counter_add(host->counters, COUNTER_SESSIONS, 1);

	const struct conf_listen *l = session_listen(s);
	smtp_line_init(&s->line, SMTP_LINE_EXTENDED_CAP, session_conf(s)->bare_lf == BARE_LF_NORMALIZE);
	reply_queue_init(&s->replies, host->loop, &s->out, replies_ready, s);
	policy_open(&s->policy, host, s->sid, balancer ? -1 : fd, listen_index, where, session_facts_arrived, s);

	struct kv kv;
	session_log_begin(s, &kv, "connect");
	kv_endpoint(&kv, "client", &where->client);
	kv_endpoint(&kv, "dst", &where->original);
	if (balancer)
		kv_endpoint(&kv, "balancer", balancer);
	kv_text(&kv, "iface", l->iface);
	kv_text(&kv, "trust", l->trusted ? "trusted" : "untrusted");
	if (where->mark)
		kv_printf(&kv, "mark", "0x%x", where->mark);
	log_kv(LOG_LEVEL_INFO, &kv);
	session_greet(s);
	session_go_on(s);
	return 0;
}

void session_drain_all(struct session_host *host)
{
	for (struct session *s = host->sessions, *next; s; s = next) {
		next = s->next;
		session_go_on(s);
	}
}

void session_destroy_all(struct session_host *host)
{
	/* Freed on the next turn of the loop. */
	while (host->sessions)
		session_close(host->sessions, "the worker ends");
}
