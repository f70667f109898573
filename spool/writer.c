#include "writer.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "writer_parts.h"

#define SEGMENT_LIMIT_DEFAULT (UINT64_C(64) << 20)
#define INLINE_LIMIT_DEFAULT (UINT64_C(256) << 10)
#define WAIT_MS_DEFAULT 10000u
/* A first segment that nobody had time to prepare is left for a prepared one once that much of it is used: who gets little mail needs none. */
#define EARLY_BYTES (UINT64_C(1) << 20)

void writer_turn_soon(struct spool_writer *w)
{
	loop_task_post(w->loop, &w->turn);
}

/* ---- segments */

static void announce(struct spool_writer *w, bool is_sealed, bool is_void)
{
	struct spool_committed what = { w->now.name, w->now.offset, is_sealed, is_void };
	w->events.committed(w->events.ctx, &what);
}

/* Nothing more will be written to the present segment. */
static void leave_segment(struct spool_writer *w, bool is_void)
{
	if (w->now.fd < 0)
		return;
	announce(w, true, is_void);
	close(w->now.fd);
	w->now.fd = -1;
}

static void ask_for_segment(struct spool_writer *w)
{
	if (w->is_asked || w->next.fd >= 0)
		return;
	w->is_asked = true;
	w->is_asking_due = true;
	w->asked_ms = loop_now_ms(w->loop);
	writer_turn_soon(w);
}

static void switch_segment(struct spool_writer *w)
{
	leave_segment(w, false);
	w->now = w->next;
	w->next = (struct segment){ .fd = -1 };
	w->stats.segments++;
}

int spool_writer_segment(struct spool_writer *w, int fd, const struct spool_segment_name *name)
{
	struct stat st;
	if (w->is_closing || w->next.fd >= 0 || fstat(fd, &st) != 0) {
		close(fd);
		return w->next.fd >= 0 ? ERR_BUSY : ERR_IO;
	}
	w->next = (struct segment){ fd, *name, 0, (uint64_t)st.st_size };
	w->is_asked = w->is_asking_due = false;
	writer_turn_soon(w);
	return 0;
}

static void fail_queued(struct spool_writer *w, int err)
{
	while (w->queued.head) {
		struct spool_txn *txn = w->queued.head;
		txn->err = err;
		txn->stage = TXN_LARGE; /* also drops what has no body in a file */
		txn_move(txn, &w->open);
		large_body_step(txn);
	}
}

void spool_writer_no_segment(struct spool_writer *w, int err)
{
	w->is_asked = w->is_asking_due = false;
	if (!w->is_batch_running)
		fail_queued(w, err == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO);
}

int spool_writer_fd(const struct spool_writer *w)
{
	return w->now.fd >= 0 ? w->now.fd : w->next.fd;
}

/* ---- batches */

static uint64_t length_of(const struct spool_txn *txn)
{
	return SPOOL_RECORD_HEADER_LEN + txn->envelope.len + (spool_record_is_large(&txn->item.record) ? 0 : txn->body.len);
}

/* Whatever is queued and fits.  A record longer than a whole segment goes alone into an empty one. */
static bool gather_batch(struct spool_writer *w)
{
	uint64_t offset = w->now.offset;
	struct spool_batch_item **link = &w->batch.items;
	while (w->queued.head) {
		struct spool_txn *txn = w->queued.head;
		uint64_t length = length_of(txn);
		if (offset > 0 && offset + length > w->options.segment_limit_bytes)
			break;
		offset += length;
		txn->stage = TXN_BATCH;
		txn->item.envelope = buf_span(&txn->envelope);
		txn->item.body = spool_record_is_large(&txn->item.record) ? SPAN_NONE : buf_span(&txn->body);
		*link = &txn->item;
		link = &txn->item.next;
		txn_move(txn, &w->in_batch);
	}
	*link = NULL;
	return w->batch.items != NULL;
}

