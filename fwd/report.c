#include "report.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "dsn_text.h"
#include "fault.h"
#include "log.h"
#include "queue_file.h"
#include "route.h"
#include "scheduler.h"

#define RETURN_CAP (50u << 10) /* of the original; of a longer one the header goes back */
#define SMTP_PORT 25u
#define REPORT_CAP (32u << 20) /* SPOOL_RECIPIENTS_CAP recipients, at their longest */

static const enum spool_outcome outcomes[] = {
	[DSN_FAILED] = SPOOL_OUTCOME_FAILED,
	[DSN_DELAYED] = SPOOL_OUTCOME_DEFERRED,
	[DSN_RELAYED] = SPOOL_OUTCOME_DELIVERED,
	[DSN_DELIVERED] = SPOOL_OUTCOME_DELIVERED,
};

/* ---- which */

static bool concerns(enum dsn_kind kind, const struct attempt *a, const struct attempt_recipient *r)
{
	return r->outcome == outcomes[kind] && dsn_is_wanted(kind, &a->envelope, &a->envelope.recipients[r->index]);
}

static bool is_due(enum dsn_kind kind, const struct attempt *a)
{
	for (size_t i = 0; i < a->todo_count; i++) {
		if (concerns(kind, a, &a->todo[i]))
			return true;
	}
	return false;
}

bool report_is_success_awaited(const struct attempt *a)
{
	return !a->has_dsn_relay && is_due(DSN_RELAYED, a);
}

static enum listen_bounce section_bounce(const struct conf *conf, const struct spool_envelope *envelope)
{
	const struct conf_listen *listen = route_find_listen(conf, envelope);
	return listen ? (enum listen_bounce)listen->bounce : LISTEN_BOUNCE_DEFAULT;
}

/* Whether somebody vouches for the sender is what the listen section said when the message came in, not what it says now. */
static bool is_allowed(const struct conf *conf, const struct spool_envelope *envelope)
{
	enum listen_bounce own = section_bounce(conf, envelope);
	if (own != LISTEN_BOUNCE_DEFAULT)
		return own == LISTEN_BOUNCE_YES;
	return conf->bounce == BOUNCE_ALL || (conf->bounce == BOUNCE_TRUSTED && envelope->is_trusted);
}

static const char *why_silent(const struct conf *conf, enum dsn_kind kind, const struct attempt *a, const struct attempt_recipient *r)
{
	if (a->envelope.from.len == 0)
		return "the sender is <>";
	if (!concerns(kind, a, r))
		return "the sender asked for none";
	if (section_bounce(conf, &a->envelope) == LISTEN_BOUNCE_NO)
		return "the section that it came in by has bounce = no";
	return conf->bounce == BOUNCE_NONE ? "bounce = none" : "bounce = trusted, and it came in by an untrusted interface";
}

/* With this line and `ev=failed` an administrator can still tell whoever asks what has become of the message. */
static void log_silence(const struct conf *conf, enum dsn_kind kind, const struct attempt *a, const struct attempt_recipient *r)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "no-report");
	kv_text(&kv, "id", a->message->id.text);
	kv_text(&kv, "kind", dsn_kind_name(kind));
	kv_span(&kv, "from", a->envelope.from);
	kv_span(&kv, "to", a->envelope.recipients[r->index].path);
	kv_u64(&kv, "rc", r->code);
	kv_span(&kv, "reply", r->text);
	kv_text(&kv, "why", why_silent(conf, kind, a, r));
	log_kv(LOG_LEVEL_INFO, &kv);
}

/* A failure that nobody is told of is always logged, other kinds only when they were wanted. */
static void log_silences(const struct conf *conf, enum dsn_kind kind, const struct attempt *a, bool is_report_due)
{
	for (size_t i = 0; i < a->todo_count; i++) {
		const struct attempt_recipient *r = &a->todo[i];
		bool is_wanted = concerns(kind, a, r);
		if (r->outcome == outcomes[kind] && (is_wanted ? !is_report_due : kind == DSN_FAILED))
			log_silence(conf, kind, a, r);
	}
}

void report_plan(struct forwarder *f, const struct attempt *a, bool is_warning, int64_t now, struct report_set *out)
{
	const struct conf *conf = &f->in.conf;
	memset(out, 0, sizeof *out);
	out->now = now;
	out->expires = a->message->accepted_time + (int64_t)conf->queue_lifetime_s;
	memcpy(out->hostname, conf->hostname, sizeof out->hostname);
	const bool is_wanted[DSN_KINDS] = {
		[DSN_FAILED] = is_due(DSN_FAILED, a),
		[DSN_DELAYED] = is_warning && is_due(DSN_DELAYED, a),
		[DSN_RELAYED] = !a->is_final && report_is_success_awaited(a),
		[DSN_DELIVERED] = a->is_final && report_is_success_awaited(a),
	};
	for (size_t kind = 0; kind < DSN_KINDS; kind++) {
		struct report *report = &out->kinds[kind];
		report->is_due = is_wanted[kind] && is_allowed(conf, &a->envelope);
		if (report->is_due)
			report->id = spool_id_next(&f->ids);
		if (is_wanted[kind] || kind == DSN_FAILED)
			log_silences(conf, (enum dsn_kind)kind, a, report->is_due);
		f->stats.reports_withheld += is_wanted[kind] && !report->is_due;
	}
}

/* ---- to disk */

