/* What is no message: copied to bad/ by jobs, and the segment stays until the copy is durable.  A disk that is full today may have room
 * tomorrow, so what fails is tried again each time the journal is looked around in. */
#include "journal_parts.h"

#include <inttypes.h>
#include <string.h>

#include "bad.h"
#include "log.h"

/* A segment with more of them is rubble: the rest is saved after the next start, and until then it stays. */
#define UNSAVED_MAX 1024u

struct unsaved {
	uint64_t offset, length;
	bool has_record, is_torn;
	bool is_said; /* that it could not be saved */
	struct spool_record record;
	struct spool_bad_name name;
	int err;
};

static void say(const struct segment *s, const struct unsaved *span)
{
	log_event(span->is_torn ? LOG_LEVEL_WARN : LOG_LEVEL_ERR, span->is_torn ? "journal-torn" : "journal-damaged",
		  "%s: %" PRIu64 " bytes at %" PRIu64 " are no message%s; %s bad/%s%s%s%s", s->name.text, span->length, span->offset,
		  span->is_torn ? " (a writer died before it had promised anything)" : "",
		  span->err ? "they could not be saved in" : "saved in", span->name.text, span->err ? " (" : "",
		  span->err ? err_name(span->err) : "", span->err ? "): tried again" : "");
}

static void save_work(void *ctx)
{
	struct segment *s = ctx;
	for (size_t at = 0; at + sizeof(struct unsaved) <= s->unsaved_flight.len; at += sizeof(struct unsaved)) {
		struct unsaved span;
		memcpy(&span, s->unsaved_flight.data + at, sizeof span);
		span.err = spool_bad_save_span(s->journal->dirs, s->name.text, s->fd, span.offset, span.length,
					       span.has_record ? &span.record : NULL, &span.name);
		memcpy(s->unsaved_flight.data + at, &span, sizeof span);
	}
}

/* Without memory it is not tried again, and stays. */
static void put_back(struct segment *s, struct unsaved *span)
{
	if (!span->is_said)
		say(s, span);
	span->is_said = true;
	(void)buf_append(&s->unsaved, span, sizeof *span);
}

static void save_done(void *ctx)
{
	struct segment *s = ctx;
	bool is_new = s->unsaved.len > 0, has_failed = false;
	s->journal->jobs--;
	s->is_saving = false;
	for (size_t at = 0; at + sizeof(struct unsaved) <= s->unsaved_flight.len; at += sizeof(struct unsaved)) {
		struct unsaved span;
		memcpy(&span, s->unsaved_flight.data + at, sizeof span);
		if (span.err) {
			has_failed = true;
			put_back(s, &span);
			continue;
		}
		say(s, &span);
		s->unsettled--;
	}
	buf_clear(&s->unsaved_flight);
	if (is_new && !has_failed)
		segment_save_soon(s);
	segment_recycle_if_done(s);
}

void segment_save_soon(struct segment *s)
{
	if (s->is_saving || s->unsaved.len == 0 || !segment_is_open(s))
		return;
	struct buf swap = s->unsaved_flight;
	s->unsaved_flight = s->unsaved;
	s->unsaved = swap;
	s->is_saving = loop_job_start(s->journal->loop, save_work, save_done, s) == 0;
	s->journal->jobs += s->is_saving;
	if (s->is_saving)
		return;
	swap = s->unsaved;
	s->unsaved = s->unsaved_flight;
	s->unsaved_flight = swap;
}

static void add(struct segment *s, const struct unsaved *span)
{
	s->unsettled++;
	if (s->unsaved.len + s->unsaved_flight.len < UNSAVED_MAX * sizeof *span && buf_append(&s->unsaved, span, sizeof *span) == 0)
		return;
	log_event(LOG_LEVEL_ERR, "journal-damaged", "%s: %" PRIu64 " bytes at %" PRIu64 " are no message either; they stay until the next start",
		  s->name.text, span->length, span->offset);
}

void journal_save_later(struct segment *segment, uint64_t offset, uint64_t length, const struct spool_record *record, bool is_torn)
{
	struct unsaved span = { .offset = offset, .length = length, .has_record = record != NULL, .is_torn = is_torn, .is_said = true };
	if (record)
		span.record = *record;
	add(segment, &span);
}

void segment_save_broken(struct segment *segment, const struct spool_entry *entry, bool is_torn)
{
	struct unsaved span = { .offset = entry->offset, .length = entry->length, .has_record = entry->has_record, .is_torn = is_torn };
	if (entry->has_record)
		span.record = entry->record;
	add(segment, &span);
	segment_save_soon(segment);
}
