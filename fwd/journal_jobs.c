#include "journal_parts.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"

#define FLUSH_MS 25u           /* what is noted within that time shares a sync */
#define FLUSH_RETRY_MS 5000u
#define POLL_SEGMENTS_CAP 4096u

/* ---- opening */

int segment_open_now(struct segment *segment, uint64_t *size_out, bool *is_sealed_out)
{
	const struct spool_dirs *dirs = segment->journal->dirs;
	int err = spool_segment_open(dirs, segment->name.text, &segment->fd, size_out, is_sealed_out);
	if (err)
		return err;
	err = spool_ack_load(dirs, segment->name.text, &segment->known);
	if (!err)
		err = spool_ack_open(dirs, segment->name.text, &segment->acks);
	if (err) {
		(void)close(segment->fd);
		segment->fd = segment->acks.fd = -1;
		return err;
	}
	spool_reader_init(&segment->reader, segment->fd, 0, 0, segment->is_orphan ? SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END : 0);
	spool_reader_expect(&segment->reader, segment->name.text);
	return 0;
}

static void open_work(void *ctx)
{
	struct segment *s = ctx;
	bool is_sealed;
	s->job_err = segment_open_now(s, &s->opened_size, &is_sealed);
}

void segment_not_opened(struct segment *segment, int err)
{
	if (err == ERR_NOTFOUND) {
		/* A repeated notice about a segment that is recycled: nothing lost. */
		journal_drop_segment(segment);
		return;
	}
	if (!segment->is_unopened)
		log_event(LOG_LEVEL_ERR, "journal-open", "%s: it or its acknowledgements can't be opened (%s): tried again", segment->name.text,
			  err_name(err));
	segment->is_unopened = true;
}

