#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "received.h"
#include "session_state.h"
#include "smtp_reply.h"

/* What the spool keeps of one body in memory at the most (writer.h: the inline limit and two chunks). */
#define BODY_HELD_MAX (768u << 10)
#define COMPLAIN_EVERY_MS 60000u

static void go_on_checking(struct session *s);

/* ---- into the spool */

static void spool_drained(void *ctx)
{
	struct session *s = ctx;
	s->is_spool_waiting = false;
	if (s->state == SESSION_CHECKING)
		go_on_checking(s);
	else
		session_go_on(s);
}

/* No more of this message is kept; the rest of its data is read and forgotten. */
static void stop_storing(struct session *s)
{
	spool_txn_abort(&s->txn->spool);
	s->host->held_bytes -= s->txn->held_bytes;
	s->txn->held_bytes = 0;
	s->is_spool_waiting = false;
}

static void store(struct session *s, struct span bytes)
{
	struct session_txn *txn = s->txn;
	if (!txn->spool)
		return;
	if (txn->held_bytes + bytes.len <= BODY_HELD_MAX) {
		txn->held_bytes += bytes.len;
		s->host->held_bytes += bytes.len;
	}
	/* A failure is the spool's to remember: commit reports it. */
	if (spool_txn_append(txn->spool, bytes) == STEP_WAIT)
		s->is_spool_waiting = true;
}

static void on_wire_bytes(void *ctx, struct span wire)
{
	struct session *s = ctx;
	struct session_txn *txn = s->txn;
	smtp_header_push(&txn->header, wire);
	if (session_is_paranoid(s))
		paranoid_header_push(&txn->suspicious, wire);
	/* The three octets of the final dot line do not count (RFC 1870 section 5). */
	if (!txn->is_too_big && txn->data.size_bytes > session_conf(s)->max_size_bytes + 3) {
		txn->is_too_big = true;
		stop_storing(s);
	}
	if (txn->check && txn->spool)
		content_check_push(txn->check, wire);
	store(s, wire);
}

static int store_received(struct session *s)
{
	struct session_txn *txn = s->txn;
	const struct conf *conf = session_conf(s);
	struct buf header = { .cap = 4096 };
	const struct received_facts facts = {
		.where = &s->where,
		.iface = span_of(session_listen(s)->iface),
		.hostname = span_of(conf->hostname),
		.helo = span_of(s->helo),
		.helo_is_domain = s->helo_kind == SMTP_HELO_DOMAIN,
		.client_name = policy_client_name(&s->policy),
		.is_esmtp = s->is_esmtp,
		.is_diverted = session_listen(s)->mode != LISTEN_DIRECT,
		.id = &txn->id,
		.only_recipient = txn->recipient_count == 1 ? txn->recipients[0].path : SPAN_NONE,
		.time = loop_wall_time(),
	};
	int err = received_append(&facts, &header);
	if (!err)
		store(s, buf_span(&header));
	txn->own_len = header.len;
	buf_free(&header);
	return err;
}

/* ---- DATA */

void session_data(struct session *s, const struct smtp_command *cmd)
{
	struct session_txn *txn = s->txn;
	(void)cmd;
	if (!txn) {
		session_error(s, 503, "5.5.1", "Need MAIL and RCPT before DATA");
		return;
	}
	if (txn->recipient_count == 0) {
		/* RFC 2920 section 3.1: a client that pipelines learns here that every recipient was refused. */
		session_error(s, txn->refused_count ? 554 : 503, "5.5.1", "No valid recipients");
		return;
	}
	if (s->host->held_bytes > SESSION_HELD_BYTES_MAX) {
		/* Slow clients with unfinished bodies must not take the memory of all. */
		session_reply(s, 452, "4.3.1", "Too much mail at once, try again later");
		session_txn_reset(s);
		return;
	}
	const struct conf *conf = session_conf(s);
	txn->id = spool_id_next(&s->host->ids);
	smtp_data_init(&txn->data, conf->bare_lf == BARE_LF_NORMALIZE);
	smtp_header_init(&txn->header, arena_copy(&txn->arena, span_of(conf->hostname)));
	int err = spool_txn_open(s->host->writer, &txn->id, spool_drained, s, &txn->spool);
	if (!err)
		err = store_received(s);
	if (!err && txn->needs)
		err = content_check_create(s->host, s->sid, txn->needs, &txn->check);
	if (err) {
		session_reply(s, 451, "4.3.0", "Local error (%s), try again later", err_name(err));
		session_txn_reset(s);
		return;
	}
	session_set_state(s, SESSION_DATA);
	session_reply(s, 354, NULL, "End data with <CR><LF>.<CR><LF>");
}

