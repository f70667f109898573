#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "milter_talk.h"
#include "session_state.h"
#include "space.h"

/* The master has to see the client's connection while it is one, and a client that is refused hangs up at once. */
#define DROP_REPLY_MS 200u

static void waiting_free(struct rcpt_waiting *w)
{
	recipient_check_cancel(&w->check);
	judgement_end(&w->judgement);
	free(w->verdict);
	free(w);
}

void session_txn_reset(struct session *s)
{
	struct session_txn *txn = s->txn;
	if (s->state > SESSION_IDLE && s->state < SESSION_LINGER)
		session_set_state(s, SESSION_IDLE);
	if (!txn)
		return;
	s->txn = NULL;
	s->is_spool_waiting = s->is_check_waiting = false;
	s->host->held_bytes -= txn->held_bytes;
	while (txn->waiting) {
		struct rcpt_waiting *w = txn->waiting;
		txn->waiting = w->next;
		waiting_free(w);
	}
	sender_domain_cancel(&txn->sender_check);
	body_rewrite_destroy(&txn->rewrite);
	content_check_destroy(&txn->check);
	milter_talk_destroy(&txn->milters);
	spool_txn_abort(&txn->spool);
	free(txn->recipients);
	arena_free(&txn->arena);
	free(txn);
	policy_reset(&s->policy);
	counter_sub(s->host->counters, COUNTER_TXNS_OPEN, 1);
}

void session_txn_id(struct session *s)
{
	if (!s->txn->id.text[0])
		s->txn->id = spool_id_next(&s->host->ids);
}

/* ---- MAIL */

/* Asked once a millisecond: with many sessions several MAIL commands come in that time.  That there is no room is always a fresh answer. */
static bool is_above(struct session_host *host, const struct spool_space_limits *limits, struct reason *why)
{
	uint64_t now_ms = loop_now_ms(host->loop);
	int fd = spool_writer_fd(host->writer);
	if (host->space_ms == now_ms && spool_space_compare(&host->space, limits, why) == 0)
		return true;
	/* Without a segment yet the spool itself will say no, at the end of data. */
	if (fd < 0 || spool_space_get(fd, &host->space) != 0)
		return true;
	host->space_ms = now_ms;
	return spool_space_compare(&host->space, limits, why) == 0;
}

/* Is there room for size more bytes (0: not declared)? */
static bool has_room(struct session *s, uint64_t size)
{
	const struct conf *conf = session_conf(s);
	struct spool_space_limits limits = { conf->min_free_bytes, conf->min_free_inodes };
	struct reason why = { "" };
	if (size <= conf->max_size_bytes)
		limits.min_free_bytes += size;
	if (is_above(s->host, &limits, &why))
		return true;
	struct kv kv;
	session_log_begin(s, &kv, "spool-full");
	kv_text(&kv, "why", why.text);
	log_kv(LOG_LEVEL_ERR, &kv);
	counter_add(s->host->counters, COUNTER_SPOOL_FAILURES, 1);
	return false;
}

static int open_txn(struct session *s, const struct smtp_path *path, const struct smtp_mail_params *params)
{
	struct session_txn *txn = calloc(1, sizeof *txn);
	if (!txn)
		return ERR_NOMEM;
	txn->from = arena_copy(&txn->arena, path->path);
	txn->mail = *params;
	txn->mail.envid = arena_copy(&txn->arena, params->envid);
	txn->mail.auth = SPAN_NONE; /* checked, and of no further use: we don't authenticate anybody (RFC 4954 section 5) */
	if (!txn->from.ptr || !txn->mail.envid.ptr) {
		arena_free(&txn->arena);
		free(txn);
		return ERR_NOMEM;
	}
	s->txn = txn;
	counter_add(s->host->counters, COUNTER_TXNS_OPEN, 1);
	return 0;
}

bool session_mail_waits(const struct session *s)
{
	return s->txn && s->txn->sender_check;
}

static void log_bad_sender(const struct session *s, const char *what)
{
	char client[ADDR_TEXT_CAP];
	struct span name = policy_client_name(&s->policy);
	struct kv kv;
	session_log_begin(s, &kv, "sender-domain");
	kv_addr(&kv, "client", &s->where.client.addr);
	kv_span(&kv, "from", s->txn->from);
	/* The words of Spammer Deterrent: somebody's scripts look for them. */
	kv_printf(&kv, "msg", "Rejected from address with %s: <%.*s> from %.*s [%s]", what, SPAN_FMT(span_sub(s->txn->from, 0, 100)),
		  SPAN_FMT(name.len ? span_sub(name, 0, 80) : SPAN_LIT("UNKNOWN")), addr_format(&s->where.client.addr, client));
	log_kv(LOG_LEVEL_INFO, &kv);
}

