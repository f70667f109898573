#include <stdio.h>
#include <string.h>

#include "log.h"
#include "smtp_client_parts.h"
#include "smtp_lines.h"

/* Pipelined commands that wait for their replies: enough for any message but a mailing list's, few enough that neither side's
 * buffers fill up with the other one waiting. */
#define PIPELINE_MAX 128u

static bool is_positive(unsigned code)
{
	return code >= 200 && code < 300;
}

/* "550 5.1.1 no such user", as it goes into logs, status lines and reports. */
struct span dialogue_text(const struct smtp_client *c, char out[DIALOGUE_TEXT_CAP])
{
	const struct smtp_reply *r = &c->reply;
	struct span text = smtp_reply_span(r);
	int len = snprintf(out, DIALOGUE_TEXT_CAP, "%u %s%s%.*s", r->code, r->enhanced, r->enhanced[0] ? " " : "",
			   (int)(text.len < 560 ? text.len : 560), text.ptr ? text.ptr : "");
	for (int i = 0; i < len; i++) {
		if (out[i] == '\n')
			out[i] = ' ';
	}
	return (struct span){ out, len < 0 ? 0 : (size_t)len };
}

/* Of a refusal.  A 2xx is no refusal, and only to the whole message does it mean DELIVERED (result_reply): out of turn it must not. */
static enum spool_outcome refusal(unsigned code)
{
	return code >= 500 ? SPOOL_OUTCOME_FAILED : SPOOL_OUTCOME_DEFERRED;
}

/* All that are still open are refused by this reply. */
static void settle_rest(struct smtp_client *c)
{
	char text[DIALOGUE_TEXT_CAP];
	/* About a recipient that is only asked for, nothing but the reply to its own RCPT tells. */
	enum spool_outcome outcome = c->attempt->is_probe ? SPOOL_OUTCOME_DEFERRED : refusal(c->reply.code);
	attempt_settle_rest(c->attempt, outcome, c->reply.code, dialogue_text(c, text));
}

/* ---- the end of a message, the end of the connection */

void dialogue_ready(struct smtp_client *c)
{
	client_set_state(c, CLIENT_READY);
	c->events.ready(c->events.ctx);
}

static void hand_back(struct smtp_client *c)
{
	struct attempt *a = c->attempt;
	c->attempt = NULL;
	c->messages++;
	c->events.done(c->events.ctx, a);
}

/* Every recipient is settled.  A transaction that was begun and not ended by a message is taken back first. */
static void finish(struct smtp_client *c, bool needs_reset)
{
	hand_back(c);
	if (needs_reset) {
		client_say(c, "RSET\r\n");
		if (c->state != CLIENT_ENDED)
			client_set_state(c, CLIENT_RESET);
	} else {
		dialogue_ready(c);
	}
}

void dialogue_broken(struct smtp_client *c, const char *what)
{
	char text[DIALOGUE_TEXT_CAP];
	bool is_tls;
	switch (c->state) {
	case CLIENT_ENDED: return;
	case CLIENT_GREETING:
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_STARTTLS:
	case CLIENT_TLS:
		/* Also behind the handshake: some servers find only then what they have against it. */
		is_tls = c->tls || c->state == CLIENT_STARTTLS || c->state == CLIENT_TLS;
		client_end(c, is_tls && c->tls_level == TLS_MAY ? SMTP_END_NO_TLS : SMTP_END_REFUSED, "%s: %s (in state %s)", c->remote, what, smtp_client_state_name(c));
		return;
	case CLIENT_READY:
	case CLIENT_RESET:
	case CLIENT_QUIT: client_end(c, SMTP_END_IDLE, "%s: %s", c->remote, what); return;
	case CLIENT_XCLIENT:
	case CLIENT_XHELO:
	case CLIENT_ENVELOPE:
		if (c->messages > 0 && !c->is_answered) {
			client_end(c, SMTP_END_STALE, "%s: %s", c->remote, what);
			return;
		}
		break;
	case CLIENT_BODY:
	case CLIENT_RESULT: break;
	}
	int len = snprintf(text, sizeof text, "%s: %s (in state %s)", c->remote, what, smtp_client_state_name(c));
	attempt_settle_rest(c->attempt, SPOOL_OUTCOME_DEFERRED, 0, (struct span){ text, len < 0 ? 0 : (size_t)len });
	client_end(c, SMTP_END_BROKEN, "%s: %s", c->remote, what);
}

/* The server says in the middle of things that it is going away, or refuses for good. */
void dialogue_broken_by_reply(struct smtp_client *c)
{
	settle_rest(c);
	char text[DIALOGUE_TEXT_CAP];
	struct span said = dialogue_text(c, text);
	client_end(c, SMTP_END_BROKEN, "%s said: %.*s", c->remote, SPAN_FMT(said));
}

/* ---- one message: commands */

