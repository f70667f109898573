#include <stdio.h>
#include <string.h>

#include "log.h"
#include "smtp_client_parts.h"
#include "smtp_lines.h"

static bool is_positive(unsigned code)
{
	return code >= 200 && code < 300;
}

/* ---- we, to the server */

static void say_hello(struct smtp_client *c, const char *verb, struct span name, enum client_state state)
{
	char line[300];
	(void)snprintf(line, sizeof line, "%s %.*s\r\n", verb, (int)(name.len < 256 ? name.len : 256), name.ptr);
	client_set_state(c, state);
	client_say(c, line);
}

static void refused(struct smtp_client *c)
{
	char text[DIALOGUE_TEXT_CAP];
	struct span said = dialogue_text(c, text);
	client_end(c, SMTP_END_REFUSED, "%s said: %.*s", c->remote, SPAN_FMT(said));
}

static void take_offer(struct smtp_client *c)
{
	smtp_caps_parse(&c->reply, &c->caps);
	/* What the server has of this client and would not take of the next would stay. */
	if (c->is_introducing && (c->xclient_offer & ~c->caps.xclient))
		c->caps.xclient = 0;
	if (c->caps.xclient)
		c->xclient_offer = c->caps.xclient;
}

static void greet(struct smtp_client *c)
{
	say_hello(c, c->is_lmtp ? "LHLO" : "EHLO", span_of(c->hostname), CLIENT_EHLO);
}

/* In clear text, or encrypted already: is that good enough, or can there be better? */
static void hello_done(struct smtp_client *c)
{
	if (c->tls || c->tls_level == TLS_NONE) {
		dialogue_ready(c);
	} else if (c->caps.offered & SMTP_CAP_STARTTLS) {
		client_set_state(c, CLIENT_STARTTLS);
		client_say(c, "STARTTLS\r\n");
	} else if (c->tls_level == TLS_MAY) {
		dialogue_ready(c);
	} else {
		client_end(c, SMTP_END_REFUSED, "%s does not offer STARTTLS, and tls = %s demands it", c->remote,
			   tls_level_name(c->tls_level));
	}
}

static void ehlo_reply(struct smtp_client *c)
{
	unsigned code = c->reply.code;
	if (code == 250) {
		take_offer(c);
		hello_done(c);
	} else if (code >= 500 && !c->is_lmtp) {
		say_hello(c, "HELO", span_of(c->hostname), CLIENT_HELO);
	} else {
		refused(c);
	}
}

static void starttls_reply(struct smtp_client *c)
{
	if (c->out.len > 0) {
		dialogue_broken(c, "STARTTLS was answered before it was said");
	} else if (c->reply.code == 220) {
		client_set_state(c, CLIENT_TLS); /* and no further word is read in clear text */
	} else if (c->tls_level == TLS_MAY && c->reply.code != 421) {
		log_event(LOG_LEVEL_INFO, "no-tls", "%s offers STARTTLS and answers %u to it: in clear text", c->remote, c->reply.code);
		dialogue_ready(c);
	} else {
		refused(c);
	}
}

void hello_encrypted(struct smtp_client *c)
{
	memset(&c->caps, 0, sizeof c->caps);
	c->xclient_offer = 0;
	greet(c);
}

/* ---- whose message it is (XCLIENT) */

static void say_xclient(struct smtp_client *c)
{
	struct span rest = span_sub(buf_span(&c->xclient), c->xclient_at, c->xclient_len);
	struct span line = span_sub(rest, 0, span_find(rest, '\n', 0) + 1);
	c->xclient_at += line.len;
	client_set_state(c, CLIENT_XCLIENT);
	if (buf_append_span(&c->out, line) != 0)
		dialogue_broken(c, "no memory");
}

static struct span xclient_name(const struct smtp_client *c)
{
	return span_sub(buf_span(&c->xclient), c->xclient_len, c->xclient.len);
}

/* The name is part of it even where HELO is not offered: the server has it from EHLO. */
static int make_xclient(struct smtp_client *c)
{
	const struct smtp_caps offer = { .xclient = c->xclient_offer };
	unsigned count = 0;
	buf_clear(&c->xclient);
	int err = smtp_lines_xclient(&c->xclient, &c->attempt->envelope, &offer, &count);
	c->xclient_len = c->xclient.len;
	return err ? err : buf_append_span(&c->xclient, smtp_lines_xclient_helo(&c->attempt->envelope, span_of(c->hostname)));
}