/* ---- the end of data */

static void log_end(const struct session *s, const char *event, unsigned code, const char *why)
{
	const struct session_txn *txn = s->txn;
	struct kv kv;
	session_log_begin(s, &kv, event);
	kv_text(&kv, "id", txn->id.text);
	kv_u64(&kv, "rc", code);
	kv_addr(&kv, "client", &s->where.client.addr);
	kv_span(&kv, "from", txn->from);
	kv_u64(&kv, "rcpts", txn->recipient_count);
	kv_u64(&kv, "size", txn->data.size_bytes);
	if (why)
		kv_text(&kv, "why", why);
	log_kv(code == 250 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, &kv);
}

static void refuse_message(struct session *s, const struct smtp_reply_text *reply)
{
	log_end(s, "message-refused", reply->code, reply->text);
	counter_add(s->host->counters, COUNTER_MESSAGES_REFUSED, 1);
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
static void answer(struct session *s, struct span lines)
{
	struct reply_slot *slot = s->txn->slot;
	session_txn_reset(s);
	session_reply_at_once(s, slot, lines);
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
	answer(s, span_of(line));
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
	log_end(s, "stored", 250, NULL);
	counter_add(s->host->counters, COUNTER_MESSAGES_STORED, 1);
	counter_add(s->host->counters, COUNTER_BYTES_STORED, txn->data.size_bytes);
	s->messages++;
	s->junk = 0;
	(void)snprintf(line, sizeof line, "250 2.0.0 Ok: stored as %s", txn->id.text);
	/* A client that gives up before it has this reply sends the message again (RFC 1047). */
	answer(s, span_of(line));
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
	if (err)
		not_stored(s, err);
	else
		commit(s, s->txn->checked.envelope);
}

static void refused_by_check(struct session *s, const struct content_verdict *v)
{
	struct buf lines = { .cap = 16384 };
	log_end(s, "message-refused", v->code, v->why);
	counter_add(s->host->counters, COUNTER_MESSAGES_REFUSED, 1);
	/* Without memory the session ends: reply_line finds nothing in it. */
	(void)smtp_reply_append(&lines, v->code, v->enhanced[0] ? v->enhanced : NULL, span_of(v->text));
	answer(s, span_sub(buf_span(&lines), 0, lines.len ? lines.len - 2 : 0));
	buf_free(&lines);
}

static void checked(void *ctx, const struct content_result *result)
{
	struct session *s = ctx;
	struct session_txn *txn = s->txn;
	const struct content_verdict *v = result->verdict;
	txn->checked = *result;
	switch (v->outcome) {
	case CONTENT_REFUSE:
		refused_by_check(s, v);
		return;
	case CONTENT_DISCARD:
		log_end(s, "message-discarded", 250, v->why);
		counter_add(s->host->counters, COUNTER_MESSAGES_DISCARDED, 1);
		answer(s, SPAN_LIT("250 2.0.0 Ok"));
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
static void go_on_checking(struct session *s)
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

static void end_of_data(struct session *s)
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
			go_on_checking(s);
		return;
	}
	fill_envelope(s, &envelope);
	commit(s, &envelope);
}

size_t session_data_push(struct session *s, struct span bytes)
{
	struct session_txn *txn = s->txn;
	size_t used = smtp_data_push(&txn->data, bytes, on_wire_bytes, s);
	if (txn->data.fault && txn->spool)
		stop_storing(s);
	if (txn->data.has_ended) {
		end_of_data(s);
	} else if (txn->data.fault && txn->data.has_lone_dot) {
		/* A client that ends lines with LF alone has ended its message and waits; the CRLF.CRLF that we wait for will never come.
		 * Nothing behind this point can be trusted to be a command. */
		const struct smtp_reply_text *fault = smtp_data_fault_reply(txn->data.fault);
		log_end(s, "message-refused", fault->code, fault->text);
		counter_add(s->host->counters, COUNTER_MESSAGES_REFUSED, 1);
		session_last_reply(s, fault->code, fault->enhanced, "%s", fault->text);
	}
	return used;
}