static void sender_checked(void *ctx, enum sender_domain_result result)
{
	static const struct span ok = SPAN_LIT("250 2.1.0 Ok");
	static const struct span none = SPAN_LIT("550 5.1.8 The domain of the sender has no mail exchanger and no address");
	static const struct span null_mx = SPAN_LIT("550 5.7.27 The domain of the sender takes no mail (null MX)");
	struct session *s = ctx;
	struct reply_slot *slot = s->txn->mail_slot;
	bool is_bad = result == SENDER_DOMAIN_NONE || result == SENDER_DOMAIN_NULL_MX;
	sender_domain_cancel(&s->txn->sender_check);
	if (is_bad) {
		log_bad_sender(s, result == SENDER_DOMAIN_NONE ? "unresolvable domain" : "a domain that takes no mail");
		session_txn_reset(s);
	}
	session_reply_line(s, slot, !is_bad ? ok : result == SENDER_DOMAIN_NONE ? none : null_mx, false, 0);
	session_go_on(s);
}

/* True: the reply to MAIL comes later.  What has no domain is not asked for: the null sender, an address literal, a bare local part. */
static bool start_sender_check(struct session *s)
{
	struct session_txn *txn = s->txn;
	const struct conf *conf = session_conf(s);
	struct span domain = span_sub(txn->from, span_rfind(txn->from, '@') + 1, txn->from.len);
	if (!conf->check_sender_domain || domain.len == 0 || domain.ptr[0] == '[')
		return false;
	/* Without memory for the question the sender passes, as without an answer. */
	if (sender_domain_start(s->host->loop, resolver_source(s->host->resolver), &s->where.client.addr, domain, conf->dns_deadline_s * 1000,
				sender_checked, s, &txn->sender_check))
		return false;
	txn->mail_slot = reply_queue_reserve(&s->replies);
	if (!txn->mail_slot)
		sender_domain_cancel(&txn->sender_check);
	return txn->mail_slot != NULL;
}

void session_mail(struct session *s, const struct smtp_command *cmd)
{
	static const struct smtp_reply_text ok = { 250, "2.1.0", "Ok" };
	struct smtp_path path;
	struct smtp_mail_params params;
	const struct smtp_reply_text *refusal;
	if (s->txn) {
		session_error(s, 503, "5.5.1", "A transaction is open already: RSET first");
		return;
	}
	if (smtp_mail_parse(cmd->args, false, &path, &params, &refusal) != 0) {
		session_error_const(s, refusal);
		return;
	}
	if (session_refuses_path(s, &path, "5.1.7"))
		return;
	if (params.has_size && params.size_bytes > session_conf(s)->max_size_bytes) {
		session_reply(s, 552, "5.3.4", "Message too big: at most %llu bytes here", (unsigned long long)session_conf(s)->max_size_bytes);
		return;
	}
	if (!has_room(s, params.has_size ? params.size_bytes : 0)) {
		session_reply(s, 452, "4.3.1", "Insufficient system storage, try again later");
		return;
	}
	if (open_txn(s, &path, &params) != 0) {
		session_reply(s, 452, "4.3.0", "Out of memory, try again later");
		return;
	}
	session_set_state(s, SESSION_MAIL);
	if (!start_sender_check(s))
		session_reply_const(s, &ok);
}

/* ---- RCPT */

static int add_recipient(struct session *s, struct span path, const struct smtp_rcpt_params *params)
{
	struct session_txn *txn = s->txn;
	if (txn->recipient_count == txn->recipient_room) {
		size_t room = txn->recipient_room ? txn->recipient_room * 2 : 4;
		struct spool_recipient *grown = realloc(txn->recipients, room * sizeof *grown);
		if (!grown)
			return ERR_NOMEM;
		txn->recipients = grown;
		txn->recipient_room = room;
	}
	/* The spool's NOTIFY bits are those of smtp_params.h. */
	_Static_assert((int)SPOOL_NOTIFY_NEVER == (int)SMTP_NOTIFY_NEVER && (int)SPOOL_NOTIFY_SUCCESS == (int)SMTP_NOTIFY_SUCCESS &&
			       (int)SPOOL_NOTIFY_FAILURE == (int)SMTP_NOTIFY_FAILURE &&
			       (int)SPOOL_NOTIFY_DELAY == (int)SMTP_NOTIFY_DELAY,
		       "one set of bits");
	txn->recipients[txn->recipient_count++] = (struct spool_recipient){ .path = path, .notify = params->notify, .orcpt = params->orcpt };
	return 0;
}

