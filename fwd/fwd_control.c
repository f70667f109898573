#include "fwd_control.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attempt.h"
#include "log.h"
#include "scheduler.h"
#include "settle.h"
#include "smtp_dot.h"

#define LIST_BUDGET 32u    /* messages a turn of the loop */
#define CAT_CHUNK 32768u   /* half a packet: text never grows when it is made native */
#define WORDS_MAX 512u

/* ---- status */

static void answer_status(struct forwarder *f, struct control_client *client)
{
	struct scheduler_figures now;
	struct kv kv;
	scheduler_figures(f->scheduler, &now);
	kv_init(&kv);
	kv_text(&kv, "what", "forwarder");
	kv_i64(&kv, "pid", getpid());
	kv_i64(&kv, "uptime_s", loop_wall_time() - f->started_time);
	kv_text(&kv, "sockets", broker_is_alive(f->broker) ? "marked" : "plain");
	kv_u64(&kv, "messages", f->messages.count);
	kv_u64(&kv, "ready", now.ready);
	kv_u64(&kv, "active", now.active);
	kv_u64(&kv, "waiting", now.waiting);
	kv_u64(&kv, "received", f->stats.received);
	kv_u64(&kv, "delivered", f->stats.delivered);
	kv_u64(&kv, "deferred", f->stats.deferred);
	kv_u64(&kv, "bounced", f->stats.bounced);
	kv_u64(&kv, "deleted", f->stats.deleted);
	kv_u64(&kv, "bad", f->stats.bad);
	kv_u64(&kv, "reports", f->stats.reports);
	kv_u64(&kv, "reports_withheld", f->stats.reports_withheld);
	kv_u64(&kv, "attempts", f->stats.attempts);
	kv_u64(&kv, "recipients_delivered", f->stats.recipients_delivered);
	kv_u64(&kv, "recipients_failed", f->stats.recipients_failed);
	kv_u64(&kv, "connections", now.connections);
	kv_u64(&kv, "connections_idle", now.idle_connections);
	kv_u64(&kv, "connections_made", f->stats.connections);
	kv_u64(&kv, "children", now.children);
	kv_u64(&kv, "destinations", now.destinations);
	kv_u64(&kv, "destinations_down", now.destinations_down);
	kv_u64(&kv, "segments", journal_segment_count(f->journal));
	int err = control_line(client, &kv);
	control_end(client, err, err ? err_name(err) : "");
}

/* ---- about one message */

static void put_path(struct kv *kv, const char *key, struct span path)
{
	kv_printf(kv, key, "<%.*s>", SPAN_FMT(path));
}

static const char *state_of(const struct fwd_message *m)
{
	return m->state == FWD_SETTLING ? "active" : fwd_state_name((enum fwd_state)m->state);
}

static uint64_t seconds_to_next(const struct forwarder *f, const struct fwd_message *m)
{
	int64_t now = loop_wall_time();
	if (m->state == FWD_READY)
		return destination_probe_s(f->scheduler, m->destination);
	return m->state == FWD_WAITING && m->next_time > now ? (uint64_t)(m->next_time - now) : 0;
}

/* a NULL: it can't be read at the moment. */
static void put_summary(struct kv *kv, const struct forwarder *f, const struct fwd_message *m, const struct attempt *a)
{
	struct span error = a ? a->last_text : SPAN_NONE;
	if (error.len == 0 && m->destination)
		error = span_of(destination_error(m->destination));
	int64_t age = loop_wall_time() - m->accepted_time;
	kv_text(kv, "id", m->id.text);
	put_path(kv, "from", a ? a->envelope.from : SPAN_LIT("?"));
	kv_u64(kv, "rcpts", m->recipients);
	kv_u64(kv, "size", m->size_bytes);
	kv_i64(kv, "age_s", age > 0 ? age : 0);
	kv_text(kv, "state", state_of(m));
	kv_u64(kv, "attempts", m->attempts);
	kv_u64(kv, "next_s", seconds_to_next(f, m));
	kv_text(kv, "destination", m->destination ? destination_key(m->destination) : "");
	kv_addr(kv, "client", a ? &a->envelope.client.addr : &(struct addr){ .family = ADDR_NONE });
	kv_span(kv, "error", error);
}

