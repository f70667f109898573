#include <stdlib.h>

#include "log.h"
#include "session_state.h"

/* Commands that achieve nothing; beyond this many they count as errors (RFC 5321 section 4.5.4.1 leaves it to us). */
#define JUNK_LIMIT 100u
/* Replies that may wait at once: pipelined recipients whose facts are on their way. */
#define WAITING_MAX 64u

enum {
	FLAG_OVERLAPS = 1, /* may run while earlier replies wait */
	FLAG_HELO = 2,     /* with need-helo HELO or EHLO comes first */
	FLAG_NO_ARGS = 4,
	FLAG_JUNK = 8,
};

struct command {
	unsigned flags;
	void (*run)(struct session *s, const struct smtp_command *cmd);
};

/* False: refused, and said so. */
static bool greet(struct session *s, const struct smtp_command *cmd, bool is_esmtp)
{
	struct smtp_helo helo;
	smtp_helo_parse(cmd->args, &helo);
	if (helo.kind == SMTP_HELO_EMPTY) {
		session_error(s, 501, "5.5.4", "%s needs your host name", smtp_verb_name(cmd->verb));
		return false;
	}
	if (session_refuses_helo(s, cmd->args))
		return false;
	char *copy = malloc(helo.name.len + 1);
	if (!copy || span_to_cstr(helo.name, copy, helo.name.len + 1)) {
		free(copy);
		session_error(s, 501, "5.5.4", "that is no host name");
		return false;
	}
	/* RFC 5321 section 4.1.4: a second EHLO clears the buffers like RSET. */
	session_txn_reset(s);
	free(s->helo);
	s->helo = copy;
	s->helo_kind = helo.kind;
	s->is_esmtp = is_esmtp;
	policy_helo(&s->policy, span_of(s->helo));
	session_set_state(s, SESSION_IDLE);
	return true;
}

static void run_helo(struct session *s, const struct smtp_command *cmd)
{
	char client[ADDR_TEXT_CAP];
	if (greet(s, cmd, false))
		session_reply(s, 250, NULL, "%s Hello [%s]", session_conf(s)->hostname, addr_format(&s->where.client.addr, client));
}

static void run_ehlo(struct session *s, const struct smtp_command *cmd)
{
	char client[ADDR_TEXT_CAP];
	if (greet(s, cmd, true))
		session_reply(s, 250, NULL, "%s Hello [%s]\nPIPELINING\nSIZE %llu\n8BITMIME\nENHANCEDSTATUSCODES\nDSN", session_conf(s)->hostname,
			      addr_format(&s->where.client.addr, client), (unsigned long long)session_conf(s)->max_size_bytes);
}

static void run_rset(struct session *s, const struct smtp_command *cmd)
{
	(void)cmd;
	session_txn_reset(s);
	session_reply(s, 250, "2.0.0", "Ok");
}

static void run_noop(struct session *s, const struct smtp_command *cmd)
{
	(void)cmd;
	session_reply(s, 250, "2.0.0", "Ok");
}

static void run_quit(struct session *s, const struct smtp_command *cmd)
{
	(void)cmd;
	session_txn_reset(s);
	s->is_quitting = true;
	session_last_reply(s, 221, "2.0.0", "%s closing connection", session_conf(s)->hostname);
}

/* What exists in SMTP but was never offered. */
static void run_not_offered(struct session *s, const struct smtp_command *cmd)
{
	session_error(s, 502, "5.5.1", "%s is not offered here", smtp_verb_name(cmd->verb));
}

static void run_vrfy(struct session *s, const struct smtp_command *cmd)
{
	if (cmd->args.len == 0)
		session_error(s, 501, "5.5.4", "VRFY needs an address");
	else if (session_conf(s)->vrfy == VAGUE_OFF)
		run_not_offered(s, cmd);
	else
		session_reply(s, 252, "2.5.0", "Cannot verify here, but will take a message for an address that the rules allow");
}