static void count_batch(struct spool_writer *w, uint64_t messages)
{
	const struct spool_batch *batch = &w->batch;
	struct spool_writer_stats *stats = &w->stats;
	stats->sync_us_sum += batch->sync_us;
	if (batch->sync_us > stats->sync_us_max)
		stats->sync_us_max = batch->sync_us;
	if (batch->err) {
		stats->failed += messages;
		return;
	}
	stats->batches++;
	stats->messages += messages;
	stats->bytes += batch->end - batch->start;
	if (messages > stats->batch_max)
		stats->batch_max = messages;
}

static void settle_item(struct spool_writer *w, struct spool_txn *txn)
{
	if (w->batch.err) {
		txn->err = w->batch.err;
		txn->stage = TXN_LARGE;
		txn_move(txn, &w->open);
		large_body_step(txn);
		return;
	}
	if (spool_record_is_large(&txn->item.record)) {
		w->stats.large_messages++;
		w->stats.large_bytes += txn->item.record.body_len;
	}
	if (txn->large.fd >= 0) {
		close(txn->large.fd); /* only now: while it is locked no sweep takes the file for an orphan */
		txn->large.fd = -1;
	}
	buf_free(&txn->body);
	txn_finish(txn, 0);
}

static void batch_work(void *ctx)
{
	spool_batch_run(&((struct spool_writer *)ctx)->batch);
}

static void batch_done(void *ctx)
{
	struct spool_writer *w = ctx;
	uint64_t messages = 0;
	w->is_batch_running = false;
	w->now.offset = w->batch.end;
	if (w->batch.is_segment_bad)
		leave_segment(w, true);
	else if (!w->batch.err)
		announce(w, false, false);
	for (; w->in_batch.head; messages++)
		settle_item(w, w->in_batch.head);
	count_batch(w, messages);
	writer_turn_soon(w);
}

/* Take the next segment where it is better, ask for it in time. */
static void look_ahead(struct spool_writer *w)
{
	if (w->next.fd >= 0 && (w->now.fd < 0 || (w->now.prepared == 0 && w->next.prepared > 0)))
		switch_segment(w);
	bool is_early = w->now.prepared == 0 && w->now.offset >= EARLY_BYTES && !w->has_asked_early;
	if (w->now.fd >= 0 && w->now.offset < w->options.segment_limit_bytes / 2 && !is_early)
		return;
	w->has_asked_early |= is_early;
	if (!w->is_closing || w->queued.head)
		ask_for_segment(w);
}

static void begin_batch(struct spool_writer *w)
{
	if (w->is_batch_running)
		return;
	look_ahead(w);
	if (!w->queued.head || w->now.fd < 0)
		return;
	w->batch = (struct spool_batch){ .fd = w->now.fd, .start = w->now.offset };
	if (!gather_batch(w)) {
		if (w->next.fd >= 0) {
			switch_segment(w);
			writer_turn_soon(w);
		} else
			ask_for_segment(w);
		return;
	}
	w->is_batch_running = true;
	if (loop_job_start(w->loop, batch_work, batch_done, w) != 0) {
		w->batch.err = ERR_NOMEM;
		w->batch.end = w->batch.start;
		w->is_batch_running = false;
		while (w->in_batch.head)
			settle_item(w, w->in_batch.head);
	}
}

/* ---- large bodies */

void spool_writer_large(struct spool_writer *w, const struct spool_id *id, int err, int fd)
{
	for (struct spool_txn *txn = w->asking.head; txn; txn = txn->next) {
		if (!spool_id_eq(&txn->item.record.id, id))
			continue;
		if (err) {
			txn->err = err == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO;
			fd = -1;
		}
		large_body_given(txn, fd);
		return;
	}
	if (!err && fd >= 0)
		close(fd);
}

/* ---- the turn of the loop in which everything that is due is called */

static void make_requests(struct spool_writer *w)
{
	if (w->is_asking_due) {
		w->is_asking_due = false;
		w->events.need_segment(w->events.ctx);
	}
	while (w->asking_due.head && w->asking.count < LARGE_ASKED_MAX) {
		struct spool_txn *txn = w->asking_due.head;
		struct spool_id id = txn->item.record.id;
		txn->asked_ms = loop_now_ms(w->loop);
		txn_move(txn, &w->asking);
		w->events.need_large(w->events.ctx, &id);
	}
	writer_watch(w);
}

