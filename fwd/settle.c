#include "settle.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "fault.h"
#include "log.h"
#include "route.h"
#include "scheduler.h"
#include "settle_parts.h"

#define RETRY_MS 5000u /* a full disk: what could not be written is tried again */

struct settle_job {
	struct settle *settle;
	struct settle_item *items;
};

struct settle {
	struct forwarder *f;
	struct settle_item *head, **tail;
	struct settle_item *failed;
	struct loop_timer *retry_timer;
	unsigned jobs;
	bool is_complaining;
};

static void start_jobs(struct settle *s);

/* ---- logs */

static void log_recipient(const struct forwarder *f, const struct attempt *a, const struct attempt_recipient *r, int64_t next_time)
{
	const struct fwd_message *m = a->message;
	static const char *const events[] = {
		[SPOOL_OUTCOME_DELIVERED] = "delivered", [SPOOL_OUTCOME_FAILED] = "failed", [SPOOL_OUTCOME_DEFERRED] = "deferred"
	};
	enum log_level level = r->outcome == SPOOL_OUTCOME_DELIVERED ? LOG_LEVEL_INFO : LOG_LEVEL_WARN;
	struct kv kv;
	if (!log_enabled(level))
		return;
	kv_init(&kv);
	kv_text(&kv, "ev", events[r->outcome]);
	kv_text(&kv, "id", m->id.text);
	kv_span(&kv, "from", a->envelope.from);
	kv_span(&kv, "to", a->envelope.recipients[r->index].path);
	kv_text(&kv, "dst", a->remote[0] ? a->remote : m->destination ? destination_key(m->destination) : "");
	if (a->tls[0])
		kv_text(&kv, "tls", a->tls);
	kv_u64(&kv, "rc", r->code);
	kv_span(&kv, "reply", r->text);
	kv_u64(&kv, "size", a->body.len);
	kv_u64(&kv, "attempt", m->attempts);
	kv_u64(&kv, "took_ms", a->started_ms ? loop_now_ms(f->loop) - a->started_ms : 0);
	if (m->accepted_time)
		kv_i64(&kv, "age_s", loop_wall_time() - m->accepted_time);
	if (r->outcome == SPOOL_OUTCOME_DEFERRED)
		kv_i64(&kv, "next_s", next_time - loop_wall_time());
	log_kv(level, &kv);
}

/* Who sent it stands in posternd's ev=stored with this id, and in the lines about its attempts. */
static void log_wish(const char *event, const char *by, const struct fwd_message *m)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", event);
	kv_text(&kv, "id", m->id.text);
	kv_text(&kv, "by", by);
	if (m->destination)
		kv_text(&kv, "dst", destination_key(m->destination));
	kv_u64(&kv, "rcpts", m->recipients);
	kv_u64(&kv, "size", m->size_bytes);
	kv_u64(&kv, "attempt", m->attempts);
	if (m->accepted_time)
		kv_i64(&kv, "age_s", loop_wall_time() - m->accepted_time);
	log_kv(LOG_LEVEL_INFO, &kv);
}

/* ---- the end of a message */

static void forget(struct forwarder *f, struct fwd_message *m)
{
	scheduler_forget(f->scheduler, m);
	fwd_table_remove(&f->messages, m);
}

static void leave_journal(struct forwarder *f, struct fwd_message *m, enum spool_outcome outcome)
{
	/* A message that lives on in queue/ keeps its large body. */
	bool is_gone = outcome != SPOOL_OUTCOME_QUEUED;
	journal_settle(f->journal, m->segment, m->offset, outcome, is_gone && m->is_large ? &m->id : NULL);
	m->segment = NULL;
	free(m->outcomes);
	m->outcomes = NULL;
}

/* ---- after the disk */

static void attempt_written(struct settle *s, struct settle_item *item)
{
	struct forwarder *f = s->f;
	struct fwd_message *m = item->message;
	report_send(f, &item->reports, item->attempt);
	bool has_failed = attempt_count(item->attempt, SPOOL_OUTCOME_FAILED) > 0;
	if (m->segment)
		leave_journal(f, m,
			      item->keep   ? SPOOL_OUTCOME_QUEUED
			      : has_failed ? SPOOL_OUTCOME_FAILED
					   : SPOOL_OUTCOME_DELIVERED);
	if (item->keep) {
		scheduler_wait(f->scheduler, m);
		return;
	}
	f->stats.bounced += has_failed;
	f->stats.delivered += !has_failed;
	forget(f, m);
}

