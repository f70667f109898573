#include "queue_walk.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "message_copy.h"
#include "scheduler.h"

#define CHUNK 128u       /* messages in one job */
#define CHUNKS 3u        /* two are read while one is handed out */
#define TURN_BUDGET 256u /* messages a turn of the loop, where nothing is read */

struct chunk {
	struct queue_walk *walk; /* NULL: cancelled while the job ran; the job's end frees the chunk */
	struct forwarder *f;
	struct queue_filter filter;
	size_t count, at;
	bool is_reading;
	struct fwd_message copies[CHUNK]; /* what the job reads by; no others' memory but the segments, which are pinned */
	struct attempt *attempts[CHUNK];  /* NULL: could not be read */
	bool is_out[CHUNK];               /* the filter does not take it */
};

struct queue_walk {
	struct forwarder *f;
	struct queue_walk_events events;
	struct queue_filter filter;
	bool reads;
	struct loop_task task;
	struct spool_id *ids;
	size_t count, at;
	bool is_sorting, is_cancelled;
	struct chunk *chunks[CHUNKS];
	unsigned current; /* the chunk that is handed out; those behind it in the ring are read */
};

const char *queue_walk_state(const struct fwd_message *m)
{
	return m->state == FWD_SETTLING ? "active" : fwd_state_name((enum fwd_state)m->state);
}

static bool takes(const struct queue_filter *filter, const struct fwd_message *m, int64_t now)
{
	struct queue_filter_facts facts = {
		.age_s = now > m->accepted_time ? now - m->accepted_time : 0,
		.size_bytes = m->size_bytes,
		.state = span_of(queue_walk_state(m)),
		.destination = span_of(m->destination ? destination_key(m->destination) : ""),
	};
	return queue_filter_takes(filter, &facts);
}

/* ---- what is read in a job */

static bool takes_some_recipient(const struct queue_filter *filter, const struct attempt *a)
{
	for (size_t i = 0; i < a->todo_count; i++) {
		if (queue_filter_takes_recipient(filter, a->envelope.recipients[a->todo[i].index].path))
			return true;
	}
	return false;
}

static void read_work(void *ctx)
{
	struct chunk *c = ctx;
	for (size_t i = 0; i < c->count; i++) {
		struct attempt *a = NULL;
		int err = attempt_load(&c->f->in.dirs, &c->copies[i], &a);
		if (err && err != ERR_EOF) {
			c->is_out[i] = queue_filter_needs_envelope(&c->filter);
			continue;
		}
		attempt_close(a);
		c->is_out[i] = !queue_filter_takes_envelope(&c->filter, &a->envelope, a->last_text) || !takes_some_recipient(&c->filter, a);
		if (c->is_out[i])
			attempt_destroy(&a);
		c->attempts[i] = a;
	}
}

static void chunk_clear(struct chunk *c)
{
	for (size_t i = 0; i < c->count; i++) {
		attempt_destroy(&c->attempts[i]);
		message_copy_clear(&c->copies[i]);
	}
	c->count = c->at = 0;
}

static void chunk_free(struct chunk **chunk)
{
	if (*chunk)
		chunk_clear(*chunk);
	free(*chunk);
	*chunk = NULL;
}

static void read_done(void *ctx)
{
	struct chunk *c = ctx;
	c->f->read_jobs--;
	c->is_reading = false;
	if (c->walk)
		loop_task_post(c->f->loop, &c->walk->task);
	else
		chunk_free(&c);
}

static int fill(struct queue_walk *w, struct chunk *c)
{
	while (c->count < CHUNK && w->at < w->count) {
		const struct fwd_message *m = fwd_table_find(&w->f->messages, &w->ids[w->at++]);
		if (!m)
			continue;
		if (message_copy_make(&c->copies[c->count], m) != 0)
			return ERR_NOMEM;
		c->attempts[c->count] = NULL;
		c->is_out[c->count++] = false;
	}
	if (c->count == 0)
		return 0;
	int err = loop_job_start(w->f->loop, read_work, read_done, c);
	if (!err) {
		w->f->read_jobs++;
		c->is_reading = true;
	}
	return err;
}

/* ---- handing out */

static void walk_free(struct queue_walk *w)
{
	loop_task_cancel(&w->task);
	for (size_t i = 0; i < CHUNKS; i++) {
		struct chunk *c = w->chunks[i];
		if (c && c->is_reading)
			c->walk = NULL;
		else
			chunk_free(&w->chunks[i]);
	}
	free(w->ids);
	free(w);
}

static void finish(struct queue_walk *w, int err)
{
	struct queue_walk_events events = w->events;
	walk_free(w);
	events.end(events.ctx, err);
}

/* Since its copy was made.  outcomes change in the message before the disk has them. */
static bool has_changed(const struct fwd_message *m, const struct fwd_message *copy)
{
	if (m->attempts != copy->attempts || m->recipients != copy->recipients || m->outcome_count != copy->outcome_count ||
	    (m->outcomes == NULL) != (copy->outcomes == NULL) || m->segment != copy->segment || m->offset != copy->offset)
		return true;
	return m->outcomes && memcmp(m->outcomes, copy->outcomes, m->outcome_count * sizeof *m->outcomes) != 0;
}