static void make_done_calls(struct spool_writer *w)
{
	while (w->finished.head) {
		struct spool_txn *txn = w->finished.head;
		spool_done_fn done = txn->done;
		void *ctx = txn->done_ctx;
		int err = txn->err;
		txn_free(txn);
		done(ctx, err);
	}
}

static void close_all(struct spool_writer *w)
{
	leave_segment(w, false);
	if (w->next.fd >= 0)
		close(w->next.fd);
	loop_task_cancel(&w->turn);
	loop_timer_destroy(&w->watch);
	loop_fn destroyed = w->destroyed;
	void *ctx = w->destroyed_ctx;
	free(w);
	if (destroyed)
		destroyed(ctx);
}

static void turn(void *ctx)
{
	struct spool_writer *w = ctx;
	begin_batch(w);
	make_requests(w);
	make_done_calls(w);
	if (w->is_closing && spool_writer_is_idle(w))
		close_all(w);
}

/* Nobody answers: what waits fails as if there were no room.  A late answer is taken all the same. */
static void watch_fired(void *ctx)
{
	struct spool_writer *w = ctx;
	uint64_t now_ms = loop_now_ms(w->loop);
	if (w->is_asked && now_ms - w->asked_ms >= w->options.wait_ms)
		spool_writer_no_segment(w, ERR_NOSPACE);
	while (w->asking.head && now_ms - w->asking.head->asked_ms >= w->options.wait_ms) {
		struct spool_txn *txn = w->asking.head;
		txn->err = ERR_NOSPACE;
		large_body_given(txn, -1);
	}
	writer_watch(w);
}

/* Armed for what has waited longest, and for that alone: requests that follow must not put off its end. */
void writer_watch(struct spool_writer *w)
{
	uint64_t now_ms = loop_now_ms(w->loop), oldest_ms = UINT64_MAX;
	if (w->is_asked)
		oldest_ms = w->asked_ms;
	if (w->asking.head && w->asking.head->asked_ms < oldest_ms)
		oldest_ms = w->asking.head->asked_ms;
	if (oldest_ms == UINT64_MAX)
		loop_timer_stop(w->watch);
	else
		loop_timer_start(w->watch, oldest_ms + w->options.wait_ms > now_ms ? oldest_ms + w->options.wait_ms - now_ms : 0);
}

/* ---- life */

int spool_writer_create(struct loop *loop, const struct spool_writer_options *options, const struct spool_writer_events *events,
                        struct spool_writer **out)
{
	struct spool_writer *w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	w->loop = loop;
	w->options = *options;
	if (!w->options.segment_limit_bytes)
		w->options.segment_limit_bytes = SEGMENT_LIMIT_DEFAULT;
	if (!w->options.inline_limit_bytes)
		w->options.inline_limit_bytes = INLINE_LIMIT_DEFAULT;
	if (!w->options.wait_ms)
		w->options.wait_ms = WAIT_MS_DEFAULT;
	w->events = *events;
	w->now.fd = w->next.fd = -1;
	w->turn.fn = turn;
	w->turn.ctx = w;
	int err = w->options.inline_limit_bytes <= SPOOL_INLINE_CAP ? loop_timer_create(loop, watch_fired, w, &w->watch) : ERR_INVAL;
	if (err) {
		free(w);
		return err;
	}
	writer_turn_soon(w);
	*out = w;
	return 0;
}

void spool_writer_destroy(struct spool_writer **writer, loop_fn destroyed, void *ctx)
{
	struct spool_writer *w = *writer;
	if (!w)
		return;
	*writer = NULL;
	w->is_closing = true;
	w->destroyed = destroyed;
	w->destroyed_ctx = ctx;
	writer_turn_soon(w);
}

bool spool_writer_is_idle(const struct spool_writer *w)
{
	return !w->is_batch_running && w->large_jobs == 0 && !w->open.head && !w->asking_due.head && !w->asking.head && !w->queued.head &&
	       !w->finished.head;
}

void spool_writer_stats(const struct spool_writer *w, struct spool_writer_stats *out)
{
	*out = w->stats;
}
