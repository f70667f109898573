#include "startup_scan.h"

#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arena.h"
#include "bad.h"
#include "log.h"
#include "recovery.h"
#include "scheduler.h"

#define BEFORE_DOORS_MS 300u
#define TURN_BUDGET 512u /* messages a turn of the loop */

enum found_kind { FOUND_RECORD, FOUND_FILE, FOUND_SEGMENT, FOUND_BROKEN, FOUND_UNREAD };

/* What a step, on its own thread, saw.  A segment may hold a hundred thousand records, so it is kept small. */
struct found {
	struct found *next;
	enum found_kind kind;
	const char *name;           /* of the segment; of the broken file or span as bad/ has it */
	uint64_t offset;
	union {
		struct {
			struct spool_record record;
			/* What routes are chosen by; recipients are only counted. */
			struct span listener;
			struct endpoint client, dst;
			int64_t accepted_time, next_time;
			uint32_t recipient_count, pending, attempts;
			bool is_in_queue, is_held, is_warned;
			const enum spool_outcome *outcomes; /* NULL: all are to do */
		} message;
		struct spool_segment_info segment;
		struct {
			const char *place;
			uint64_t length;
			bool is_torn;
			int saved_err; /* FOUND_UNREAD: what the disk said */
			const char *segment; /* NULL, or where it stays since it could not be saved */
			bool has_record;
			struct spool_record record;
		} broken;
	};
};

struct startup_scan {
	struct forwarder *f;
	struct spool_recovery *recovery;
	struct arena arena;
	const char *last_name;
	struct found *head, **tail;
	struct loop_task task;
	bool has_lost_one;     /* no memory to remember a broken span by: its segment must stay */
	struct reason why;
	int result; /* of the last step */
	uint64_t begun_ms;
	size_t left; /* before the step under way */
};

static uint64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- in a job: remember */

static const char *keep_name(struct startup_scan *s, const char *name)
{
	/* Thousands of records of one segment come in a row. */
	if (!s->last_name || strcmp(s->last_name, name) != 0)
		s->last_name = arena_copy(&s->arena, span_of(name)).ptr;
	return s->last_name;
}

static struct found *remember(struct startup_scan *s, enum found_kind kind, const char *name)
{
	struct found *found = arena_alloc(&s->arena, sizeof *found);
	const char *kept = keep_name(s, name);
	if (!found || !kept)
		return NULL;
	found->kind = kind;
	found->name = kept;
	*s->tail = found;
	s->tail = &found->next;
	return found;
}

static bool has_settled(const struct spool_found *from)
{
	for (size_t i = 0; i < from->envelope->recipient_count; i++) {
		if (from->outcomes[i] != SPOOL_OUTCOME_NONE && from->outcomes[i] != SPOOL_OUTCOME_DEFERRED)
			return true;
	}
	return false;
}

static int saw_message(void *ctx, const struct spool_found *from)
{
	struct startup_scan *s = ctx;
	const struct spool_envelope *e = from->envelope;
	struct found *found = remember(s, from->segment ? FOUND_RECORD : FOUND_FILE, from->segment ? from->segment : "");
	if (!found)
		return ERR_NOMEM;
	found->offset = from->offset;
	found->message.record = *from->record;
	found->message.client = e->client;
	found->message.dst = e->dst;
	found->message.accepted_time = e->time;
	found->message.recipient_count = (uint32_t)e->recipient_count;
	found->message.is_in_queue = from->is_in_queue;
	found->message.is_held = !from->segment && from->place == SPOOL_IN_HOLD;
	found->message.listener = arena_copy(&s->arena, e->listener);
	if (!found->message.listener.ptr)
		return ERR_NOMEM;
	if (from->item) {
		found->message.pending = from->item->pending;
		found->message.attempts = from->item->attempts;
		found->message.is_warned = from->item->is_warned;
		found->message.next_time = from->item->next_time;
	} else if (has_settled(from)) {
		enum spool_outcome *outcomes = arena_alloc(&s->arena, e->recipient_count * sizeof *outcomes);
		if (!outcomes)
			return ERR_NOMEM;
		memcpy(outcomes, from->outcomes, e->recipient_count * sizeof *outcomes);
		found->message.outcomes = outcomes;
	}
	return 0;
}

static int saw_segment(void *ctx, const struct spool_segment_info *info)
{
	struct startup_scan *s = ctx;
	bool has_lost_one = s->has_lost_one;
	s->has_lost_one = false;
	struct found *found = has_lost_one ? NULL : remember(s, FOUND_SEGMENT, info->name);
	if (!found)
		return ERR_NOMEM;
	found->segment = *info;
	found->segment.name = found->name;
	return 0;
}

