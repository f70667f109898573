#include "journal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "journal_parts.h"
#include "log.h"

#define SCAN_BUDGET 256 /* records a turn of the loop */
#define READ_FAILURES_MAX 12u /* then the record is left alone until the next start, and with it its segment */
#define JOBS_MAX 256u   /* with so many under way, no notice makes us open one more segment */

struct segment *journal_find(struct journal *j, const char *name)
{
	struct segment *s = j->segments;
	while (s && strcmp(s->name.text, name) != 0)
		s = s->next;
	return s;
}

struct segment *journal_new_segment(struct journal *j, const struct spool_segment_name *name)
{
	struct segment *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	s->name = *name;
	s->journal = j;
	s->fd = s->acks.fd = -1;
	s->next = j->segments;
	j->segments = s;
	j->segment_count++;
	return s;
}

void journal_drop_segment(struct segment *segment)
{
	struct segment **link = &segment->journal->segments;
	while (*link != segment)
		link = &(*link)->next;
	*link = segment->next;
	segment->journal->segment_count--;
	spool_reader_free(&segment->reader);
	spool_ack_set_free(&segment->known);
	spool_ack_close(&segment->acks);
	buf_free(&segment->unsaved);
	buf_free(&segment->unsaved_flight);
	buf_free(&segment->large);
	buf_free(&segment->large_flight);
	if (segment->fd >= 0)
		(void)close(segment->fd);
	free(segment);
}

/* ---- reading */

/* Which recipients an earlier run has settled.  NULL in *out: none.  False: all of them. */
static bool recall(struct segment *s, uint64_t offset, const struct spool_envelope *e, struct arena *arena,
		   const enum spool_outcome **out)
{
	*out = NULL;
	if (s->known.count == 0)
		return true;
	enum spool_outcome *outcomes = arena_alloc(arena, e->recipient_count * sizeof *outcomes);
	size_t settled = 0;
	for (size_t i = 0; outcomes && i < e->recipient_count; i++) {
		outcomes[i] = spool_ack_get(&s->known, offset, (uint32_t)i);
		settled += outcomes[i] != SPOOL_OUTCOME_NONE && outcomes[i] != SPOOL_OUTCOME_DEFERRED;
	}
	if (settled > 0)
		*out = outcomes;
	return settled < e->recipient_count;
}

static void hand_out(struct segment *s, const struct spool_entry *entry)
{
	struct journal *j = s->journal;
	struct arena arena = { NULL, 0 };
	struct spool_envelope envelope;
	const enum spool_outcome *outcomes;
	int err = spool_envelope_decode(entry->envelope, &arena, &envelope);
	if (err)
		segment_save_broken(s, entry, false);
	else if (recall(s, entry->offset, &envelope, &arena, &outcomes) &&
		 j->events.message(j->events.ctx, s, entry->offset, &entry->record, &envelope, outcomes))
		s->unsettled++;
	arena_free(&arena);
}

/* True: go on behind it. */
static bool read_failed(struct segment *s, const struct spool_entry *entry)
{
	bool is_given_up = s->read_failures == READ_FAILURES_MAX && entry->has_record;
	if (s->read_failures == 0 || is_given_up)
		log_event(LOG_LEVEL_ERR, "journal-read", "%s: can't read at %" PRIu64 " (%s): %s", s->name.text, s->reader.offset,
			  err_name(entry->err), is_given_up ? "left alone until the next start" : "tried again");
	if (!is_given_up) {
		s->read_failures += s->read_failures < READ_FAILURES_MAX;
		return false;
	}
	s->unsettled++; /* the segment stays */
	s->reader.offset += entry->length;
	return true;
}

/* True: the budget is used up and there is more. */
static bool scan(struct segment *s, unsigned *budget)
{
	spool_reader_extend(&s->reader, s->committed);
	while (*budget > 0) {
		struct spool_entry entry;
		enum spool_read read = spool_reader_next(&s->reader, &entry);
		(*budget)--;
		switch (read) {
		case SPOOL_READ_RECORD: hand_out(s, &entry); break;
		case SPOOL_READ_CORRUPT: segment_save_broken(s, &entry, false); break;
		case SPOOL_READ_TORN:
			segment_save_broken(s, &entry, s->is_orphan);
			return false;
		case SPOOL_READ_END: return false;
		case SPOOL_READ_ERROR:
			if (!read_failed(s, &entry))
				return false;
			break;
		}
		s->read_failures = 0;
	}
	return true;
}

static bool has_more(const struct segment *s)
{
	return segment_is_open(s) && !s->is_recycling && s->reader.offset < s->committed;
}

static void scan_all(void *ctx)
{
	struct journal *j = ctx;
	unsigned budget = SCAN_BUDGET;
	bool is_more = false;
	for (struct segment *s = j->segments, *next; s && !is_more; s = next) {
		next = s->next;
		if (!has_more(s))
			continue;
		is_more = scan(s, &budget);
		segment_recycle_if_done(s);
	}
	if (is_more)
		loop_task_post(j->loop, &j->scan_task);
}

void journal_scan_soon(struct journal *j)
{
	loop_task_post(j->loop, &j->scan_task);
}

/* ---- what is told from outside */

/* Does the file have so many bytes?  What is announced was written before. */
static bool is_within(const struct segment *s, uint64_t offset)
{
	struct stat st;
	return !segment_is_open(s) || (fstat(s->fd, &st) == 0 && st.st_size >= 0 && offset <= (uint64_t)st.st_size);
}

