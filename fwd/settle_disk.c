#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settle_parts.h"

#define RETURN_CAP (50u << 10) /* of the original; of a longer one the header goes back */
#define REPORT_CAP (8u << 20)

/* ---- reports */

static bool belongs(enum dsn_kind kind, const struct attempt *a, const struct attempt_recipient *r)
{
	static const enum spool_outcome outcomes[] = {
		[DSN_FAILED] = SPOOL_OUTCOME_FAILED, [DSN_DELAYED] = SPOOL_OUTCOME_DEFERRED, [DSN_RELAYED] = SPOOL_OUTCOME_DELIVERED
	};
	return r->outcome == outcomes[kind] && dsn_is_wanted(kind, &a->envelope, &a->envelope.recipients[r->index]);
}

static struct dsn_recipient *list_recipients(const struct attempt *a, enum dsn_kind kind, size_t *count_out)
{
	struct dsn_recipient *list = calloc(a->todo_count, sizeof *list);
	*count_out = 0;
	for (size_t i = 0; list && i < a->todo_count; i++) {
		const struct attempt_recipient *r = &a->todo[i];
		if (belongs(kind, a, r))
			list[(*count_out)++] =
				(struct dsn_recipient){ &a->envelope.recipients[r->index], span_of(r->status), r->text, r->code };
	}
	return list;
}

void settle_report_envelope(const struct settle_item *item, struct spool_recipient *recipient, struct spool_envelope *out)
{
	memset(recipient, 0, sizeof *recipient);
	memset(out, 0, sizeof *out);
	recipient->path = item->attempt->envelope.from;
	/* RFC 3461 section 6.1: no report of a report. */
	recipient->notify = SPOOL_NOTIFY_NEVER;
	out->recipients = recipient;
	out->recipient_count = 1;
	out->time = item->now;
	out->body = item->attempt->envelope.body;
	out->helo = span_of(item->hostname);
	out->proto = SPAN_LIT("ESMTP");
}

static struct span read_original(const struct spool_body_source *body, char *room, bool *is_whole_out)
{
	size_t len = body->len < RETURN_CAP ? (size_t)body->len : RETURN_CAP;
	ssize_t n = pread(body->fd, room, len, (off_t)body->offset);
	*is_whole_out = n >= 0 && (uint64_t)n == body->len;
	return (struct span){ room, n > 0 ? (size_t)n : 0 };
}

static int store_report(struct settle_item *item, const struct spool_id *id, struct span text)
{
	struct spool_recipient recipient;
	struct spool_envelope envelope;
	struct buf lines = { .cap = SPOOL_ENVELOPE_CAP };
	settle_report_envelope(item, &recipient, &envelope);
	int err = spool_envelope_encode(&envelope, &lines);
	struct spool_queue_source source = { .record = { .id = *id }, .envelope = buf_span(&lines), .body_bytes = text };
	if (!err)
		err = spool_queue_create(item->dirs, SPOOL_IN_QUEUE, &source);
	buf_free(&lines);
	return err == ERR_BUSY ? 0 : err;
}

static int write_report(struct settle_item *item, enum dsn_kind kind)
{
	const struct attempt *a = item->attempt;
	size_t count;
	struct dsn_recipient *recipients = list_recipients(a, kind, &count);
	char *room = malloc(RETURN_CAP);
	struct buf text = { .cap = REPORT_CAP };
	int err = recipients && room ? 0 : ERR_NOMEM;
	if (!err) {
		struct dsn_report report = {
			.kind = kind,
			.hostname = span_of(item->hostname),
			.remote = span_of(a->remote),
			.id = item->reports[kind].id,
			.original_id = a->record.id,
			.original = &a->envelope,
			.now = item->now,
			.expires = item->expires,
			.recipients = recipients,
			.count = count,
		};
		report.original_body = read_original(&a->body, room, &report.is_body_whole);
		err = dsn_write(&report, &text);
	}
	if (!err)
		err = store_report(item, &item->reports[kind].id, buf_span(&text));
	buf_free(&text);
	free(room);
	free(recipients);
	return err;
}

/* ---- the message itself */

static int into_file(struct settle_item *item, enum spool_place place)
{
	struct spool_queue_source source = {
		.record = item->attempt->record,
		.envelope = item->attempt->envelope_lines,
		.body = &item->attempt->body,
		.status = item->status,
		.status_count = item->status_count,
	};
	int err = spool_queue_create(item->dirs, place, &source);
	/* There already: a crash came between the file and its acknowledgement. */
	return err == ERR_BUSY ? 0 : err;
}

static int write_attempt(struct settle_item *item)
{
	struct fwd_message *m = item->message;
	if (m->segment)
		return item->keep ? into_file(item, SPOOL_IN_QUEUE) : 0;
	int err = spool_queue_append(item->dirs, SPOOL_IN_QUEUE, &m->id, item->status, item->status_count);
	if (!err && !item->keep)
		err = spool_queue_remove(item->dirs, SPOOL_IN_QUEUE, &m->id, m->is_large);
	return err;
}

static int write_wish(struct settle_item *item)
{
	struct fwd_message *m = item->message;
	bool is_release = item->kind == SETTLE_ITEM_RELEASE;
	enum spool_place from = item->was_held ? SPOOL_IN_HOLD : SPOOL_IN_QUEUE;
	if (item->attempt && item->kind == SETTLE_ITEM_HOLD)
		return into_file(item, SPOOL_IN_HOLD);
	int err = spool_queue_append(item->dirs, from, &m->id, item->status, item->status_count);
	if (err)
		return err;
	if (item->kind == SETTLE_ITEM_DELETE)
		return spool_queue_remove(item->dirs, from, &m->id, m->is_large);
	return spool_queue_move(item->dirs, from, is_release ? SPOOL_IN_QUEUE : SPOOL_IN_HOLD, &m->id);
}

void settle_item_write(struct settle_item *item)
{
	item->err = 0;
	for (size_t kind = 0; kind < DSN_KINDS && !item->err; kind++) {
		struct settle_report *report = &item->reports[kind];
		if (!report->is_wanted || report->is_written)
			continue;
		item->err_where = "a report to the sender";
		item->err = write_report(item, (enum dsn_kind)kind);
		report->is_written = !item->err;
	}
	if (item->err)
		return;
	item->err_where = "the message's file";
	item->err = item->kind == SETTLE_ITEM_ATTEMPT ? write_attempt(item) : write_wish(item);
}
