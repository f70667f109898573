#include <stdio.h>
#include <sys/socket.h>

#include "client_verdict.h"
#include "log.h"
#include "session_state.h"
#include "stutter.h"

struct client_limits session_client_limits(const struct session_host *host)
{
	const struct conf *conf = &host->conf.conf;
	return (struct client_limits){ conf->max_client_connections, conf->client_connection_rate, conf->client_recipient_rate };
}

void session_log_deterred(struct session *s, enum counter counter, const char *why)
{
	struct kv kv;
	session_log_begin(s, &kv, "deterred");
	kv_addr(&kv, "client", &s->where.client.addr);
	kv_text(&kv, "iface", session_listen(s)->iface);
	kv_text(&kv, "why", why);
	log_kv(LOG_LEVEL_INFO, &kv);
	counter_add(s->host->counters, counter, 1);
	s->is_accounted = true;
}

/* ---- the greeting */

void session_greet(struct session *s)
{
	const struct conf *conf = session_conf(s);
	uint64_t delay_ms = conf_listen_deters(session_listen(s)) ? conf->greet_delay_s * 1000 : 0;
	char line[CONF_NAME_CAP + 32];
	(void)snprintf(line, sizeof line, "220 %s ESMTP postern", conf->hostname);
	s->is_greeting = delay_ms > 0;
	session_reply_line(s, NULL, span_of(line), false, delay_ms);
}

void session_talks_early(struct session *s)
{
	session_log_deterred(s, COUNTER_EARLY_TALKERS, "talks before the greeting");
	s->is_greeting = false;
	/* The greeting that is held back is the only reply there can be. */
	reply_queue_free(&s->replies);
	session_last_reply(s, 554, "5.5.1", "%s you spoke before the greeting", session_conf(s)->hostname);
}

/* ---- the kernel's sets */

void session_tell_gate(struct session *s, enum kernel_set_purpose purpose)
{
	static const enum counter counters[] = { [KSET_BLOCK] = COUNTER_DROPPED, [KSET_PASS] = COUNTER_PASSED, [KSET_TARPIT] = COUNTER_SENT_TO_TARPIT };
	/* Of who is behind a balancer the kernel sees nothing. */
	if (s->has_told_gate || s->is_relayed)
		return;
	s->has_told_gate = true;
	counter_add(s->host->counters, counters[purpose], 1);
	client_verdict_tell(s->host->master, purpose, s->listen_index, s->fd);
}

bool session_goes_to_kernel_tarpit(const struct session *s)
{
	const struct conf *conf = session_conf(s);
	return conf->tarpit_time_s && conf->gate && conf->gate_queue && !session_listen(s)->trusted && !s->is_relayed && !s->has_told_gate;
}

/* ---- the tarpit */

uint64_t session_tarpit_ms(struct session *s)
{
	const struct conf *conf = session_conf(s);
	const struct tarpit_options options = { conf->tarpit_delay_s * 1000, conf->tarpit_multiplier, conf->tarpit_max_s * 1000 };
	bool by_recipients = conf->tarpit_after && s->rcpts > conf->tarpit_after;
	bool by_errors = conf->tarpit_errors && s->errors >= conf->tarpit_errors;
	if ((!by_recipients && !by_errors) || s->is_greeting || !conf_listen_deters(session_listen(s)))
		return 0;
	if (s->pit.until_ms == 0)
		session_log_deterred(s, COUNTER_TARPITTED, by_recipients ? "tarpit-after is reached" : "tarpit-errors is reached");
	return tarpit_hold_ms(&s->pit, &options, loop_now_ms(s->host->loop));
}

/* What stands in front of the last line leaves as ever: else many pipelined commands would make the text too long to be held. */
static bool send_front(struct session *s)
{
	size_t start = s->out.len > 2 ? s->out.len - 2 : 0;
	while (start > 0 && s->out.data[start - 1] != '\n')
		start--;
	ssize_t n = start ? send(s->fd, s->out.data, start, MSG_NOSIGNAL) : 0;
	if (n > 0)
		buf_consume(&s->out, (size_t)n);
	return n == (ssize_t)start;
}

bool session_stutter(struct session *s)
{
	const struct conf *conf = session_conf(s);
	const struct stutter_options options = { conf->stutter_s * 1000, conf->tarpit_sessions, conf->tarpit_per_client };
	const struct client_limits limits = session_client_limits(s->host);
	s->is_tarpitted = false;
	if (s->state == SESSION_DEAD || s->host->is_draining || !send_front(s) ||
	    stutter_start(s->host->stutterers, &options, &limits, s->fd, buf_span(&s->out), s->client) != 0)
		return false;
	session_log_deterred(s, COUNTER_STUTTERED, "tarpit");
	/* Both are theirs now. */
	s->client = NULL;
	loop_io_destroy(&s->io);
	s->fd = -1;
	session_close(s, "tarpit");
	return true;
}

/* ---- paranoid mode */

bool session_is_paranoid(const struct session *s)
{
	return session_conf(s)->paranoid && conf_listen_deters(session_listen(s));
}

bool session_refuses_helo(struct session *s, struct span name)
{
	const char *found = session_is_paranoid(s) ? paranoid_helo(name) : NULL;
	if (!found)
		return false;
	session_log_deterred(s, COUNTER_PARANOID, found);
	session_error(s, 501, "5.5.4", "There are suspicious characters in that name");
	return true;
}

bool session_refuses_path(struct session *s, const struct smtp_path *path, const char *enhanced)
{
	const char *found = session_is_paranoid(s) ? paranoid_path(path) : NULL;
	if (!found)
		return false;
	session_log_deterred(s, COUNTER_PARANOID, found);
	session_error(s, 553, enhanced, "That address looks suspicious");
	return true;
}

/* ---- the end */

void session_log_null(struct session *s)
{
	char client[ADDR_TEXT_CAP];
	struct span name = policy_client_name(&s->policy);
	struct kv kv;
	if (s->is_accounted || s->host->is_draining)
		return;
	session_log_begin(s, &kv, "null-connection");
	kv_addr(&kv, "client", &s->where.client.addr);
	/* The words of sendmail: somebody's scripts look for them. */
	kv_printf(&kv, "msg", "%.*s [%s] did not issue MAIL/EXPN/VRFY/ETRN during connection to %s",
		  SPAN_FMT(name.len ? span_sub(name, 0, 80) : SPAN_LIT("UNKNOWN")), addr_format(&s->where.client.addr, client),
		  session_listen(s)->iface);
	log_kv(LOG_LEVEL_INFO, &kv);
	counter_add(s->host->counters, COUNTER_NULL_CONNECTIONS, 1);
}

/* ---- recipients */

bool session_may_name_recipient(struct session *s)
{
	const struct client_limits limits = session_client_limits(s->host);
	if (client_take_recipient(s->client, &limits, loop_now_ms(s->host->loop)))
		return true;
	session_log_deterred(s, COUNTER_RCPT_TOO_FAST, "client-recipient-rate is reached");
	session_reply(s, 450, "4.7.1", "Too many recipients from your address in so short a time, try again later");
	return false;
}