static void wish_written(struct settle *s, struct settle_item *item)
{
	struct forwarder *f = s->f;
	struct fwd_message *m = item->message;
	static const char *const events[] = {
		[SETTLE_ITEM_DELETE] = "deleted", [SETTLE_ITEM_HOLD] = "held", [SETTLE_ITEM_RELEASE] = "released"
	};
	log_wish(events[item->kind], item->is_quarantine ? "filter" : "administrator", m);
	if (m->segment)
		leave_journal(f, m, item->kind == SETTLE_ITEM_DELETE ? SPOOL_OUTCOME_DELETED : SPOOL_OUTCOME_QUEUED);
	switch (item->kind) {
	case SETTLE_ITEM_DELETE:
		f->stats.deleted++;
		forget(f, m);
		break;
	case SETTLE_ITEM_HOLD: m->state = FWD_HELD; break;
	case SETTLE_ITEM_RELEASE:
	case SETTLE_ITEM_ATTEMPT: scheduler_retry(f->scheduler, m); break;
	}
}

static void item_free(struct settle_item *item)
{
	attempt_destroy(&item->attempt);
	free(item);
}

/* A wish that can't be fulfilled leaves everything as it was. */
static void wish_failed(struct settle *s, struct settle_item *item)
{
	log_event(LOG_LEVEL_ERR, "wish", "%s: can't write %s: %s", item->message->id.text, item->err_where, err_name(item->err));
	if (item->was_held)
		item->message->state = FWD_HELD;
	else
		scheduler_retry(s->f->scheduler, item->message);
}

/* Everybody is still to do, and nobody was told anything: that nothing of it is noted does no harm. */
static bool is_forgettable(const struct settle_item *item)
{
	for (size_t kind = 0; kind < DSN_KINDS; kind++) {
		if (item->reports.kinds[kind].is_due)
			return false;
	}
	return attempt_count(item->attempt, SPOOL_OUTCOME_DEFERRED) == item->attempt->todo_count;
}

/* What was delivered stays in memory as such and is written again and again: trying the message anew would deliver it twice. */
static void attempt_failed(struct settle *s, struct settle_item *item)
{
	if (!s->is_complaining)
		log_event(LOG_LEVEL_ERR, "settle", "%s: can't write %s: %s; tried again every %u s", item->message->id.text,
			  item->err_where, err_name(item->err), RETRY_MS / 1000);
	s->is_complaining = true;
	if (is_forgettable(item)) {
		scheduler_wait(s->f->scheduler, item->message);
		item_free(item);
		return;
	}
	item->next = s->failed;
	s->failed = item;
	loop_timer_start(s->retry_timer, RETRY_MS);
}

static void item_written(struct settle *s, struct settle_item *item)
{
	if (item->kind == SETTLE_ITEM_ATTEMPT && item->err) {
		attempt_failed(s, item);
		return;
	}
	if (item->kind == SETTLE_ITEM_ATTEMPT) {
		s->is_complaining = false;
		attempt_written(s, item);
	} else {
		if (item->err)
			wish_failed(s, item);
		else
			wish_written(s, item);
		item->done(item->done_ctx, item->err);
	}
	item_free(item);
}

/* ---- jobs */

static void job_work(void *ctx)
{
	struct settle_job *job = ctx;
	for (struct settle_item *item = job->items; item; item = item->next)
		settle_item_write(item);
}

static void job_done(void *ctx)
{
	struct settle_job *job = ctx;
	struct settle *s = job->settle;
	s->jobs--;
	for (struct settle_item *item = job->items, *next; item; item = next) {
		next = item->next;
		item_written(s, item);
	}
	free(job);
	start_jobs(s);
}

static struct settle_item *take_batch(struct settle *s)
{
	struct settle_item *first = s->head, *last = first;
	for (unsigned n = 1; n < SETTLE_BATCH_MAX && last->next; n++)
		last = last->next;
	s->head = last->next;
	if (!s->head)
		s->tail = &s->head;
	last->next = NULL;
	return first;
}

static void start_jobs(struct settle *s)
{
	while (s->head && s->jobs < SETTLE_JOBS_MAX) {
		struct settle_job *job = calloc(1, sizeof *job);
		if (!job)
			break;
		*job = (struct settle_job){ s, take_batch(s) };
		if (loop_job_start(s->f->loop, job_work, job_done, job) == 0) {
			s->jobs++;
			continue;
		}
		struct settle_item **end = &job->items;
		while (*end)
			end = &(*end)->next;
		*end = s->head;
		s->tail = s->head ? s->tail : end;
		s->head = job->items;
		free(job);
		break;
	}
	if (s->head && s->jobs == 0)
		loop_timer_start(s->retry_timer, RETRY_MS);
}

