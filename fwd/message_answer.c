#include "message_answer.h"

#include <stdlib.h>
#include <unistd.h>

#include "attempt.h"
#include "message_copy.h"
#include "queue_summary.h"
#include "smtp_dot.h"

#define SHOW_BUDGET 32u    /* recipients a turn of the loop */
#define CAT_CHUNK 32768u   /* half a packet: text never grows when it is made native */

struct answer {
	struct forwarder *f;
	struct control_client *client; /* NULL: the asker went while a job ran, whose end frees the answer */
	struct loop_task task;
	loop_fn turn;             /* what comes behind the reading */
	bool is_reading;

	/* of the message, and of the jobs */
	struct fwd_message copy;
	struct attempt *attempt;  /* NULL: not read yet */
	int err;

	size_t at;                /* show: the next line */
	uint64_t read;            /* cat: bytes of the body */
	ssize_t got;              /* by the job */
	bool has_piece;           /* in wire, that was not looked at yet */
	char wire[CAT_CHUNK];
	struct smtp_undot undot;
	struct buf native;
};

static void answer_free(struct answer *answer)
{
	loop_task_cancel(&answer->task);
	attempt_destroy(&answer->attempt);
	message_copy_clear(&answer->copy);
	buf_free(&answer->native);
	free(answer);
}

static void asker_gone(void *ctx)
{
	struct answer *answer = ctx;
	answer->client = NULL;
	if (!answer->is_reading)
		answer_free(answer);
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
	if (!answer->is_reading)
		loop_task_post(answer->f->loop, &answer->task);
}

/* ---- jobs: one at a time an answer */

static void read_done(void *ctx)
{
	struct answer *answer = ctx;
	answer->is_reading = false;
	answer->f->read_jobs--;
	if (answer->client)
		answer->turn(answer);
	else
		answer_free(answer);
}

static void load_work(void *ctx)
{
	struct answer *answer = ctx;
	int err = attempt_load(&answer->f->in.dirs, &answer->copy, &answer->attempt);
	answer->err = err == ERR_EOF ? 0 : err;
}

static void piece_work(void *ctx)
{
	struct answer *answer = ctx;
	const struct spool_body_source *body = &answer->attempt->body;
	uint64_t left = body->len - answer->read;
	answer->has_piece = true;
	answer->got = pread(body->fd, answer->wire, left < CAT_CHUNK ? (size_t)left : CAT_CHUNK, (off_t)(body->offset + answer->read));
}

static void start_reading(struct answer *answer, loop_fn work)
{
	int err = loop_job_start(answer->f->loop, work, read_done, answer);
	if (err) {
		finish(answer, err, err_name(err));
		return;
	}
	answer->is_reading = true;
	answer->f->read_jobs++;
}

static void answer_message(struct forwarder *f, struct control_client *client, const struct fwd_message *m, loop_fn turn)
{
	struct answer *answer = calloc(1, sizeof *answer);
	if (!answer || message_copy_make(&answer->copy, m) != 0) {
		free(answer);
		control_end(client, ERR_NOMEM, "no memory");
		return;
	}
	answer->f = f;
	answer->client = client;
	answer->turn = turn;
	answer->task = (struct loop_task){ .fn = turn, .ctx = answer };
	smtp_undot_init(&answer->undot);
	control_on_gone(client, asker_gone, answer);
	control_on_room(client, go_on, answer);
	start_reading(answer, load_work);
}

/* True: it could not be read, and the asker was told. */
static bool has_failed(struct answer *answer)
{
	if (answer->attempt)
		return false;
	/* Moved or settled since it was found in the table, as a rule. */
	finish(answer, answer->err ? answer->err : ERR_NOTFOUND, "it can't be read at the moment");
	return true;
}

/* ---- show */

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
	if (has_failed(answer))
		return;
	const struct attempt *a = answer->attempt;
	for (unsigned budget = SHOW_BUDGET; answer->at <= a->envelope.recipient_count; budget--) {
		struct kv kv;
		if (budget == 0) {
			loop_task_post(answer->f->loop, &answer->task);
			return;
		}
		kv_init(&kv);
		kv_text(&kv, "what", answer->at == 0 ? "message" : "recipient");
		if (answer->at == 0) {
			const struct fwd_message *m = fwd_table_find(&answer->f->messages, &answer->copy.id);
			if (m)
				queue_summary_put(&kv, answer->f, m, a);
			put_circumstances(&kv, a);
		} else {
			size_t i = answer->at - 1;
			const struct spool_recipient_state *state = a->states ? &a->states[i] : NULL;
			queue_summary_put_path(&kv, "rcpt", a->envelope.recipients[i].path);
			kv_text(&kv, "state", is_to_do(a, i) ? "waiting" : state ? spool_outcome_name(state->outcome) : "settled");
			kv_span(&kv, "text", state ? state->text : SPAN_NONE);
		}
		if (control_line(answer->client, &kv) == ERR_AGAIN)
			return;
		answer->at++;
	}
	finish(answer, 0, "");
}

void message_answer_show(struct forwarder *f, struct control_client *client, const struct fwd_message *m)
{
	answer_message(f, client, m, show_turn);
}

/* ---- cat */

static bool take_piece(struct answer *answer)
{
	struct span piece = { answer->wire, answer->got > 0 ? (size_t)answer->got : 0 };
	answer->has_piece = false;
	answer->read += piece.len;
	return piece.len > 0 && smtp_undot_push(&answer->undot, piece, &answer->native) == 0;
}

static void cat_turn(void *ctx)
{
	struct answer *answer = ctx;
	if (has_failed(answer))
		return;
	if (answer->has_piece && !take_piece(answer)) {
		finish(answer, ERR_IO, "its body can't be read");
		return;
	}
	if (answer->native.len > 0 && control_bytes(answer->client, buf_span(&answer->native)) == ERR_AGAIN)
		return;
	buf_clear(&answer->native);
	if (answer->read == answer->attempt->body.len)
		finish(answer, 0, "");
	else
		start_reading(answer, piece_work);
}

void message_answer_cat(struct forwarder *f, struct control_client *client, const struct fwd_message *m)
{
	answer_message(f, client, m, cat_turn);
}
