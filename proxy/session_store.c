#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "session_state.h"
#include "smtp_reply.h"

#define COMPLAIN_EVERY_MS 60000u

static void log_totals(const struct session *s, const char *event, unsigned code, const char *why, size_t rcpts, uint64_t size_bytes)
{
	const struct session_txn *txn = s->txn;
	struct kv kv;
	session_log_begin(s, &kv, event);
	kv_text(&kv, "id", txn->id.text);
	kv_u64(&kv, "rc", code);
	kv_addr(&kv, "client", &s->where.client.addr);
	kv_span(&kv, "from", txn->from);
	kv_u64(&kv, "rcpts", rcpts);
	kv_u64(&kv, "size", size_bytes);
	if (why)
		kv_text(&kv, "why", why);
	log_kv(code == 250 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, &kv);
}

/* As the client has sent it. */
static void log_end(const struct session *s, const char *event, unsigned code, const char *why)
{
	log_totals(s, event, code, why, s->txn->recipient_count, s->txn->data.size_bytes);
}

/* As it is in the spool, after those who change messages; without our own field and the final dot. */
static uint64_t stored_size(const struct session_txn *txn)
{
	static const char end[] = ".\r\n";
	const struct content_image *changed = txn->checked.changed;
	return changed ? changed->len - changed->own_len - (sizeof end - 1) : txn->data.size_bytes;
}

void session_log_refused(struct session *s, unsigned code, const char *why)
{
	log_end(s, "message-refused", code, why);
	counter_add(s->host->counters, COUNTER_MESSAGES_REFUSED, 1);
}

static void refuse_message(struct session *s, const struct smtp_reply_text *reply)
{
	session_log_refused(s, reply->code, reply->text);
	session_reply_const(s, reply);
	session_txn_reset(s);
}

/* Everything that is wrong with the message itself; NULL: nothing. */
static const struct smtp_reply_text *fault_of(const struct session *s)
{
	static const struct smtp_reply_text too_big = { 552, "5.3.4", "Message too big" };
	static const struct smtp_reply_text suspicious = { 554, "5.6.0", "The header has suspicious characters or lines that are too long" };
	static const struct smtp_reply_text too_many_hops = { 554, "5.4.6", "Too many hops: this message is in a loop" };
	static const struct smtp_reply_text own_loop = { 554, "5.4.6", "This message has been here before: it is in a loop" };
	const struct session_txn *txn = s->txn;
	const struct conf *conf = session_conf(s);
	const struct smtp_reply_text *fault = smtp_data_fault_reply(txn->data.fault);
	if (fault)
		return fault;
	if (txn->is_too_big || txn->data.size_bytes > conf->max_size_bytes)
		return &too_big;
	if (txn->suspicious.found)
		return &suspicious;
	if (txn->header.received_count >= conf->max_received)
		return &too_many_hops;
	if (txn->header.own_count >= conf->max_own_received)
		return &own_loop;
	return NULL;
}

/* The one place where an error of the spool becomes a reply: always a temporary one. */
static const struct smtp_reply_text *spool_reply(int err)
{
	static const struct smtp_reply_text no_space = { 452, "4.3.1", "Insufficient system storage, try again later" };
	static const struct smtp_reply_text no_memory = { 452, "4.3.0", "Out of memory, try again later" };
	static const struct smtp_reply_text trouble = { 451, "4.3.0", "The message could not be stored, try again later" };
	return err == ERR_NOSPACE ? &no_space : err == ERR_NOMEM ? &no_memory : &trouble;
}

/* A line a message is in the log anyway: this one is for whoever looks at errors only. */
static void complain(struct session_host *host, int err)
{
	uint64_t now_ms = loop_now_ms(host->loop);
	host->unstored++;
	if (now_ms < host->complain_ms)
		return;
	log_event(LOG_LEVEL_ERR, "spool-trouble", "messages can't be stored (%s), %" PRIu64 " since the last such line: clients are told 451 or 452",
		  err_name(err), host->unstored);
	host->unstored = 0;
	host->complain_ms = now_ms + COMPLAIN_EVERY_MS;
}

/* The last word on a message: its transaction is over. */
static void answer(struct session *s, struct span lines, bool closes)
{
	struct reply_slot *slot = s->txn->slot;
	session_txn_reset(s);
	session_reply_at_once(s, slot, lines, closes);
	session_go_on(s);
}

static void not_stored(struct session *s, int err)
{
	const struct smtp_reply_text *reply = spool_reply(err);
	char line[SMTP_REPLY_LINE_CAP];
	log_end(s, "store-failed", reply->code, err_name(err));
	counter_add(s->host->counters, COUNTER_SPOOL_FAILURES, 1);
	complain(s->host, err);
	(void)snprintf(line, sizeof line, "%u %s %s", reply->code, reply->enhanced, reply->text);
	answer(s, span_of(line), false);
}

static void stored(void *ctx, int err)
{
	struct session *s = ctx;
	struct session_txn *txn = s->txn;
	char line[SMTP_REPLY_LINE_CAP];
	txn->spool = NULL; /* ended with this call */
	if (err) {
		not_stored(s, err);
		return;
	}
	const struct spool_envelope *changed = txn->checked.envelope;
	uint64_t size_bytes = stored_size(txn);
	log_totals(s, "stored", 250, NULL, changed ? changed->recipient_count : txn->recipient_count, size_bytes);
	counter_add(s->host->counters, COUNTER_MESSAGES_STORED, 1);
	counter_add(s->host->counters, COUNTER_BYTES_STORED, size_bytes);
	s->messages++;
	s->junk = 0;
	(void)snprintf(line, sizeof line, "250 2.0.0 Ok: stored as %s", txn->id.text);
	/* A client that gives up before it has this reply sends the message again (RFC 1047). */
	answer(s, span_of(line), false);
}