static void open_done(void *ctx)
{
	struct segment *s = ctx;
	struct journal *j = s->journal;
	j->jobs--;
	s->is_opening = false;
	if (s->job_err) {
		segment_not_opened(s, s->job_err);
		return;
	}
	s->is_unopened = false;
	if (s->is_orphan && s->opened_size > s->committed)
		s->committed = s->opened_size;
	/* What was announced before the file was open could not be checked then.  Its writer may have gone on since. */
	struct stat st;
	uint64_t size = fstat(s->fd, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
	if (s->committed > size) {
		log_event(LOG_LEVEL_ERR, "notice", "%s: announced up to %" PRIu64 ", but it has only %" PRIu64 " bytes", s->name.text,
			  s->committed, size);
		s->committed = size;
	}
	segment_set_committed(s, s->committed); /* what an earlier run heard to be void stays void */
	if (s->is_void)
		journal_note(j, s, s->committed, SPOOL_ACK_ALL, SPOOL_OUTCOME_VOID);
	journal_scan_soon(j);
	segment_recycle_if_done(s);
}

void segment_open_soon(struct segment *segment)
{
	/* Without memory it stays closed: the next notice or poll tries again. */
	segment->is_opening = loop_job_start(segment->journal->loop, open_work, open_done, segment) == 0;
	segment->journal->jobs += segment->is_opening;
}

/* ---- recycling */

static void recycle_work(void *ctx)
{
	struct segment *s = ctx;
	s->job_err = spool_segment_recycle(s->journal->dirs, s->name.text);
}

static void recycle_done(void *ctx)
{
	struct segment *s = ctx;
	s->journal->jobs--;
	if (s->job_err) {
		if (!s->is_unrecycled)
			log_event(LOG_LEVEL_ERR, "journal-recycle", "%s can't be removed (%s): tried again", s->name.text, err_name(s->job_err));
		s->is_unrecycled = true;
		s->is_recycling = false;
		return;
	}
	log_event(LOG_LEVEL_DEBUG, "journal-recycle", "%s", s->name.text);
	journal_drop_segment(s);
}

void segment_recycle_if_done(struct segment *segment)
{
	struct segment *s = segment;
	if (!segment_is_open(s) || !s->is_sealed || s->unsettled > 0 || s->pins > 0 || s->reader.offset < s->committed || s->is_flushing ||
	    s->is_recycling || s->large.len > 0 || spool_ack_has_pending(&s->acks))
		return;
	s->is_recycling = true;
	if (loop_job_start(s->journal->loop, recycle_work, recycle_done, s) == 0)
		s->journal->jobs++;
	else
		s->is_recycling = false;
}

/* ---- acknowledging */

static void remove_large(struct segment *s)
{
	for (size_t at = 0; at + sizeof(struct spool_id) <= s->large_flight.len; at += sizeof(struct spool_id)) {
		struct spool_id id;
		memcpy(&id, s->large_flight.data + at, sizeof id);
		(void)spool_large_remove(s->journal->dirs, &id);
	}
}

static void flush_work(void *ctx)
{
	struct journal *j = ctx;
	for (size_t i = 0; i < j->flight_count; i++) {
		struct segment *s = j->flight[i];
		s->job_err = spool_ack_write(&s->acks);
		if (!s->job_err)
			remove_large(s);
	}
}

static void flush_done(void *ctx)
{
	struct journal *j = ctx;
	int failed = 0;
	j->jobs--;
	j->is_flushing = false;
	for (size_t i = 0; i < j->flight_count; i++) {
		struct segment *s = j->flight[i];
		s->is_flushing = false;
		spool_ack_end(&s->acks, s->job_err);
		if (s->job_err) {
			failed = s->job_err;
			(void)buf_append(&s->large, s->large_flight.data, s->large_flight.len);
		}
		buf_clear(&s->large_flight);
		segment_recycle_if_done(s);
	}
	if (failed && !j->is_complaining)
		log_event(LOG_LEVEL_ERR, "ack-write",
			  "acknowledgements can't be written (%s): after a crash mail would be delivered twice", err_name(failed));
	j->is_complaining = failed != 0;
	if (failed)
		j->is_dirty = true;
	if (j->is_dirty)
		loop_timer_start(j->flush_timer, failed ? FLUSH_RETRY_MS : FLUSH_MS);
}

void journal_flush_due(void *ctx)
{
	struct journal *j = ctx;
	j->flight_count = 0;
	j->is_dirty = false;
	for (struct segment *s = j->segments; s; s = s->next) {
		if (!segment_is_open(s) || !spool_ack_has_pending(&s->acks))
			continue;
		if (j->flight_count == JOURNAL_FLUSH_MAX) {
			j->is_dirty = true;
			break;
		}
		if (!spool_ack_begin(&s->acks))
			continue;
		struct buf swap = s->large_flight;
		s->large_flight = s->large;
		s->large = swap;
		s->is_flushing = true;
		j->flight[j->flight_count++] = s;
	}
	if (j->flight_count == 0)
		return;
	j->is_flushing = true;
	j->jobs++;
	if (loop_job_start(j->loop, flush_work, flush_done, j) != 0) {
		for (size_t i = 0; i < j->flight_count; i++)
			j->flight[i]->job_err = ERR_NOMEM;
		flush_done(j);
	}
}

void journal_flush_soon(struct journal *j)
{
	if (!j->is_dirty && !j->is_flushing)
		loop_timer_start(j->flush_timer, FLUSH_MS);
	j->is_dirty = true;
}

/* ---- looking around: segments whose writer is gone */

struct sealed {
	struct spool_segment_name name;
	uint64_t size;
};

struct poll_job {
	struct journal *journal;
	struct sealed *sealed;
	size_t count;
};

static bool is_sealed(const struct spool_dirs *dirs, const char *name, uint64_t *size_out)
{
	int fd;
	bool sealed = false;
	if (spool_segment_open(dirs, name, &fd, size_out, &sealed) != 0)
		return false;
	(void)close(fd);
	return sealed;
}

static void poll_work(void *ctx)
{
	struct poll_job *job = ctx;
	const struct spool_dirs *dirs = job->journal->dirs;
	int fd = openat(dirs->journal, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	for (struct dirent *entry; job->count < POLL_SEGMENTS_CAP && (entry = readdir(dir)) != NULL;) {
		struct sealed found;
		if (spool_segment_name_parse(span_of(entry->d_name), &found.name, NULL, NULL) != 0 ||
		    !is_sealed(dirs, found.name.text, &found.size))
			continue;
		struct sealed *more = realloc(job->sealed, (job->count + 1) * sizeof *more);
		if (!more)
			break;
		more[job->count++] = found;
		job->sealed = more;
	}
	(void)closedir(dir);
}

/* A writer that lives seals segments too, and its notice (which may say "void") can be on its way at this moment.  So the first
 * look only remembers; one that is still not sealed by a notice at the second look has lost its writer. */
static void take_over(struct journal *j, const struct sealed *found)
{
	struct segment *s = journal_find(j, found->name.text);
	if (!s)
		s = journal_new_segment(j, &found->name);
	if (!s || s->is_sealed)
		return;
	bool was_sealed = s->was_sealed;
	s->was_sealed = true;
	if (!was_sealed || s->is_opening)
		return;
	s->is_sealed = s->is_orphan = true;
	if (s->fd < 0) {
		segment_open_soon(s);
		return;
	}
	s->reader.flags = SPOOL_READ_CHECK_BODY | SPOOL_READ_OPEN_END;
	if (found->size > s->committed)
		segment_set_committed(s, found->size);
	journal_scan_soon(j);
	segment_recycle_if_done(s);
}

static void poll_done(void *ctx)
{
	struct poll_job *job = ctx;
	struct journal *j = job->journal;
	j->jobs--;
	j->is_polling = false;
	for (size_t i = 0; i < job->count; i++)
		take_over(j, &job->sealed[i]);
	free(job->sealed);
	free(job);
}

void journal_poll(struct journal *journal)
{
	if (journal->is_polling)
		return;
	/* What could not be opened, read or removed before gets another chance. */
	journal_scan_soon(journal);
	for (struct segment *s = journal->segments; s; s = s->next) {
		if (s->is_unopened && !s->is_opening)
			segment_open_soon(s);
		else if (s->is_unrecycled)
			segment_recycle_if_done(s);
		segment_save_soon(s);
	}
	struct poll_job *job = calloc(1, sizeof *job);
	if (!job)
		return;
	job->journal = journal;
	if (loop_job_start(journal->loop, poll_work, poll_done, job) != 0) {
		free(job);
		return;
	}
	journal->is_polling = true;
	journal->jobs++;
}