static void run_expn(struct session *s, const struct smtp_command *cmd)
{
	if (session_conf(s)->expn == VAGUE_OFF)
		run_not_offered(s, cmd);
	else if (cmd->args.len == 0)
		session_error(s, 501, "5.5.4", "EXPN needs a list");
	else
		session_reply(s, 252, "2.5.0", "Cannot expand here, but will take a message for an address that the rules allow");
}

static void run_help(struct session *s, const struct smtp_command *cmd)
{
	(void)cmd;
	session_reply(s, 214, "2.0.0", "HELO EHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP (RFC 5321)");
}

static void run_unknown(struct session *s, const struct smtp_command *cmd)
{
	if (!cmd->is_foreign) {
		session_error(s, 500, "5.5.2", "Command not recognized");
		return;
	}
	struct kv kv;
	session_log_begin(s, &kv, "foreign-protocol");
	kv_span(&kv, "verb", cmd->verb_text);
	log_kv(LOG_LEVEL_INFO, &kv);
	counter_add(s->host->counters, COUNTER_FOREIGN_PROTOCOL, 1);
	s->is_accounted = true;
	session_last_reply(s, 521, "5.5.1", "This is an SMTP server");
}

static const struct command commands[SMTP_VERB_COUNT] = {
	[SMTP_UNKNOWN] = { 0, run_unknown },
	[SMTP_HELO] = { FLAG_JUNK, run_helo },
	[SMTP_EHLO] = { FLAG_JUNK, run_ehlo },
	[SMTP_MAIL] = { FLAG_HELO, session_mail },
	[SMTP_RCPT] = { FLAG_HELO | FLAG_OVERLAPS, session_rcpt },
	[SMTP_DATA] = { FLAG_HELO | FLAG_NO_ARGS, session_data },
	[SMTP_RSET] = { FLAG_NO_ARGS | FLAG_JUNK, run_rset },
	[SMTP_NOOP] = { FLAG_OVERLAPS | FLAG_JUNK, run_noop },
	[SMTP_QUIT] = { FLAG_NO_ARGS, run_quit },
	[SMTP_VRFY] = { FLAG_OVERLAPS | FLAG_JUNK, run_vrfy },
	[SMTP_EXPN] = { FLAG_OVERLAPS | FLAG_JUNK, run_expn },
	[SMTP_HELP] = { FLAG_OVERLAPS | FLAG_JUNK, run_help },
	[SMTP_STARTTLS] = { 0, run_not_offered },
	[SMTP_AUTH] = { 0, run_not_offered },
	[SMTP_BDAT] = { 0, run_not_offered },
	[SMTP_XCLIENT] = { 0, run_not_offered },
	[SMTP_XFORWARD] = { 0, run_not_offered },
	[SMTP_ETRN] = { 0, run_not_offered },
	[SMTP_TURN] = { 0, run_not_offered },
};

bool session_command(struct session *s, struct span line)
{
	struct smtp_command cmd;
	smtp_command_parse(line, &cmd);
	const struct command *c = &commands[cmd.verb];
	if (!reply_queue_is_empty(&s->replies) && (!(c->flags & FLAG_OVERLAPS) || s->replies.count >= WAITING_MAX || session_mail_waits(s)))
		return false;
	if (log_enabled(LOG_LEVEL_DEBUG)) {
		struct kv kv;
		session_log_begin(s, &kv, "command");
		kv_span(&kv, "line", line);
		log_kv(LOG_LEVEL_DEBUG, &kv);
	}
	if (cmd.verb == SMTP_MAIL || cmd.verb == SMTP_EXPN || cmd.verb == SMTP_VRFY || cmd.verb == SMTP_ETRN)
		s->is_accounted = true;
	if (c->flags & FLAG_JUNK && ++s->junk > JUNK_LIMIT)
		session_error(s, 503, "5.5.0", "Too many commands without a message");
	else if (c->flags & FLAG_HELO && !s->helo && session_conf(s)->need_helo)
		session_error(s, 503, "5.5.1", "Say HELO or EHLO first");
	else if (c->flags & FLAG_NO_ARGS && cmd.args.len)
		session_error(s, 501, "5.5.4", "%s takes no argument", smtp_verb_name(cmd.verb));
	else
		c->run(s, &cmd);
	return true;
}