/* What is known about the client, for whoever reads the line again (`postern rules replay`): an empty value says that there is none, a
 * missing key that it is not known. */
static void log_client_fact(const struct session *s, struct kv *kv, const char *key, enum fact_kind kind)
{
	const struct fact *fact = facts_find(&s->policy.facts, &(struct fact_key){ .kind = kind });
	if (fact && (fact->state == FACT_PRESENT || fact->state == FACT_ABSENT))
		kv_span(kv, key, fact->state == FACT_PRESENT ? fact->value.text : SPAN_LIT(""));
}

/* known: what the next server said of the recipient; NULL: it was not asked. */
static void log_verdict(const struct session *s, struct span to, const struct rules_verdict *v, const char *known, const char *reply)
{
	struct kv kv;
	session_log_begin(s, &kv, "rcpt");
	kv_text(&kv, "verdict", verdict_kind_name(v->kind));
	kv_u64(&kv, "rule", v->rule_line);
	kv_addr(&kv, "client", &s->where.client.addr);
	kv_addr(&kv, "dst", &s->where.original.addr);
	kv_text(&kv, "iface", session_listen(s)->iface);
	kv_text(&kv, "trust", session_listen(s)->trusted ? "trusted" : "untrusted");
	if (s->where.mark)
		kv_printf(&kv, "mark", "0x%x", s->where.mark);
	kv_text(&kv, "helo", s->helo);
	log_client_fact(s, &kv, "name", FACT_NAME);
	log_client_fact(s, &kv, "ident", FACT_IDENT);
	kv_span(&kv, "from", s->txn->from);
	kv_span(&kv, "to", to);
	if (known)
		kv_text(&kv, "known", known);
	if (reply[0])
		kv_text(&kv, "reply", reply);
	if (v->delay_s)
		kv_u64(&kv, "delay_s", v->delay_s);
	if (v->unknown_reason[0])
		kv_text(&kv, "unknown", v->unknown_reason);
	log_kv(LOG_LEVEL_INFO, &kv);
}

static void count_verdict(const struct session *s, enum verdict_kind kind)
{
	static const enum counter counters[] = {
		[VERDICT_ALLOW] = COUNTER_RCPT_ALLOW,
		[VERDICT_DENY] = COUNTER_RCPT_DENY,
		[VERDICT_NOTO] = COUNTER_RCPT_NOTO,
		[VERDICT_TEMPFAIL] = COUNTER_RCPT_TEMPFAIL,
	};
	counter_add(s->host->counters, counters[kind], 1);
}

/* A check that the rules ask for and nobody has configured: such a recipient is put off, not waved through. */
static const char *missing_need(const struct session *s, const struct rules_verdict *v)
{
	return v->kind == VERDICT_ALLOW ? content_check_missing(s->host, v->needs) : NULL;
}

static void answer_rcpt(struct session *s, struct reply_slot *slot, struct span path, const struct smtp_rcpt_params *params,
			struct rules_verdict *v, const char *known)
{
	static const struct span accepted = SPAN_LIT("250 2.1.5 Ok");
	static const struct span no_memory = SPAN_LIT("452 4.3.0 Out of memory, try again later");
	static const struct span no_check = SPAN_LIT("451 4.3.5 A check that the rules ask for is not available");
	const char *need = missing_need(s, v);
	if (need) {
		v->kind = VERDICT_TEMPFAIL;
		(void)span_to_cstr(no_check, v->reply, sizeof v->reply);
		(void)span_to_cstr(span_of(need), v->unknown_reason, sizeof v->unknown_reason);
	}
	log_verdict(s, path, v, known, v->reply);
	count_verdict(s, v->kind);
	/* Who is in the kernel's tarpit can't be held by a session any more. */
	bool is_for_kernel = v->is_tarpit && v->kind != VERDICT_ALLOW && !v->is_drop && session_goes_to_kernel_tarpit(s);
	if (v->is_drop || is_for_kernel || (v->is_pass && v->kind == VERDICT_ALLOW))
		session_tell_gate(s, v->is_drop ? KSET_BLOCK : is_for_kernel ? KSET_TARPIT : KSET_PASS);
	if (v->kind != VERDICT_ALLOW) {
		s->txn->refused_count++;
		s->is_tarpitted = s->is_tarpitted || (v->is_tarpit && !is_for_kernel);
		session_milters_tell(s, path, params, span_of(v->reply));
		session_reply_line(s, slot, span_of(v->reply), v->close_session, v->delay_s * 1000 + (v->is_drop || is_for_kernel ? DROP_REPLY_MS : 0));
		return;
	}
	s->txn->needs |= v->needs;
	if (!(v->needs & NEED_MILTER))
		session_milters_tell(s, path, params, SPAN_NONE);
	session_reply_line(s, slot, add_recipient(s, path, params) == 0 ? accepted : no_memory, false, 0);
}