bool hello_introduce(struct smtp_client *c)
{
	if (c->identity != IDENTITY_XCLIENT)
		return false;
	if (make_xclient(c) != 0) {
		client_set_state(c, CLIENT_XCLIENT);
		dialogue_broken(c, "no memory");
		return true;
	}
	if (span_eq(buf_span(&c->xclient), buf_span(&c->introduced)))
		return false;
	if (c->caps.xclient == 0 && !c->is_introducing)
		return false; /* it does not offer XCLIENT to us */
	if (c->caps.xclient == 0) {
		/* Postfix, for one, takes XCLIENT once a connection: this message would count as the client's before. */
		client_set_state(c, CLIENT_XCLIENT);
		client_say(c, "QUIT\r\n");
		client_flush(c);
		client_end(c, SMTP_END_STALE, "%s: no XCLIENT any more", c->remote);
		return true;
	}
	c->xclient_at = 0;
	say_xclient(c);
	return true;
}

/* The command may be meant, or we who say it.  All other refusals are said to the client: it stands at the server's greeting. */
static bool may_be_against_us(unsigned code)
{
	return code == 550 || (code >= 500 && code <= 504) || (code >= 530 && code <= 539);
}

/* Nobody knows for whom the server takes this session now, and what a client could bring about by an odd name must not make its mail, or
 * that of others, count as ours: the message waits, and the session ends. */
static void xclient_refused(struct smtp_client *c)
{
	char text[DIALOGUE_TEXT_CAP];
	struct span said = dialogue_text(c, text);
	if (c->reply.code < 500 || !may_be_against_us(c->reply.code)) {
		dialogue_broken_by_reply(c);
		return;
	}
	log_event(LOG_LEVEL_WARN, "xclient-refused", "%s offers XCLIENT and refuses it: %.*s", c->remote, SPAN_FMT(said));
	attempt_settle_rest(c->attempt, SPOOL_OUTCOME_DEFERRED, 0, said);
	client_end(c, SMTP_END_BROKEN, "%s said to XCLIENT: %.*s", c->remote, SPAN_FMT(said));
}

static void xclient_reply(struct smtp_client *c)
{
	if (dialogue_is_closing(c))
		return;
	if (!is_positive(c->reply.code)) {
		xclient_refused(c);
		return;
	}
	c->is_introducing = true;
	buf_clear(&c->introduced);
	if (c->xclient_at < c->xclient_len) {
		say_xclient(c);
		return;
	}
	/* The server is at its greeting again, and what is said now is taken for the client's own. */
	say_hello(c, c->is_lmtp ? "LHLO" : "EHLO", xclient_name(c), CLIENT_XHELO);
}

static void xhelo_reply(struct smtp_client *c)
{
	if (dialogue_is_closing(c))
		return;
	if (c->reply.code < 400 && c->reply.code != 250) {
		dialogue_broken(c, "the reply to EHLO behind XCLIENT makes no sense"); /* the greeting comes late, say */
		return;
	}
	/* Refused is this client, not we: its message bears it, and not the destination. */
	if (c->reply.code != 250) {
		dialogue_broken_by_reply(c);
		return;
	}
	take_offer(c);
	if (buf_append_span(&c->introduced, buf_span(&c->xclient)) != 0) {
		dialogue_broken(c, "no memory");
		return;
	}
	dialogue_envelope(c);
}

void hello_reply(struct smtp_client *c)
{
	switch (c->state) {
	case CLIENT_GREETING:
		if (c->reply.code == 220)
			greet(c);
		else
			refused(c);
		return;
	case CLIENT_EHLO: ehlo_reply(c); return;
	case CLIENT_HELO:
		if (is_positive(c->reply.code))
			hello_done(c);
		else
			refused(c);
		return;
	case CLIENT_STARTTLS: starttls_reply(c); return;
	case CLIENT_XCLIENT: xclient_reply(c); return;
	case CLIENT_XHELO: xhelo_reply(c); return;
	default: return;
	}
}