static struct dsn_recipient *list_recipients(const struct attempt *a, enum dsn_kind kind, size_t *count_out)
{
	struct dsn_recipient *list = calloc(a->todo_count, sizeof *list);
	*count_out = 0;
	for (size_t i = 0; list && i < a->todo_count; i++) {
		const struct attempt_recipient *r = &a->todo[i];
		if (concerns(kind, a, r))
			list[(*count_out)++] =
				(struct dsn_recipient){ &a->envelope.recipients[r->index], span_of(r->status), r->text, r->code };
	}
	return list;
}

/* recipient: room for the one it has. */
static void make_envelope(const struct report_set *set, const struct attempt *a, struct spool_recipient *recipient,
			  struct spool_envelope *out)
{
	memset(recipient, 0, sizeof *recipient);
	memset(out, 0, sizeof *out);
	recipient->path = a->envelope.from;
	/* RFC 3461 section 6.1: no report of a report. */
	recipient->notify = SPOOL_NOTIFY_NEVER;
	out->recipients = recipient;
	out->recipient_count = 1;
	out->time = set->now;
	/* For `bounce-via = original`. */
	if (a->envelope.client.addr.family != ADDR_NONE)
		out->dst = (struct endpoint){ a->envelope.client.addr, SMTP_PORT };
	out->helo = span_of(set->hostname);
	out->proto = SPAN_LIT("ESMTP");
}

static struct span read_original(const struct spool_body_source *body, char *room, bool *is_whole_out)
{
	size_t len = body->len < RETURN_CAP ? (size_t)body->len : RETURN_CAP;
	ssize_t n = pread(body->fd, room, len, (off_t)body->offset);
	*is_whole_out = n >= 0 && (uint64_t)n == body->len;
	return (struct span){ room, n > 0 ? (size_t)n : 0 };
}

static int store(const struct report_set *set, const struct spool_dirs *dirs, const struct attempt *a, const struct spool_id *id,
		 struct span text)
{
	struct spool_recipient recipient;
	struct spool_envelope envelope;
	struct buf lines = { .cap = SPOOL_ENVELOPE_CAP };
	make_envelope(set, a, &recipient, &envelope);
	envelope.body = dsn_text_is_8bit(text) ? SPOOL_BODY_8BITMIME : SPOOL_BODY_7BIT;
	int err = spool_envelope_encode(&envelope, &lines);
	struct spool_queue_source source = { .record = { .id = *id }, .envelope = buf_span(&lines), .body_bytes = text };
	if (!err)
		err = spool_queue_create(dirs, SPOOL_IN_QUEUE, &source);
	buf_free(&lines);
	return err == ERR_BUSY ? 0 : err;
}

static int write_one(const struct report_set *set, const struct spool_dirs *dirs, const struct attempt *a, enum dsn_kind kind)
{
	size_t count;
	struct dsn_recipient *recipients = list_recipients(a, kind, &count);
	char *room = malloc(RETURN_CAP);
	struct buf text = { .cap = REPORT_CAP };
	int err = recipients && room ? 0 : ERR_NOMEM;
	if (!err) {
		struct dsn_report report = {
			.kind = kind,
			.hostname = span_of(set->hostname),
			.remote = span_of(a->remote),
			.id = set->kinds[kind].id,
			.original_id = a->record.id,
			.original = &a->envelope,
			.now = set->now,
			.expires = set->expires,
			.recipients = recipients,
			.count = count,
		};
		report.original_body = read_original(&a->body, room, &report.is_body_whole);
		err = dsn_write(&report, &text);
	}
	if (!err)
		err = store(set, dirs, a, &set->kinds[kind].id, buf_span(&text));
	buf_free(&text);
	free(room);
	free(recipients);
	return err;
}

int report_write(struct report_set *set, const struct spool_dirs *dirs, const struct attempt *a)
{
	int err = 0;
	for (size_t kind = 0; kind < DSN_KINDS && !err; kind++) {
		struct report *report = &set->kinds[kind];
		if (!report->is_due || report->is_written)
			continue;
		err = write_one(set, dirs, a, (enum dsn_kind)kind);
		report->is_written = !err;
		(void)spool_fault(SPOOL_FAULT_FWD_REPORT_WRITTEN);
	}
	return err;
}

/* ---- on their way */

static void send_one(struct forwarder *f, const struct report_set *set, const struct attempt *a, enum dsn_kind kind)
{
	const struct spool_id *id = &set->kinds[kind].id;
	struct spool_recipient recipient;
	struct spool_envelope envelope;
	struct fwd_message *m;
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "report");
	kv_text(&kv, "id", a->message->id.text);
	kv_text(&kv, "report", id->text);
	kv_text(&kv, "kind", dsn_kind_name(kind));
	kv_span(&kv, "to", a->envelope.from);
	log_kv(LOG_LEVEL_INFO, &kv);
	f->stats.reports++;
	/* Without memory it waits in queue/ until the next start. */
	if (fwd_table_add(&f->messages, id, &m) != 0)
		return;
	make_envelope(set, a, &recipient, &envelope);
	m->accepted_time = set->now;
	m->recipients = 1;
	(void)scheduler_add(f->scheduler, m, &envelope);
}

void report_send(struct forwarder *f, const struct report_set *set, const struct attempt *a)
{
	for (size_t kind = 0; kind < DSN_KINDS; kind++) {
		if (set->kinds[kind].is_due)
			send_one(f, set, a, (enum dsn_kind)kind);
	}
}