static void saw_unread(struct startup_scan *s, const struct spool_broken *broken)
{
	struct found *found = remember(s, FOUND_UNREAD, broken->name);
	if (!found)
		return;
	found->offset = broken->offset;
	found->broken.place = broken->place;
	found->broken.saved_err = broken->err;
}

/* Saved at once: the descriptor is only lent. */
static void saw_broken(void *ctx, const struct spool_broken *broken)
{
	struct startup_scan *s = ctx;
	const struct spool_dirs *dirs = &s->f->in.dirs;
	struct spool_bad_name name;
	int err;
	if (broken->is_void)
		return;
	if (broken->is_unread) {
		saw_unread(s, broken);
		return;
	}
	bool is_file = strcmp(broken->place, "queue") == 0 || strcmp(broken->place, "hold") == 0;
	if (is_file)
		err = spool_queue_to_bad(dirs, broken->place[0] == 'h' ? SPOOL_IN_HOLD : SPOOL_IN_QUEUE, broken->name, &name);
	else
		err = spool_bad_save_span(dirs, broken->name, broken->fd, broken->offset, broken->length, broken->record, &name);
	struct found *found = remember(s, FOUND_BROKEN, name.text);
	if (!found) {
		s->has_lost_one = true;
		return;
	}
	found->offset = broken->offset;
	found->broken.place = broken->place; /* one of a few constants */
	found->broken.length = broken->length;
	found->broken.is_torn = broken->is_torn;
	found->broken.saved_err = err;
	found->broken.has_record = broken->record != NULL;
	if (broken->record)
		found->broken.record = *broken->record;
	if (err && !is_file && !(found->broken.segment = keep_name(s, broken->name)))
		s->has_lost_one = true;
}

/* ---- on the loop: take */

static struct spool_envelope envelope_of(const struct found *found)
{
	return (struct spool_envelope){ .recipient_count = found->message.recipient_count,
					.client = found->message.client,
					.dst = found->message.dst,
					.listener = found->message.listener,
					.time = found->message.accepted_time };
}

static void take_record(struct forwarder *f, const struct found *found)
{
	struct segment *segment = journal_adopt(f->journal, found->name);
	/* NULL: its writer lived until a moment ago, and the journal reads it by itself. */
	if (!segment)
		return;
	if (found->message.is_in_queue) {
		/* A crash came between its file and this acknowledgement; the file knows more. */
		journal_note(f->journal, segment, found->offset, SPOOL_ACK_ALL, SPOOL_OUTCOME_QUEUED);
		return;
	}
	struct spool_envelope envelope = envelope_of(found);
	if (forwarder_take_record(f, segment, found->offset, &found->message.record, &envelope, found->message.outcomes))
		segment->unsettled++;
}

static void take_file(struct forwarder *f, const struct found *found)
{
	const struct spool_record *record = &found->message.record;
	struct spool_envelope envelope = envelope_of(found);
	struct fwd_message *m;
	int err = fwd_table_add(&f->messages, &record->id, &m);
	if (err) {
		log_event(LOG_LEVEL_ERR, "not-taken", "%s is left for the next start: %s", record->id.text,
			  err == ERR_BUSY ? "there is another one of that name" : "no memory");
		return;
	}
	m->is_large = spool_record_is_large(record);
	m->size_bytes = record->body_len;
	m->accepted_time = forwarder_accepted_time(record, &envelope);
	m->recipients = (uint16_t)found->message.pending;
	m->attempts = found->message.attempts < UINT16_MAX ? (uint16_t)found->message.attempts : UINT16_MAX;
	m->is_warned = found->message.is_warned;
	m->next_time = found->message.next_time;
	if (found->message.is_held)
		m->state = FWD_HELD;
	else
		(void)scheduler_add(f->scheduler, m, &envelope);
}

static void tell_broken(struct forwarder *f, const struct found *found)
{
	bool is_torn = found->broken.is_torn;
	struct segment *segment = found->broken.segment ? journal_adopt(f->journal, found->broken.segment) : NULL;
	if (segment)
		journal_save_later(segment, found->offset, found->broken.length, found->broken.has_record ? &found->broken.record : NULL,
				   is_torn);
	f->stats.bad += !is_torn;
	log_event(is_torn ? LOG_LEVEL_WARN : LOG_LEVEL_ERR, "recovery", "%s/: %" PRIu64 " bytes at %" PRIu64 " are no message%s; %s bad/%s%s",
		  found->broken.place, found->broken.length, found->offset, is_torn ? " (never promised to anybody)" : "",
		  found->broken.saved_err ? "could not be saved in" : "saved in", found->name,
		  !found->broken.saved_err ? "" : found->broken.segment ? ": tried again" : ": it stays until the next start");
}

