#include "received.h"
#include "session_state.h"

/* What the spool keeps of one body in memory at the most (writer.h: the inline limit and two chunks). */
#define BODY_HELD_MAX (768u << 10)

/* ---- into the spool */

static void spool_drained(void *ctx)
{
	struct session *s = ctx;
	s->is_spool_waiting = false;
	if (s->state == SESSION_CHECKING)
		session_go_on_checking(s);
	else
		session_go_on(s);
}

/* The checks have done with what they were given. */
static void check_drained(void *ctx)
{
	struct session *s = ctx;
	s->is_check_waiting = false;
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
	if (txn->check && txn->spool && content_check_push(txn->check, wire) == STEP_WAIT)
		s->is_check_waiting = true;
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
	static const struct smtp_reply_text go_on = { 354, NULL, "End data with <CR><LF>.<CR><LF>" };
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
	session_txn_id(s);
	smtp_data_init(&txn->data, conf->bare_lf == BARE_LF_NORMALIZE);
	smtp_header_init(&txn->header, arena_copy(&txn->arena, span_of(conf->hostname)));
	int err = spool_txn_open(s->host->writer, &txn->id, spool_drained, s, &txn->spool);
	if (!err)
		err = store_received(s);
	if (!err && txn->needs)
		err = content_check_create(s->host, s->sid, txn->needs, &txn->check);
	if (!err && txn->check) {
		content_check_use_milters(txn->check, txn->milters);
		content_check_on_drained(txn->check, check_drained, s);
	}
	if (err) {
		session_reply(s, 451, "4.3.0", "Local error (%s), try again later", err_name(err));
		session_txn_reset(s);
		return;
	}
	session_set_state(s, SESSION_DATA);
	session_reply_const(s, &go_on);
}

size_t session_data_push(struct session *s, struct span bytes)
{
	struct session_txn *txn = s->txn;
	size_t used = smtp_data_push(&txn->data, bytes, on_wire_bytes, s);
	if (txn->data.fault && txn->spool)
		stop_storing(s);
	if (txn->data.has_ended) {
		session_end_of_data(s);
	} else if (txn->data.fault && txn->data.has_lone_dot) {
		/* A client that ends lines with LF alone has ended its message and waits; the CRLF.CRLF that we wait for will never come.
		 * Nothing behind this point can be trusted to be a command. */
		const struct smtp_reply_text *fault = smtp_data_fault_reply(txn->data.fault);
		session_log_refused(s, fault->code, fault->text);
		session_last_reply(s, fault->code, fault->enhanced, "%s", fault->text);
	}
	return used;
}