static void wait_for(struct session *s, struct rcpt_waiting *w)
{
	w->next = s->txn->waiting;
	s->txn->waiting = w;
	s->txn->waiting_count++;
}

static void waits_no_more(struct session *s, const struct rcpt_waiting *w)
{
	struct rcpt_waiting **link = &s->txn->waiting;
	while (*link != w)
		link = &(*link)->next;
	*link = w->next;
	s->txn->waiting_count--;
}

/* It is to wait for somebody else's word: the verdict of the rules is kept. */
static bool keep_verdict(struct session *s, struct rcpt_waiting *w, const struct rules_verdict *v)
{
	if (!w->verdict && (w->verdict = malloc(sizeof *w->verdict)) != NULL)
		*w->verdict = *v;
	if (!w->slot)
		w->slot = reply_queue_reserve(&s->replies);
	return w->verdict && w->slot;
}

/* ---- what the milters say */

static void milters_answered(void *ctx, const struct milter_refusal *refusal, const char *who)
{
	struct rcpt_waiting *w = ctx;
	struct session *s = w->session;
	(void)who; /* has a line of its own */
	waits_no_more(s, w);
	if (refusal) {
		char line[MILTER_REFUSAL_LINE_CAP];
		/* The verdict in the log stays that of the rules: `rules replay` compares it. */
		log_verdict(s, w->path, w->verdict, w->known, milter_refusal_line(refusal, line));
		counter_add(s->host->counters, COUNTER_RCPT_MILTER, 1);
		s->txn->refused_count++;
		session_milters_reply(s, w->slot, refusal);
	} else {
		answer_rcpt(s, w->slot, w->path, &w->params, w->verdict, w->known);
	}
	waiting_free(w);
	session_go_on(s);
}

/* True: the reply comes later, and w has gone over to the transaction.  Who can't be asked for lack of memory is put off. */
static bool ask_milters(struct session *s, struct rcpt_waiting *w, struct rules_verdict *v)
{
	static const struct span no_memory = SPAN_LIT("452 4.3.0 Out of memory, try again later");
	if (v->kind != VERDICT_ALLOW || !(v->needs & NEED_MILTER) || missing_need(s, v))
		return false;
	if (!keep_verdict(s, w, v) || session_milters_ask(s, w->path, &w->params, milters_answered, w) != 0) {
		v->kind = VERDICT_TEMPFAIL;
		(void)span_to_cstr(no_memory, v->reply, sizeof v->reply);
		return false;
	}
	judgement_end(&w->judgement);
	w->asks_milters = true;
	wait_for(s, w);
	return true;
}

/* The rules, and the next server where it was asked, let it in, or one of them does not. */
static void decided(struct session *s, struct rcpt_waiting *w, struct rules_verdict *v)
{
	if (ask_milters(s, w, v))
		return;
	answer_rcpt(s, w->slot, w->path, &w->params, v, w->known);
	waiting_free(w);
}

/* ---- what the next server says (verify-recipients) */