static void enqueue(struct settle *s, struct settle_item *item)
{
	item->next = NULL;
	*s->tail = item;
	s->tail = &item->next;
	start_jobs(s);
}

static void retry_failed(void *ctx)
{
	struct settle *s = ctx;
	struct settle_item *list = s->failed;
	s->failed = NULL;
	while (list) {
		struct settle_item *next = list->next;
		enqueue(s, list);
		list = next;
	}
	start_jobs(s);
}

/* ---- an attempt */

/* "gave up after 432000 s: ..." */
static void give_up(struct attempt *a, uint64_t lifetime_s)
{
	char text[SPOOL_STATUS_TEXT_CAP];
	for (size_t i = 0; i < a->todo_count; i++) {
		struct attempt_recipient *r = &a->todo[i];
		if (r->outcome != SPOOL_OUTCOME_DEFERRED)
			continue;
		int len = snprintf(text, sizeof text, "given up after %" PRIu64 " s; the last answer was: %.*s", lifetime_s,
				   SPAN_FMT(r->text));
		size_t cut = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
		attempt_settle(a, i, SPOOL_OUTCOME_FAILED, 0, (struct span){ text, cut });
		(void)snprintf(r->status, sizeof r->status, "4.4.7");
	}
}

static int make_statuses(struct settle_item *item, bool is_warning)
{
	struct attempt *a = item->attempt;
	const struct fwd_message *m = item->message;
	item->status = arena_alloc(&a->arena, (a->todo_count + 1) * sizeof *item->status);
	if (!item->status)
		return ERR_NOMEM;
	for (size_t i = 0; i < a->todo_count; i++) {
		const struct attempt_recipient *r = &a->todo[i];
		item->status[item->status_count++] = (struct spool_status){
			.time = item->now,
			.attempt = m->attempts,
			.next_time = item->keep ? m->next_time : 0,
			.has_recipient = true,
			.recipient = r->index,
			.outcome = r->outcome,
			.text = r->text,
		};
	}
	if (is_warning)
		item->status[item->status_count++] = (struct spool_status){
			.time = item->now, .attempt = m->attempts, .next_time = m->next_time, .note = SPAN_LIT("warned")
		};
	return 0;
}

static void count_outcomes(struct forwarder *f, const struct attempt *a)
{
	f->stats.attempts++;
	f->stats.recipients_delivered += attempt_count(a, SPOOL_OUTCOME_DELIVERED);
	f->stats.recipients_failed += attempt_count(a, SPOOL_OUTCOME_FAILED);
	f->stats.deferred += attempt_count(a, SPOOL_OUTCOME_DEFERRED) > 0;
}

void settle_attempt(struct settle *settle, struct attempt **attempt)
{
	struct settle *s = settle;
	struct forwarder *f = s->f;
	struct attempt *a = *attempt;
	struct fwd_message *m = a->message;
	const struct conf *conf = &f->in.conf;
	int64_t now = loop_wall_time(), age = now - m->accepted_time;
	(void)spool_fault(SPOOL_FAULT_FWD_ATTEMPTED);
	*attempt = NULL;
	attempt_settle_rest(a, SPOOL_OUTCOME_DEFERRED, 0, SPAN_LIT("not answered"));
	if (age >= (int64_t)conf->queue_lifetime_s && !a->is_our_fault)
		give_up(a, conf->queue_lifetime_s);
	bool keep = attempt_count(a, SPOOL_OUTCOME_DEFERRED) > 0;
	if (m->attempts < UINT16_MAX)
		m->attempts++;
	/* Its destination keeps a pace of its own: back in line soon, it is there when that works again. */
	unsigned failures = a->is_our_fault ? 1 : m->attempts;
	uint64_t pause_s = backoff_delay(failures, conf->retry_min_s, conf->retry_max_s, backoff_random());
	if (keep)
		m->next_time = now + (int64_t)(pause_s > conf->min_queue_age_s ? pause_s : conf->min_queue_age_s);
	for (size_t i = 0; i < a->todo_count; i++)
		log_recipient(f, a, &a->todo[i], m->next_time);
	count_outcomes(f, a);
	m->state = FWD_SETTLING;

	/* The way of nearly every message: delivered at the first attempt, no file touched. */
	bool is_plain = m->segment && attempt_count(a, SPOOL_OUTCOME_DELIVERED) == a->todo_count;
	if (is_plain && !report_is_success_awaited(a)) {
		leave_journal(f, m, SPOOL_OUTCOME_DELIVERED);
		f->stats.delivered++;
		attempt_destroy(&a);
		forget(f, m);
		return;
	}
	struct settle_item *item = calloc(1, sizeof *item);
	bool is_warning = keep && !m->is_warned && conf->queue_warn_s > 0 && age >= (int64_t)conf->queue_warn_s;
	if (item) {
		*item = (struct settle_item){ .kind = SETTLE_ITEM_ATTEMPT, .dirs = &f->in.dirs, .message = m, .attempt = a };
		item->keep = keep;
		item->now = now;
	}
	if (!item || make_statuses(item, is_warning) != 0) {
		/* Better twice than lost. */
		log_event(LOG_LEVEL_ERR, "settle", "%s: no memory to settle it: it will be tried again", m->id.text);
		free(item);
		attempt_destroy(&a);
		m->next_time = now + (int64_t)conf->retry_min_s;
		scheduler_wait(f->scheduler, m);
		return;
	}
	/* Should we be killed before the file is there, at least these are not sent again. */
	for (size_t i = 0; m->segment && i < a->todo_count; i++) {
		if (a->todo[i].outcome == SPOOL_OUTCOME_DELIVERED)
			journal_note(f->journal, m->segment, m->offset, a->todo[i].index, SPOOL_OUTCOME_DELIVERED);
	}
	report_plan(f, a, is_warning, now, &item->reports);
	m->is_warned = m->is_warned || is_warning;
	m->recipients = (uint16_t)attempt_count(a, SPOOL_OUTCOME_DEFERRED);
	enqueue(s, item);
}