static int put_xforward(struct smtp_client *c)
{
	struct envelope_plan *plan = &c->plan;
	struct span rest = span_sub(buf_span(&plan->xforward), plan->xforward_at, plan->xforward.len);
	size_t len = span_find(rest, '\n', 0) + 1;
	plan->xforward_at += len;
	return buf_append_span(&c->out, span_sub(rest, 0, len));
}

/* A path that can't be spoken fails alone; in the sequence a NOOP keeps its place. */
static int put_rcpt(struct smtp_client *c, size_t todo_index)
{
	struct attempt *a = c->attempt;
	int err = smtp_lines_rcpt(&c->out, &a->envelope.recipients[a->todo[todo_index].index], &c->caps);
	if (err != ERR_INVAL)
		return err;
	attempt_settle(a, todo_index, SPOOL_OUTCOME_FAILED, 0, SPAN_LIT("the recipient's address holds control characters"));
	return buf_append_span(&c->out, SPAN_LIT("NOOP\r\n"));
}

static int put_command(struct smtp_client *c, unsigned index)
{
	const struct envelope_plan *plan = &c->plan;
	if (index < plan->xforward_count)
		return put_xforward(c);
	index -= plan->xforward_count;
	if (index == 0)
		return smtp_lines_mail(&c->out, &c->attempt->envelope, c->attempt->body.len, &c->caps);
	if (index <= c->attempt->todo_count)
		return put_rcpt(c, index - 1);
	return buf_append_span(&c->out, SPAN_LIT("DATA\r\n"));
}

void dialogue_say_more(struct smtp_client *c)
{
	struct envelope_plan *plan = &c->plan;
	unsigned at_once = c->caps.offered & SMTP_CAP_PIPELINING ? PIPELINE_MAX : 1;
	while (plan->next_command < plan->total && plan->next_command - plan->next_reply < at_once) {
		bool is_data = plan->next_command == plan->total - 1 && !c->attempt->is_probe;
		/* Nothing to send it to: known in time where replies came one by one, or where the replies of a long list came
		 * before. */
		if (plan->is_refused || (is_data && plan->next_reply == plan->next_command && plan->accepted == 0)) {
			plan->total = plan->next_command;
			return;
		}
		int err = put_command(c, plan->next_command);
		if (err) {
			/* A sender that can't be spoken, or no memory. */
			struct span text = err == ERR_INVAL ? SPAN_LIT("the sender's address holds control characters")
							    : SPAN_LIT("no memory");
			attempt_settle_rest(c->attempt, err == ERR_INVAL ? SPOOL_OUTCOME_FAILED : SPOOL_OUTCOME_DEFERRED, 0, text);
			client_end(c, SMTP_END_BROKEN, "%.*s", SPAN_FMT(text));
			return;
		}
		plan->next_command++;
	}
}

void dialogue_begin(struct smtp_client *c)
{
	c->is_answered = c->is_dot_only = false;
	c->body_sent = 0;
	c->result_next = 0;
	(void)snprintf(c->attempt->tls, sizeof c->attempt->tls, "%s", c->tls_text);
	(void)snprintf(c->attempt->remote, sizeof c->attempt->remote, "%s", c->remote);
	if (!hello_introduce(c))
		dialogue_envelope(c);
}

void dialogue_envelope(struct smtp_client *c)
{
	struct attempt *a = c->attempt;
	struct envelope_plan *plan = &c->plan;
	plan->xforward_count = plan->next_command = plan->next_reply = plan->accepted = 0;
	plan->is_refused = false;
	plan->xforward_at = 0;
	buf_clear(&plan->xforward);
	a->has_dsn_relay = (c->caps.offered & SMTP_CAP_DSN) != 0;
	a->is_final = c->is_lmtp;
	if (c->identity == IDENTITY_XFORWARD)
		(void)smtp_lines_xforward(&plan->xforward, &a->envelope, &a->record.id, &c->caps, &plan->xforward_count);
	plan->total = plan->xforward_count + 1 + (unsigned)a->todo_count + !a->is_probe;
	client_set_state(c, CLIENT_ENVELOPE);
	dialogue_say_more(c);
}

/* ---- one message: replies */

static void data_reply(struct smtp_client *c)
{
	unsigned code = c->reply.code;
	if (code == 354) {
		/* RFC 2920 section 3.1: pipelined after recipients that were all refused, DATA may still be taken; then an
		 * empty message is due.  In LMTP nobody would answer it (RFC 2033 section 4.2: the reply has to be 503). */
		c->is_dot_only = c->plan.accepted == 0;
		if (c->is_dot_only && c->is_lmtp) {
			dialogue_broken(c, "354 to DATA without a recipient");
			return;
		}
		client_set_state(c, c->is_dot_only ? CLIENT_RESULT : CLIENT_BODY);
		if (c->is_dot_only)
			client_say(c, ".\r\n");
		return;
	}
	if (is_positive(code) || code < 400) {
		dialogue_broken(c, "the reply to DATA makes no sense");
		return;
	}
	settle_rest(c);
	finish(c, true);
}