static struct segment *find_or_add(struct journal *j, const struct spool_segment_name *name)
{
	struct segment *s = journal_find(j, name->text);
	return s || j->jobs >= JOBS_MAX ? s : journal_new_segment(j, name);
}

int journal_notice(struct journal *journal, const struct spool_committed *what)
{
	struct segment *s = find_or_add(journal, &what->segment);
	if (!s)
		return ERR_BUSY;
	if (s->fd < 0 && !s->is_opening && !s->is_unopened)
		segment_open_soon(s);
	if (s->is_sealed)
		return 0;
	if (what->offset < s->committed || !is_within(s, what->offset))
		return ERR_PROTO;
	/* Void is for ever, also what an earlier run has noted. */
	if (!segment_is_open(s) || what->offset <= s->known.void_offset)
		s->committed = what->offset;
	s->is_sealed = what->is_sealed || what->is_void;
	if (what->is_void) {
		s->is_void = true;
		log_event(LOG_LEVEL_ERR, "journal-void", "%s: a sync failed: what lies behind %" PRIu64 " was never accepted",
			  s->name.text, what->offset);
		if (segment_is_open(s))
			journal_note(journal, s, s->committed, SPOOL_ACK_ALL, SPOOL_OUTCOME_VOID);
	}
	if (has_more(s))
		journal_scan_soon(journal);
	else if (s->is_sealed)
		segment_recycle_if_done(s);
	return 0;
}

struct segment *journal_adopt(struct journal *journal, const char *name)
{
	struct spool_segment_name parsed;
	struct segment *s = journal_find(journal, name);
	if (s)
		return s->is_adopted ? s : NULL;
	if (spool_segment_name_parse(span_of(name), &parsed, NULL, NULL) != 0)
		return NULL;
	uint64_t size;
	bool is_sealed;
	s = journal_new_segment(journal, &parsed);
	int err = s ? segment_open_now(s, &size, &is_sealed) : ERR_NOMEM;
	if (!err) {
		/* The scan goes through it, all of it; until it has, nothing is recycled. */
		segment_set_committed(s, size);
		s->reader.offset = s->committed;
		s->is_sealed = s->is_adopted = true;
		journal_pin(s);
		return s;
	}
	if (s) {
		s->is_sealed = s->is_orphan = true;
		segment_not_opened(s, err);
	}
	return NULL;
}

void journal_unread(struct journal *journal, const char *name, uint64_t offset)
{
	struct spool_segment_name parsed;
	struct segment *s = journal_find(journal, name);
	if (!s && spool_segment_name_parse(span_of(name), &parsed, NULL, NULL) == 0) {
		/* Nothing of it was reported. */
		s = journal_new_segment(journal, &parsed);
		if (s)
			s->is_sealed = s->is_orphan = s->is_unopened = true;
	} else if (s && s->is_adopted) {
		s->is_adopted = false;
		s->is_orphan = true;
		s->reader.offset = offset;
		s->reader.flags = SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END;
		journal_unpin(s);
	}
}

void journal_adopted(struct journal *journal, const struct spool_segment_info *info)
{
	struct segment *s = info->is_live ? NULL : journal_adopt(journal, info->name);
	if (s)
		journal_unpin(s);
}

/* ---- what has become of records */

void journal_note(struct journal *journal, struct segment *segment, uint64_t offset, uint32_t recipient, enum spool_outcome outcome)
{
	/* Without memory nothing is noted: then the message may go out twice, which is the lesser evil. */
	if (spool_ack_add(&segment->acks, offset, recipient, outcome) != 0)
		log_event(LOG_LEVEL_ERR, "ack-lost", "%s: no memory to note what became of the record at %" PRIu64,
			  segment->name.text, offset);
	journal_flush_soon(journal);
}

void journal_settle(struct journal *journal, struct segment *segment, uint64_t offset, enum spool_outcome outcome,
		    const struct spool_id *large)
{
	if (large)
		(void)buf_append(&segment->large, large, sizeof *large);
	segment->unsettled--;
	journal_note(journal, segment, offset, SPOOL_ACK_ALL, outcome);
}

void journal_pin(struct segment *segment)
{
	segment->pins++;
}

void journal_unpin(struct segment *segment)
{
	segment->pins--;
	segment_recycle_if_done(segment);
}

/* ---- life */

int journal_create(struct loop *loop, const struct spool_dirs *dirs, const struct journal_events *events, struct journal **out)
{
	struct journal *j = calloc(1, sizeof *j);
	if (!j)
		return ERR_NOMEM;
	j->loop = loop;
	j->dirs = dirs;
	j->events = *events;
	j->scan_task = (struct loop_task){ .fn = scan_all, .ctx = j };
	int err = loop_timer_create(loop, journal_flush_due, j, &j->flush_timer);
	if (err) {
		free(j);
		return err;
	}
	*out = j;
	return 0;
}

void journal_destroy(struct journal **journal)
{
	struct journal *j = *journal;
	if (!j)
		return;
	loop_task_cancel(&j->scan_task);
	loop_timer_destroy(&j->flush_timer);
	while (j->segments)
		journal_drop_segment(j->segments);
	free(j);
	*journal = NULL;
}

bool journal_is_quiet(const struct journal *journal)
{
	return journal->jobs == 0 && !journal->is_dirty;
}

size_t journal_segment_count(const struct journal *journal)
{
	return journal->segment_count;
}