/* ---- an administrator's wish */

int settle_wish(struct settle *settle, struct fwd_message *message, enum settle_wish wish, settle_done_fn done, void *ctx)
{
	static const struct {
		enum settle_kind kind;
		const char *note;
	} wishes[] = { [SETTLE_DELETE] = { SETTLE_ITEM_DELETE, "" },
		       [SETTLE_HOLD] = { SETTLE_ITEM_HOLD, "held" },
		       [SETTLE_RELEASE] = { SETTLE_ITEM_RELEASE, "released" },
		       [SETTLE_QUARANTINE] = { SETTLE_ITEM_HOLD, "held" } };
	struct forwarder *f = settle->f;
	struct fwd_message *m = message;
	if (m->state == FWD_ACTIVE || m->state == FWD_SETTLING)
		return ERR_BUSY;
	if ((wish == SETTLE_RELEASE) != (m->state == FWD_HELD) && wish != SETTLE_DELETE)
		return ERR_INVAL;
	struct settle_item *item = calloc(1, sizeof *item);
	if (!item)
		return ERR_NOMEM;
	*item = (struct settle_item){ .kind = wishes[wish].kind, .dirs = &f->in.dirs, .message = m, .now = loop_wall_time(),
				      .done = done, .done_ctx = ctx };
	item->was_held = m->state == FWD_HELD;
	item->is_quarantine = wish == SETTLE_QUARANTINE;
	item->single = (struct spool_status){ .time = item->now, .attempt = m->attempts, .note = span_of(wishes[wish].note) };
	if (wish == SETTLE_DELETE) {
		item->single.has_recipient = true;
		item->single.recipient = SPOOL_ACK_ALL;
		item->single.outcome = SPOOL_OUTCOME_DELETED;
	}
	item->status = &item->single;
	item->status_count = 1;
	int err = m->segment && item->kind == SETTLE_ITEM_HOLD ? attempt_load(&f->in.dirs, m, &item->attempt) : 0;
	if (err) {
		free(item);
		return err;
	}
	scheduler_take(f->scheduler, m);
	m->state = FWD_SETTLING;
	if (m->segment && wish == SETTLE_DELETE) {
		wish_written(settle, item);
		item_free(item);
		return 1;
	}
	enqueue(settle, item);
	return 0;
}

/* ---- life */

int settle_create(struct forwarder *f, struct settle **out)
{
	struct settle *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->f = f;
	s->tail = &s->head;
	int err = loop_timer_create(f->loop, retry_failed, s, &s->retry_timer);
	if (err)
		free(s);
	else
		*out = s;
	return err;
}

static void free_list(struct settle_item *list)
{
	while (list) {
		struct settle_item *next = list->next;
		item_free(list);
		list = next;
	}
}

void settle_destroy(struct settle **settle)
{
	if (!*settle)
		return;
	loop_timer_destroy(&(*settle)->retry_timer);
	free_list((*settle)->head);
	free_list((*settle)->failed);
	free(*settle);
	*settle = NULL;
}

bool settle_is_quiet(const struct settle *settle)
{
	return settle->jobs == 0 && !settle->head;
}