static void fill_envelope(const struct session *s, struct spool_envelope *e)
{
	static const enum spool_body bodies[] = {
		[SMTP_BODY_NONE] = SPOOL_BODY_NONE, [SMTP_BODY_7BIT] = SPOOL_BODY_7BIT, [SMTP_BODY_8BITMIME] = SPOOL_BODY_8BITMIME
	};
	static const enum spool_ret rets[] = { [SMTP_RET_NONE] = SPOOL_RET_NONE, [SMTP_RET_FULL] = SPOOL_RET_FULL, [SMTP_RET_HDRS] = SPOOL_RET_HDRS };
	const struct session_txn *txn = s->txn;
	const struct conf_listen *l = session_listen(s);
	*e = (struct spool_envelope){
		.from = txn->from,
		.recipients = txn->recipients,
		.recipient_count = txn->recipient_count,
		.client = s->where.client,
		.dst = s->where.original,
		.iface = span_of(l->iface),
		.listener = span_of(l->iface),
		.client_name = policy_client_name(&s->policy),
		.helo = span_of(s->helo),
		.proto = s->is_esmtp ? SPAN_LIT("ESMTP") : SPAN_LIT("SMTP"),
		.is_trusted = l->trusted != 0,
		.time = loop_wall_time(),
		.body = bodies[txn->mail.body],
		.ret = rets[txn->mail.ret],
		.envid = txn->mail.envid,
	};
}

/* ---- checks on content, and the way into the journal */

static void commit(struct session *s, const struct spool_envelope *envelope)
{
	session_set_state(s, SESSION_STORING);
	spool_txn_commit(s->txn->spool, envelope, stored, s);
}

static void rewritten(void *ctx, int err)
{
	struct session *s = ctx;
	if (s->state == SESSION_DEAD)
		return;
	if (err)
		not_stored(s, err);
	else
		commit(s, s->txn->checked.envelope);
}

static void refused_by_check(struct session *s, const struct content_verdict *v)
{
	struct buf lines = { .cap = 16384 };
	session_log_refused(s, v->code, v->why);
	/* Without memory the session ends: reply_line finds nothing in it. */
	(void)smtp_reply_append(&lines, v->code, v->enhanced[0] ? v->enhanced : NULL, span_of(v->text));
	/* A milter says that, and for a recipient it ends the session, too (RFC 5321 section 3.8). */
	answer(s, span_sub(buf_span(&lines), 0, lines.len ? lines.len - 2 : 0), v->code == 421);
	buf_free(&lines);
}

static void checked(void *ctx, const struct content_result *result)
{
	struct session *s = ctx;
	struct session_txn *txn = s->txn;
	const struct content_verdict *v = result->verdict;
	/* Closed in this very turn of the loop: what is freed at its end stores nothing any more. */
	if (s->state == SESSION_DEAD)
		return;
	txn->checked = *result;
	switch (v->outcome) {
	case CONTENT_REFUSE:
		refused_by_check(s, v);
		return;
	case CONTENT_DISCARD:
		log_end(s, "message-discarded", 250, v->why);
		counter_add(s->host->counters, COUNTER_MESSAGES_DISCARDED, 1);
		answer(s, SPAN_LIT("250 2.0.0 Ok"), false);
		return;
	case CONTENT_PASS: break;
	}
	if (!result->changed) {
		commit(s, result->envelope);
		return;
	}
	int err = body_rewrite_start(s->host->loop, txn->spool, result->changed, rewritten, s, &txn->rewrite);
	if (err)
		not_stored(s, err);
}

/* The body has come to rest, or its rewriting may go on. */
void session_go_on_checking(struct session *s)
{
	struct session_txn *txn = s->txn;
	struct spool_txn_body body;
	struct spool_envelope envelope;
	if (txn->rewrite) {
		body_rewrite_drained(txn->rewrite);
		return;
	}
	int err = spool_txn_body(txn->spool, &body);
	if (err) {
		not_stored(s, err);
		return;
	}
	const struct content_image image = { body.memory, body.fd, body.size_bytes, txn->own_len };
	fill_envelope(s, &envelope);
	content_check_run(txn->check, &image, &envelope, checked, s);
}

void session_end_of_data(struct session *s)
{
	struct session_txn *txn = s->txn;
	const struct smtp_reply_text *fault = fault_of(s);
	struct spool_envelope envelope;
	if (fault) {
		if (txn->suspicious.found)
			session_log_deterred(s, COUNTER_PARANOID, txn->suspicious.found);
		refuse_message(s, fault);
		return;
	}
	txn->slot = reply_queue_reserve(&s->replies);
	if (!txn->slot) {
		refuse_message(s, spool_reply(ERR_NOMEM));
		return;
	}
	if (txn->check) {
		session_set_state(s, SESSION_CHECKING);
		if (spool_txn_settle(txn->spool) == STEP_DONE)
			session_go_on_checking(s);
		return;
	}
	fill_envelope(s, &envelope);
	commit(s, &envelope);
}