static void rcpt_reply(struct smtp_client *c, size_t todo_index)
{
	char text[DIALOGUE_TEXT_CAP];
	struct attempt *a = c->attempt;
	unsigned code = c->reply.code;
	if (a->todo[todo_index].outcome != SPOOL_OUTCOME_NONE)
		return;
	if (is_positive(code)) {
		c->plan.accepted++;
		if (a->is_probe)
			attempt_settle(a, todo_index, SPOOL_OUTCOME_DELIVERED, code, dialogue_text(c, text));
		return;
	}
	/* RFC 5321 section 4.5.3.1.10: 552 is what old servers say for "too many recipients". */
	enum spool_outcome outcome = code == 552 ? SPOOL_OUTCOME_DEFERRED : refusal(code);
	attempt_settle(a, todo_index, outcome, code, dialogue_text(c, text));
}

bool dialogue_is_closing(struct smtp_client *c)
{
	if (c->reply.code != 421) {
		c->is_answered = true;
		return false;
	}
	if (c->messages > 0 && !c->is_answered)
		dialogue_broken(c, "closing (421)");
	else
		dialogue_broken_by_reply(c);
	return true;
}

static void envelope_reply(struct smtp_client *c)
{
	struct envelope_plan *plan = &c->plan;
	unsigned code = c->reply.code;
	if (dialogue_is_closing(c))
		return;
	unsigned index = plan->next_reply++;
	if (index < plan->xforward_count) {
		/* The next server does not let us: its own log then shows us instead of the client, which is no reason to keep
		 * mail back. */
		if (!is_positive(code)) {
			log_event(LOG_LEVEL_WARN, "xforward-refused", "%s does not take XFORWARD from us (%u)", c->remote, code);
			c->caps.xforward = 0;
		}
	} else if (index == plan->xforward_count) {
		if (!is_positive(code)) {
			settle_rest(c);
			plan->is_refused = true;
		}
	} else if (index - plan->xforward_count <= c->attempt->todo_count) {
		rcpt_reply(c, index - plan->xforward_count - 1);
	} else {
		data_reply(c);
		return;
	}
	dialogue_say_more(c);
	if (c->state != CLIENT_ENVELOPE)
		return;
	if (plan->next_reply == plan->total)
		finish(c, true);
	else
		client_set_state(c, CLIENT_ENVELOPE);
}

static void result_reply(struct smtp_client *c)
{
	struct attempt *a = c->attempt;
	char text[DIALOGUE_TEXT_CAP];
	unsigned code = c->reply.code;
	enum spool_outcome outcome = is_positive(code) ? SPOOL_OUTCOME_DELIVERED : refusal(code);
	if (c->is_dot_only) {
		finish(c, false);
		return;
	}
	if (code == 421 || code < 200 || (code >= 300 && code < 400)) {
		dialogue_broken_by_reply(c);
		return;
	}
	if (!c->is_lmtp) {
		attempt_settle_rest(a, outcome, code, dialogue_text(c, text));
		finish(c, false);
		return;
	}
	/* LMTP: one reply for each recipient that was taken, in order. */
	while (c->result_next < a->todo_count && a->todo[c->result_next].outcome != SPOOL_OUTCOME_NONE)
		c->result_next++;
	if (c->result_next < a->todo_count)
		attempt_settle(a, c->result_next++, outcome, code, dialogue_text(c, text));
	if (--c->plan.accepted == 0)
		finish(c, false);
	else
		client_set_state(c, CLIENT_RESULT);
}

/* ---- all replies */

void dialogue_reply(struct smtp_client *c)
{
	unsigned code = c->reply.code;
	switch (c->state) {
	case CLIENT_GREETING:
	case CLIENT_EHLO:
	case CLIENT_HELO:
	case CLIENT_STARTTLS:
	case CLIENT_XCLIENT:
	case CLIENT_XHELO: hello_reply(c); return;
	case CLIENT_ENVELOPE: envelope_reply(c); return;
	case CLIENT_BODY:
		/* Before it has read everything: it can only be a refusal, and the rest of the body would be read as commands. */
		if (code >= 400)
			dialogue_broken_by_reply(c);
		else
			dialogue_broken(c, "a reply in the middle of the message");
		return;
	case CLIENT_RESULT: result_reply(c); return;
	case CLIENT_RESET:
		if (is_positive(code))
			dialogue_ready(c);
		else
			client_end(c, SMTP_END_IDLE, "%s refused RSET", c->remote);
		return;
	case CLIENT_READY:
	case CLIENT_QUIT: client_end(c, SMTP_END_IDLE, "%s closed", c->remote); return;
	case CLIENT_TLS: /* no reply is read there */
	case CLIENT_ENDED: return;
	}
}