/* What the disk does not give now it may give later. */
static void take_unread(struct forwarder *f, const struct found *found)
{
	struct spool_id id;
	struct fwd_message *m;
	log_event(LOG_LEVEL_ERR, "recovery", "%s/%s: can't be read at %" PRIu64 " (%s): tried again", found->broken.place, found->name,
		  found->offset, err_name(found->broken.saved_err));
	if (strcmp(found->broken.place, "journal") == 0) {
		journal_unread(f->journal, found->name, found->offset);
		return;
	}
	if (spool_id_parse(span_of(found->name), &id) != 0 || fwd_table_add(&f->messages, &id, &m) != 0)
		return;
	m->recipients = 1; /* at least */
	m->accepted_time = (int64_t)(spool_id_time_ms(&id) / 1000);
	m->next_time = loop_wall_time() + (int64_t)f->in.conf.retry_min_s;
	if (found->broken.place[0] == 'h')
		m->state = FWD_HELD;
	else
		scheduler_wait(f->scheduler, m);
}

/* True: there is more. */
static bool take_some(struct startup_scan *s, unsigned budget)
{
	struct forwarder *f = s->f;
	for (; s->head && budget > 0; budget--) {
		const struct found *found = s->head;
		switch (found->kind) {
		case FOUND_RECORD: take_record(f, found); break;
		case FOUND_FILE: take_file(f, found); break;
		case FOUND_SEGMENT: journal_adopted(f->journal, &found->segment); break;
		case FOUND_BROKEN: tell_broken(f, found); break;
		case FOUND_UNREAD: take_unread(f, found); break;
		}
		s->head = found->next;
	}
	if (s->head)
		return true;
	s->tail = &s->head;
	s->last_name = NULL;
	arena_free(&s->arena);
	return false;
}

/* ---- life */

static void end(struct startup_scan *s)
{
	struct forwarder *f = s->f;
	log_event(LOG_LEVEL_INFO, "recovered", "%zu messages in %zu segments and queue/ after %" PRIu64 " ms", f->messages.count,
		  journal_segment_count(f->journal), now_ms() - s->begun_ms);
	startup_scan_destroy(f);
	/* What the scan needed for a while would stay with the process for ever. */
	(void)malloc_trim(0);
}

static void step_work(void *ctx)
{
	struct startup_scan *s = ctx;
	s->result = spool_recovery_step(s->recovery, &s->why);
}

/* One segment that can't be read must not keep the others from being read.  True: that was all. */
static bool is_over(struct startup_scan *s)
{
	if (s->result < 0) {
		log_event(LOG_LEVEL_ERR, "recovery", "%s: what was not read there waits for the next start", s->why.text);
		s->result = 0;
	}
	s->left = spool_recovery_left(s->recovery);
	return s->result != 0;
}

static void step_done(void *ctx);

static void start_step(struct startup_scan *s)
{
	if (is_over(s)) {
		end(s);
	} else if (loop_job_start(s->f->loop, step_work, step_done, s) == 0) {
		s->f->read_jobs++;
	} else {
		log_event(LOG_LEVEL_ERR, "recovery", "no memory: %zu segments and messages wait for the next start", s->left);
		end(s);
	}
}

static void take_turn(void *ctx)
{
	struct startup_scan *s = ctx;
	if (take_some(s, TURN_BUDGET))
		loop_task_post(s->f->loop, &s->task);
	else if (!s->f->is_stopping)
		start_step(s);
}

static void step_done(void *ctx)
{
	struct startup_scan *s = ctx;
	s->f->read_jobs--;
	loop_task_post(s->f->loop, &s->task);
}

void startup_scan_go_on(struct forwarder *f)
{
	if (f->startup_scan)
		start_step(f->startup_scan);
}

size_t startup_scan_left(const struct forwarder *f)
{
	return f->startup_scan ? f->startup_scan->left : 0;
}

void startup_scan_destroy(struct forwarder *f)
{
	struct startup_scan *s = f->startup_scan;
	if (!s)
		return;
	loop_task_cancel(&s->task);
	spool_recovery_free(&s->recovery);
	arena_free(&s->arena);
	free(s);
	f->startup_scan = NULL;
}

int startup_scan_begin(struct forwarder *f, struct reason *why)
{
	struct startup_scan *s = calloc(1, sizeof *s);
	if (!s)
		return reason_set(why, ERR_NOMEM, "no memory");
	const struct spool_recovery_events events = { saw_message, saw_broken, saw_segment, s };
	s->f = f;
	s->tail = &s->head;
	s->task = (struct loop_task){ .fn = take_turn, .ctx = s };
	s->begun_ms = now_ms();
	int err = spool_recovery_start(&f->in.dirs, &events, &s->recovery, why);
	if (err) {
		free(s);
		return err;
	}
	f->startup_scan = s;
	while (now_ms() - s->begun_ms < BEFORE_DOORS_MS) {
		step_work(s);
		(void)take_some(s, UINT_MAX);
		if (is_over(s)) {
			end(s);
			break;
		}
	}
	return 0;
}
