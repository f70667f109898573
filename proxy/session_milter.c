/* What the milters are told of a transaction: begun with the first recipient whose rules ask for them. */
#include "log.h"
#include "milter_talk.h"
#include "session_state.h"
#include "smtp_reply.h"

#define ARGS_CAP 1024u

/* ESMTP parameters, as we understood them. */

static int append_arg(struct buf *out, const char *name, struct span value)
{
	return value.len ? buf_printf(out, "%s%s=%.*s", out->len ? " " : "", name, SPAN_FMT(value)) : 0;
}

static int mail_args(const struct smtp_mail_params *p, struct buf *out)
{
	static const char *const bodies[] = { [SMTP_BODY_NONE] = "", [SMTP_BODY_7BIT] = "7BIT", [SMTP_BODY_8BITMIME] = "8BITMIME" };
	static const char *const rets[] = { [SMTP_RET_NONE] = "", [SMTP_RET_FULL] = "FULL", [SMTP_RET_HDRS] = "HDRS" };
	int err = p->has_size ? buf_printf(out, "SIZE=%llu", (unsigned long long)p->size_bytes) : 0;
	if (!err)
		err = append_arg(out, "BODY", span_of(bodies[p->body]));
	if (!err)
		err = append_arg(out, "RET", span_of(rets[p->ret]));
	return err ? err : append_arg(out, "ENVID", p->envid);
}

static int rcpt_args(unsigned notify, struct span orcpt, struct buf *out)
{
	static const struct {
		unsigned bit;
		const char *name;
	} names[] = { { SMTP_NOTIFY_NEVER, "NEVER" }, { SMTP_NOTIFY_SUCCESS, "SUCCESS" }, { SMTP_NOTIFY_FAILURE, "FAILURE" },
		      { SMTP_NOTIFY_DELAY, "DELAY" } };
	int err = 0;
	for (size_t i = 0; !err && i < sizeof names / sizeof names[0]; i++)
		if (notify & names[i].bit)
			err = buf_printf(out, "%s%s", out->len ? "," : "NOTIFY=", names[i].name);
	return err ? err : append_arg(out, "ORCPT", orcpt);
}

static int tell(struct session *s, struct span path, unsigned notify, struct span orcpt, struct span refusal, milter_rcpt_fn done, void *ctx)
{
	struct buf args = { .cap = ARGS_CAP };
	int err = rcpt_args(notify, orcpt, &args);
	const struct milter_rcpt rcpt = { .path = path, .args = buf_span(&args), .refusal = refusal };
	if (!err)
		err = milter_talk_rcpt(s->txn->milters, &rcpt, done, ctx);
	buf_free(&args);
	return err;
}

/* ---- the beginning */

static enum milter_resolve resolve_of(const struct session *s)
{
	const struct fact *name = facts_find(&s->policy.facts, &(struct fact_key){ .kind = FACT_NAME });
	return name && name->state == FACT_PRESENT ? MILTER_NAME_OK : name && name->state == FACT_ABSENT ? MILTER_NAME_FAIL : MILTER_NAME_TEMP;
}

static int create(struct session *s)
{
	struct session_txn *txn = s->txn;
	struct buf args = { .cap = ARGS_CAP };
	int err = mail_args(&txn->mail, &args);
	session_txn_id(s);
	const struct milter_facts facts = {
		.hostname = span_of(session_conf(s)->hostname),
		.iface = span_of(session_listen(s)->iface),
		.client = s->where.client,
		.dst = s->where.original,
		.client_name = policy_client_name(&s->policy),
		.resolve = resolve_of(s),
		.connections = s->client ? client_connections(s->client) : 0,
		.helo = span_of(s->helo),
		.proto = s->is_esmtp ? SPAN_LIT("ESMTP") : SPAN_LIT("SMTP"),
		.time = loop_wall_time(),
		.id = span_of(txn->id.text),
		.from = txn->from,
		.from_args = buf_span(&args),
	};
	if (!err)
		err = milter_talk_create(s->host, s->sid, &facts, &txn->milters);
	buf_free(&args);
	return err;
}

static int begin(struct session *s)
{
	struct session_txn *txn = s->txn;
	int err = create(s);
	/* Those before it did not ask for the milters, but the message is theirs, too. */
	for (size_t i = 0; !err && i < txn->recipient_count; i++)
		err = tell(s, txn->recipients[i].path, txn->recipients[i].notify, txn->recipients[i].orcpt, SPAN_NONE, NULL, NULL);
	if (err)
		milter_talk_destroy(&txn->milters);
	return err;
}

int session_milters_ask(struct session *s, struct span path, const struct smtp_rcpt_params *params, milter_rcpt_fn done, void *ctx)
{
	int err = s->txn->milters ? 0 : begin(s);
	return err ? err : tell(s, path, params->notify, params->orcpt, SPAN_NONE, done, ctx);
}

void session_milters_tell(struct session *s, struct span path, const struct smtp_rcpt_params *params, struct span refusal)
{
	/* Without memory one recipient less is known to them. */
	if (s->txn->milters)
		(void)tell(s, path, params->notify, params->orcpt, refusal, NULL, NULL);
}

void session_milters_reply(struct session *s, struct reply_slot *slot, const struct milter_refusal *r)
{
	struct buf lines = { .cap = SESSION_REPLY_LINES_CAP };
	const char *enhanced = r->enhanced[0] ? r->enhanced : NULL;
	struct span text = span_of(r->text);
	int err = smtp_reply_append(&lines, r->code, enhanced, text);
	/* Many short lines: their codes take more room than they do. */
	if (err == ERR_TOOLONG)
		err = smtp_reply_append(&lines, r->code, enhanced, span_sub(text, 0, span_find(text, '\n', 0)));
	session_reply_line(s, slot, err ? SPAN_LIT("451 4.3.0 Local error, try again later") : span_sub(buf_span(&lines), 0, lines.len - 2),
			   r->code == 421, 0);
	buf_free(&lines);
}