static bool is_held(const struct fwd_message *m)
{
	return m->state == FWD_HELD;
}

static struct attempt *load(struct forwarder *f, struct fwd_message *m, int *err_out)
{
	struct attempt *a = NULL;
	int err = attempt_load(&f->in.dirs, m, &a);
	*err_out = err == ERR_EOF ? 0 : err;
	return a;
}

/* ---- answers that take several turns */

struct answer {
	struct forwarder *f;
	struct control_client *client;
	struct loop_task task;
	/* list, show */
	struct spool_id *ids;
	size_t count, at;
	/* show, cat */
	struct attempt *attempt;
	uint64_t sent;
	struct smtp_undot undot;
	struct buf native;
};

static void answer_free(struct answer *answer)
{
	loop_task_cancel(&answer->task);
	attempt_destroy(&answer->attempt);
	buf_free(&answer->native);
	free(answer->ids);
	free(answer);
}

static void asker_gone(void *ctx)
{
	answer_free(ctx);
}

static void finish(struct answer *answer, int err, const char *text)
{
	struct control_client *client = answer->client;
	control_on_gone(client, NULL, NULL);
	control_on_room(client, NULL, NULL);
	answer_free(answer);
	control_end(client, err, text);
}

static void go_on(void *ctx)
{
	struct answer *answer = ctx;
	loop_task_post(answer->f->loop, &answer->task);
}

static struct answer *answer_create(struct forwarder *f, struct control_client *client, loop_fn turn)
{
	struct answer *answer = calloc(1, sizeof *answer);
	if (!answer) {
		control_end(client, ERR_NOMEM, "no memory");
		return NULL;
	}
	answer->f = f;
	answer->client = client;
	answer->task = (struct loop_task){ .fn = turn, .ctx = answer };
	control_on_gone(client, asker_gone, answer);
	control_on_room(client, go_on, answer);
	loop_task_post(f->loop, &answer->task);
	return answer;
}

static void list_turn(void *ctx)
{
	struct answer *answer = ctx;
	struct forwarder *f = answer->f;
	for (unsigned budget = LIST_BUDGET; answer->at < answer->count; budget--) {
		if (budget == 0) {
			loop_task_post(f->loop, &answer->task);
			return;
		}
		struct fwd_message *m = fwd_table_find(&f->messages, &answer->ids[answer->at]);
		if (!m) {
			answer->at++;
			continue;
		}
		struct kv kv;
		int err;
		struct attempt *a = load(f, m, &err);
		kv_init(&kv);
		put_summary(&kv, f, m, a);
		attempt_destroy(&a);
		err = control_line(answer->client, &kv);
		if (err == ERR_AGAIN)
			return;
		answer->at++;
	}
	finish(answer, 0, "");
}

static void answer_list(struct forwarder *f, struct control_client *client)
{
	struct answer *answer = answer_create(f, client, list_turn);
	if (answer)
		answer->ids = fwd_table_ids(&f->messages, &answer->count);
}

static void put_circumstances(struct kv *kv, const struct attempt *a)
{
	const struct spool_envelope *e = &a->envelope;
	kv_i64(kv, "time", e->time);
	kv_endpoint(kv, "dst", &e->dst);
	kv_span(kv, "iface", e->iface);
	kv_span(kv, "listener", e->listener);
	kv_span(kv, "client_name", e->client_name);
	kv_span(kv, "helo", e->helo);
	kv_span(kv, "proto", e->proto);
	kv_text(kv, "trust", e->is_trusted ? "trusted" : "untrusted");
	kv_text(kv, "body", spool_record_is_large(&a->record) ? "large" : "inline");
}