static void server_answered(void *ctx, enum verify_result result, const char *line)
{
	static const char *const names[] = { [VERIFY_UNKNOWN] = "unknown", [VERIFY_YES] = "yes", [VERIFY_NO] = "no" };
	struct rcpt_waiting *w = ctx;
	struct session *s = w->session;
	w->check = NULL;
	w->known = names[result];
	waits_no_more(s, w);
	if (result == VERIFY_NO) {
		/* The verdict in the log stays that of the rules: `rules replay` compares it. */
		log_verdict(s, w->path, w->verdict, w->known, line);
		counter_add(s->host->counters, COUNTER_RCPT_UNKNOWN, 1);
		s->txn->refused_count++;
		session_reply_line(s, w->slot, span_of(line), false, 0);
		waiting_free(w);
	} else {
		decided(s, w, w->verdict);
	}
	session_go_on(s);
}

/* True: the reply comes later, and w has gone over to the transaction.  Whoever can't ask accepts. */
static bool ask_server(struct session *s, struct rcpt_waiting *w, const struct rules_verdict *v)
{
	const struct conf_listen *listen = session_listen(s);
	if (!listen->verify_recipients || v->kind != VERDICT_ALLOW || missing_need(s, v))
		return false;
	if (!keep_verdict(s, w, v) || recipient_check_start(s->host->checks, listen->iface, &s->where.original, w->path,
							     session_conf(s)->verify_timeout_s * 1000, server_answered, w, &w->check) != 0)
		return false;
	judgement_end(&w->judgement);
	wait_for(s, w);
	return true;
}

/* The rules have spoken. */
static void judged(struct session *s, struct rcpt_waiting *w, struct rules_verdict *v)
{
	if (!ask_server(s, w, v))
		decided(s, w, v);
}

static void start_judgement(struct session *s, struct span path, const struct smtp_rcpt_params *params)
{
	struct rcpt_waiting *w = malloc(sizeof *w);
	struct rules_verdict verdict;
	if (!w) {
		session_reply(s, 452, "4.3.0", "Out of memory, try again later");
		return;
	}
	*w = (struct rcpt_waiting){ .session = s, .path = path, .params = *params };
	judgement_start(&w->judgement, &s->policy, s->sid, s->txn->from, path);
	if (judgement_run(&w->judgement, &verdict) != STEP_WAIT) {
		judged(s, w, &verdict);
		return;
	}
	w->slot = reply_queue_reserve(&s->replies);
	if (w->slot) {
		wait_for(s, w);
		return;
	}
	session_reply(s, 452, "4.3.0", "Out of memory, try again later");
	waiting_free(w);
}

void session_rcpt(struct session *s, const struct smtp_command *cmd)
{
	struct smtp_path path;
	struct smtp_rcpt_params params;
	const struct smtp_reply_text *refusal;
	struct session_txn *txn = s->txn;
	s->rcpts++;
	if (!txn) {
		session_error(s, 503, "5.5.1", "Need MAIL before RCPT");
		return;
	}
	if (smtp_rcpt_parse(cmd->args, false, &path, &params, &refusal) != 0) {
		session_error_const(s, refusal);
		return;
	}
	if (session_refuses_path(s, &path, "5.1.3"))
		return;
	uint64_t max = session_conf(s)->max_recipients;
	if (txn->recipient_count + txn->waiting_count >= max || txn->refused_count >= max) {
		session_reply(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	if (!session_may_name_recipient(s))
		return;
	const struct spool_recipient recipient = { .path = path.path, .notify = params.notify, .orcpt = params.orcpt };
	size_t bytes = spool_envelope_recipient_len(&recipient);
	if (txn->recipient_bytes + bytes > SPOOL_ENVELOPE_RCPT_CAP) {
		/* Said now, and not after the data: the client sends the rest in another transaction. */
		session_reply(s, 452, "4.5.3", "Too many recipients");
		return;
	}
	txn->recipient_bytes += bytes;
	struct span copy = arena_copy(&txn->arena, path.path);
	params.orcpt = arena_copy(&txn->arena, params.orcpt);
	if (!copy.ptr || !params.orcpt.ptr)
		session_reply(s, 452, "4.3.0", "Out of memory, try again later");
	else
		start_judgement(s, copy, &params);
}

void session_facts_arrived(void *ctx)
{
	struct session *s = ctx;
	struct rcpt_waiting **link = s->txn ? &s->txn->waiting : NULL;
	while (link && *link) {
		struct rcpt_waiting *w = *link;
		struct rules_verdict verdict;
		if (w->check || w->asks_milters || judgement_run(&w->judgement, &verdict) == STEP_WAIT) {
			link = &w->next;
			continue;
		}
		*link = w->next;
		s->txn->waiting_count--;
		judged(s, w, &verdict);
	}
	session_go_on(s);
}