/* False: the receiver has no room. */
static bool hand_out_chunk(struct queue_walk *w, struct chunk *c)
{
	for (; c->at < c->count; c->at++) {
		if (c->is_out[c->at])
			continue;
		struct fwd_message *m = fwd_table_find(&w->f->messages, &c->copies[c->at].id);
		if (m && w->events.changed && has_changed(m, &c->copies[c->at]))
			w->events.changed(w->events.ctx, m);
		else if (m && !w->events.message(w->events.ctx, m, c->attempts[c->at]))
			return false;
	}
	chunk_clear(c);
	return true;
}

static void turn_reading(struct queue_walk *w)
{
	struct chunk *c = w->chunks[w->current], *next = w->chunks[(w->current + 1) % CHUNKS];
	int err = 0;
	if (c->is_reading)
		return;
	if (w->events.alive)
		w->events.alive(w->events.ctx);
	for (unsigned i = 1; i < CHUNKS && !err; i++) {
		struct chunk *behind = w->chunks[(w->current + i) % CHUNKS];
		if (!behind->is_reading && behind->count == 0)
			err = fill(w, behind);
	}
	if (!err && !hand_out_chunk(w, c))
		return;
	if (err || next->count == 0) {
		finish(w, err);
		return;
	}
	w->current = (w->current + 1) % CHUNKS;
	loop_task_post(w->f->loop, &w->task);
}

static void turn_plain(struct queue_walk *w)
{
	for (unsigned budget = TURN_BUDGET; w->at < w->count; budget--) {
		if (budget == 0) {
			loop_task_post(w->f->loop, &w->task);
			return;
		}
		struct fwd_message *m = fwd_table_find(&w->f->messages, &w->ids[w->at]);
		if (m && !w->events.message(w->events.ctx, m, NULL))
			return;
		w->at++;
	}
	finish(w, 0);
}

static void turn(void *ctx)
{
	struct queue_walk *w = ctx;
	if (w->reads)
		turn_reading(w);
	else
		turn_plain(w);
}

/* ---- the list of ids */

/* Ids sort by time as text. */
static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct spool_id));
}

static void sort_work(void *ctx)
{
	struct queue_walk *w = ctx;
	qsort(w->ids, w->count, sizeof *w->ids, compare_ids);
}

static void sort_done(void *ctx)
{
	struct queue_walk *w = ctx;
	w->f->read_jobs--;
	w->is_sorting = false;
	if (w->is_cancelled)
		walk_free(w);
	else
		turn(w);
}

static void collect(void *ctx)
{
	struct queue_walk *w = ctx;
	const struct fwd_table *table = &w->f->messages;
	int64_t now = loop_wall_time();
	w->task.fn = turn;
	w->ids = table->count ? malloc(table->count * sizeof *w->ids) : NULL;
	if (table->count && !w->ids) {
		finish(w, ERR_NOMEM);
		return;
	}
	for (size_t i = 0; i < table->room; i++) {
		for (const struct fwd_message *m = table->slots[i]; m; m = m->hash_next) {
			if (takes(&w->filter, m, now))
				w->ids[w->count++] = m->id;
		}
	}
	if (w->count == 0) {
		finish(w, 0);
		return;
	}
	if (loop_job_start(w->f->loop, sort_work, sort_done, w) != 0) {
		finish(w, ERR_NOMEM);
		return;
	}
	w->is_sorting = true;
	w->f->read_jobs++;
}

/* ---- life */

int queue_walk_start(struct forwarder *f, const struct queue_filter *filter, bool reads_all, const struct queue_walk_events *events,
                     struct queue_walk **out)
{
	struct queue_walk *w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	w->f = f;
	w->events = *events;
	w->filter = *filter;
	w->reads = reads_all || queue_filter_needs_envelope(filter);
	w->task = (struct loop_task){ .fn = collect, .ctx = w };
	for (size_t i = 0; w->reads && i < CHUNKS; i++) {
		w->chunks[i] = calloc(1, sizeof *w->chunks[i]);
		if (!w->chunks[i]) {
			walk_free(w);
			return ERR_NOMEM;
		}
		w->chunks[i]->walk = w;
		w->chunks[i]->f = f;
		w->chunks[i]->filter = *filter;
	}
	loop_task_post(f->loop, &w->task);
	*out = w;
	return 0;
}

void queue_walk_go_on(struct queue_walk *walk)
{
	if (!walk->is_sorting)
		loop_task_post(walk->f->loop, &walk->task);
}

void queue_walk_cancel(struct queue_walk **walk)
{
	struct queue_walk *w = *walk;
	if (!w)
		return;
	*walk = NULL;
	if (w->is_sorting)
		w->is_cancelled = true;
	else
		walk_free(w);
}