static bool is_to_do(const struct attempt *a, size_t index)
{
	for (size_t i = 0; i < a->todo_count; i++) {
		if (a->todo[i].index == index)
			return true;
	}
	return false;
}

/* Line 0 is the message, the others its recipients. */
static void show_turn(void *ctx)
{
	struct answer *answer = ctx;
	const struct attempt *a = answer->attempt;
	for (unsigned budget = LIST_BUDGET; answer->at <= a->envelope.recipient_count; budget--) {
		struct kv kv;
		if (budget == 0) {
			loop_task_post(answer->f->loop, &answer->task);
			return;
		}
		kv_init(&kv);
		kv_text(&kv, "what", answer->at == 0 ? "message" : "recipient");
		if (answer->at == 0) {
			const struct fwd_message *m = fwd_table_find(&answer->f->messages, &answer->ids[0]);
			if (m)
				put_summary(&kv, answer->f, m, a);
			put_circumstances(&kv, a);
		} else {
			size_t i = answer->at - 1;
			const struct spool_recipient_state *state = a->states ? &a->states[i] : NULL;
			put_path(&kv, "rcpt", a->envelope.recipients[i].path);
			kv_text(&kv, "state", is_to_do(a, i) ? "waiting" : state ? spool_outcome_name(state->outcome) : "settled");
			kv_span(&kv, "text", state ? state->text : SPAN_NONE);
		}
		if (control_line(answer->client, &kv) == ERR_AGAIN)
			return;
		answer->at++;
	}
	finish(answer, 0, "");
}

static void cat_turn(void *ctx)
{
	struct answer *answer = ctx;
	const struct spool_body_source *body = &answer->attempt->body;
	char wire[CAT_CHUNK];
	if (answer->native.len == 0 && answer->sent < body->len) {
		uint64_t left = body->len - answer->sent;
		ssize_t n = pread(body->fd, wire, left < sizeof wire ? (size_t)left : sizeof wire,
				  (off_t)(body->offset + answer->sent));
		if (n <= 0 || smtp_undot_push(&answer->undot, (struct span){ wire, (size_t)n }, &answer->native) != 0) {
			finish(answer, ERR_IO, "its body can't be read");
			return;
		}
		answer->sent += (uint64_t)n;
	}
	if (answer->native.len > 0 && control_bytes(answer->client, buf_span(&answer->native)) == ERR_AGAIN)
		return;
	buf_clear(&answer->native);
	if (answer->sent == body->len)
		finish(answer, 0, "");
	else
		loop_task_post(answer->f->loop, &answer->task);
}

static void answer_message(struct forwarder *f, struct control_client *client, struct fwd_message *m, loop_fn turn)
{
	int err;
	struct attempt *a = load(f, m, &err);
	struct answer *answer = a ? answer_create(f, client, turn) : NULL;
	if (!a) {
		control_end(client, err, "it can't be read at the moment");
		return;
	}
	if (!answer) {
		attempt_destroy(&a);
		return;
	}
	answer->attempt = a;
	smtp_undot_init(&answer->undot);
	answer->ids = malloc(sizeof *answer->ids);
	if (answer->ids)
		answer->ids[0] = m->id;
	else
		finish(answer, ERR_NOMEM, "no memory");
}

/* ---- changes */

static int retry(struct forwarder *f, struct fwd_message *m)
{
	if (is_held(m))
		return ERR_INVAL;
	/* One that is being tried is being tried. */
	if (m->state == FWD_WAITING || m->state == FWD_READY)
		scheduler_retry(f->scheduler, m);
	return 0;
}

static int retry_all(struct forwarder *f)
{
	size_t count;
	struct spool_id *ids = fwd_table_ids(&f->messages, &count);
	for (size_t i = 0; i < count; i++) {
		struct fwd_message *m = fwd_table_find(&f->messages, &ids[i]);
		if (m)
			(void)retry(f, m);
	}
	free(ids);
	return 0;
}

static int change(struct forwarder *f, struct span verb, struct fwd_message *m)
{
	if (span_eq(verb, SPAN_LIT("retry")))
		return retry(f, m);
	if (span_eq(verb, SPAN_LIT("delete")))
		return settle_wish(f->settle, m, SETTLE_DELETE);
	return settle_wish(f->settle, m, span_eq(verb, SPAN_LIT("hold")) ? SETTLE_HOLD : SETTLE_RELEASE);
}

static const char *complaint(int err)
{
	switch (err) {
	case ERR_NOTFOUND: return "no such message";
	case ERR_BUSY: return "it is being delivered at this moment: try again";
	case ERR_INVAL: return "not possible in its state";
	case ERR_SYNTAX: return "that is no message id";
	default: return err_name(err);
	}
}

static struct fwd_message *find(struct forwarder *f, struct span word, int *err_out)
{
	struct spool_id id;
	struct fwd_message *m = NULL;
	*err_out = spool_id_parse(word, &id);
	if (!*err_out) {
		m = fwd_table_find(&f->messages, &id);
		*err_out = m ? 0 : ERR_NOTFOUND;
	}
	return m;
}

/* Every id is tried; the answer names the first that could not be changed. */
static void answer_change(struct forwarder *f, struct control_client *client, struct span verb, const struct span *words,
			  size_t count)
{
	struct reason why = { "" };
	int failed = 0;
	if (count == 1 && span_eq(verb, SPAN_LIT("retry")) && span_eq(words[0], SPAN_LIT("all"))) {
		control_end(client, retry_all(f), "");
		return;
	}
	for (size_t i = 0; i < count; i++) {
		int err;
		struct fwd_message *m = find(f, words[i], &err);
		if (!err)
			err = change(f, verb, m);
		if (err && !failed)
			failed = reason_set(&why, err, "%.*s: %s", SPAN_FMT(words[i]), complaint(err));
	}
	control_end(client, failed, why.text);
}

/* ---- questions */

static void answer_queue(struct forwarder *f, struct control_client *client, const struct span *words, size_t count)
{
	static const char *const changes[] = { "delete", "hold", "release", "retry" };
	struct span verb = count > 0 ? words[0] : SPAN_NONE;
	if (span_eq(verb, SPAN_LIT("list"))) {
		answer_list(f, client);
		return;
	}
	bool is_show = span_eq(verb, SPAN_LIT("show"));
	if ((is_show || span_eq(verb, SPAN_LIT("cat"))) && count == 2) {
		int err;
		struct fwd_message *m = find(f, words[1], &err);
		if (err)
			control_end(client, err, complaint(err));
		else
			answer_message(f, client, m, is_show ? show_turn : cat_turn);
		return;
	}
	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		if (span_eq(verb, span_of(changes[i])) && count > 1) {
			answer_change(f, client, verb, words + 1, count - 1);
			return;
		}
	}
	control_end(client, ERR_SYNTAX, "queue list, show ID, cat ID, delete ID..., hold ID..., release ID..., retry ID...|all");
}

void fwd_control_ask(void *ctx, struct control_client *client, struct span request)
{
	struct span words[WORDS_MAX], rest = span_trim(request), word;
	size_t count = 0;
	while (count < WORDS_MAX && span_cut(&rest, ' ', &word)) {
		word = span_trim(word);
		if (word.len > 0)
			words[count++] = word;
	}
	if (count == 1 && span_eq(words[0], SPAN_LIT("status")))
		answer_status(ctx, client);
	else if (count > 0 && span_eq(words[0], SPAN_LIT("queue")))
		answer_queue(ctx, client, words + 1, count - 1);
	else
		control_end(client, ERR_SYNTAX, "posternfwd answers: status, queue ...");
}
