/* Segments and batches.  A lane is a segment and the one batch that is on its way into it: its write, its sync, its outcome are nobody
 * else's.  One lane is best while syncs are quick: what comes in meanwhile shares the next one.  Where they are slow, more lanes sync side by
 * side, so that nobody waits for the end of a sync that began just before.  Not one file with several syncs under way: the kernel reports a
 * failed write to one of those who sync through a descriptor, and another one would hear that all is well. */
#include "writer_parts.h"

#include <sys/stat.h>
#include <unistd.h>

/* A first segment that nobody had time to prepare is left for a prepared one once that much of it is used: who gets little mail needs none. */
#define EARLY_BYTES (UINT64_C(1) << 20)
#define LANE_SYNC_US 1000u        /* one lane more for each of these that a sync takes */
#define LANE_DENIED_MS 10000u     /* no segment for a further lane: not asked for again before */

/* ---- segments */

static void announce(struct lane *lane, bool is_sealed, bool is_void)
{
	struct spool_writer *w = lane->writer;
	struct spool_committed what = { lane->now.name, lane->now.offset, is_sealed, is_void };
	w->events.committed(w->events.ctx, &what);
}

/* Nothing more will be written to the present segment. */
static void leave_segment(struct lane *lane, bool is_void)
{
	if (lane->now.fd < 0)
		return;
	announce(lane, true, is_void);
	close(lane->now.fd);
	lane->now.fd = -1;
}

/* One request at a time, whoever gives segments expects no more. */
static void ask_for_segment(struct lane *lane)
{
	struct spool_writer *w = lane->writer;
	bool is_first = lane == &w->lanes[0];
	if (w->is_asked || lane->next.fd >= 0 || (!is_first && loop_now_ms(w->loop) < w->denied_until_ms))
		return;
	w->is_asked = true;
	w->is_asking_due = true;
	w->asking_lane = lane;
	w->asked_ms = loop_now_ms(w->loop);
	writer_turn_soon(w);
}

static void switch_segment(struct lane *lane)
{
	leave_segment(lane, false);
	lane->now = lane->next;
	lane->next = (struct segment){ .fd = -1 };
	lane->writer->stats.segments++;
}

int spool_writer_segment(struct spool_writer *w, int fd, const struct spool_segment_name *name)
{
	struct lane *lane = w->asking_lane;
	struct stat st;
	if (w->is_closing || lane->next.fd >= 0 || fstat(fd, &st) != 0) {
		close(fd);
		return lane->next.fd >= 0 ? ERR_BUSY : ERR_IO;
	}
	lane->next = (struct segment){ fd, *name, 0, (uint64_t)st.st_size };
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

int spool_writer_fd(const struct spool_writer *w)
{
	return w->lanes[0].now.fd >= 0 ? w->lanes[0].now.fd : w->lanes[0].next.fd;
}

/* ---- batches */

static uint64_t length_of(const struct spool_txn *txn)
{
	return SPOOL_RECORD_HEADER_LEN + txn->envelope.len + (spool_record_is_large(&txn->item.record) ? 0 : txn->body.len);
}

/* A record longer than a whole segment goes alone into an empty one. */
static bool fits(const struct spool_writer *w, uint64_t offset, const struct spool_txn *txn)
{
	return offset == 0 || offset + length_of(txn) <= w->options.segment_limit_bytes;
}

/* Whatever is queued and fits. */
static bool gather_batch(struct lane *lane)
{
	struct spool_writer *w = lane->writer;
	uint64_t offset = lane->now.offset;
	struct spool_batch_item **link = &lane->batch.items;
	while (w->queued.head && fits(w, offset, w->queued.head)) {
		struct spool_txn *txn = w->queued.head;
		offset += length_of(txn);
		txn->stage = TXN_BATCH;
		txn->item.envelope = buf_span(&txn->envelope);
		txn->item.body = spool_record_is_large(&txn->item.record) ? SPAN_NONE : buf_span(&txn->body);
		*link = &txn->item;
		link = &txn->item.next;
		txn_move(txn, &lane->in_batch);
	}
	*link = NULL;
	return lane->batch.items != NULL;
}

/* One sync that took long must not open lanes, each with a segment to make and prepare: it counts for little more than twice what is usual. */
static void note_sync_time(struct spool_writer *w, uint64_t sync_us)
{
	uint64_t most_us = 2 * w->sync_avg_us + LANE_SYNC_US / 2;
	w->sync_avg_us = (w->sync_avg_us * 7 + (sync_us < most_us ? sync_us : most_us)) / 8;
}

static void count_batch(struct spool_writer *w, const struct spool_batch *batch, uint64_t messages)
{
	struct spool_writer_stats *stats = &w->stats;
	stats->sync_us_sum += batch->sync_us;
	if (batch->sync_us > stats->sync_us_max)
		stats->sync_us_max = batch->sync_us;
	if (batch->err) {
		stats->failed += messages;
		return;
	}
	note_sync_time(w, batch->sync_us);
	stats->batches++;
	stats->messages += messages;
	stats->bytes += batch->end - batch->start;
	if (messages > stats->batch_max)
		stats->batch_max = messages;
}

static void settle_item(struct lane *lane, struct spool_txn *txn)
{
	struct spool_writer *w = lane->writer;
	if (lane->batch.err) {
		txn->err = lane->batch.err;
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

static void rest_in(struct spool_writer *w, uint64_t after_ms)
{
	w->is_rest_due = true;
	loop_timer_start(w->rest, after_ms);
}

static void batch_work(void *ctx)
{
	spool_batch_run(&((struct lane *)ctx)->batch);
}

static void batch_done(void *ctx)
{
	struct lane *lane = ctx;
	uint64_t messages = 0;
	lane->is_running = false;
	lane->now.offset = lane->batch.end;
	lane->used_ms = loop_now_ms(lane->writer->loop);
	if (lane != &lane->writer->lanes[0] && !lane->writer->is_rest_due)
		rest_in(lane->writer, lane->writer->options.lane_idle_ms);
	if (lane->batch.is_segment_bad)
		leave_segment(lane, true);
	else if (!lane->batch.err)
		announce(lane, false, false);
	for (; lane->in_batch.head; messages++)
		settle_item(lane, lane->in_batch.head);
	count_batch(lane->writer, &lane->batch, messages);
	writer_turn_soon(lane->writer);
}

/* Take the next segment where it is better, ask for it in time. */
static void look_ahead(struct lane *lane)
{
	struct spool_writer *w = lane->writer;
	if (lane->next.fd >= 0 && (lane->now.fd < 0 || (lane->now.prepared == 0 && lane->next.prepared > 0)))
		switch_segment(lane);
	bool is_early = lane->now.prepared == 0 && lane->now.offset >= EARLY_BYTES && !lane->has_asked_early;
	if (lane->now.fd >= 0 && lane->now.offset < w->options.segment_limit_bytes / 4 * 3 && !is_early)
		return;
	lane->has_asked_early |= is_early;
	if (!w->is_closing || w->queued.head)
		ask_for_segment(lane);
}

static void begin_batch(struct lane *lane)
{
	struct spool_writer *w = lane->writer;
	look_ahead(lane);
	if (!w->queued.head || lane->now.fd < 0)
		return;
	lane->batch = (struct spool_batch){ .fd = lane->now.fd, .start = lane->now.offset };
	if (!gather_batch(lane)) {
		if (lane->next.fd >= 0) {
			switch_segment(lane);
			writer_turn_soon(w);
		} else
			ask_for_segment(lane);
		return;
	}
	lane->is_running = true;
	w->last_begin_us = spool_batch_now_us();
	if (loop_job_start(w->loop, batch_work, batch_done, lane) != 0) {
		lane->batch.err = ERR_NOMEM;
		lane->batch.end = lane->batch.start;
		lane->is_running = false;
		while (lane->in_batch.head)
			settle_item(lane, lane->in_batch.head);
	}
}

/* ---- all of them */

/* A segment that its writer keeps is kept by posternfwd, too, delivered as all of it may be. */
void lanes_rest(void *ctx)
{
	struct spool_writer *w = ctx;
	uint64_t now_ms = loop_now_ms(w->loop), next_ms = UINT64_MAX;
	w->is_rest_due = false;
	for (unsigned i = 1; i < SPOOL_LANES_MAX; i++) {
		struct lane *lane = &w->lanes[i];
		if (lane->now.fd < 0)
			continue;
		uint64_t due_ms = lane->is_running ? now_ms + w->options.lane_idle_ms : lane->used_ms + w->options.lane_idle_ms;
		if (due_ms <= now_ms)
			leave_segment(lane, false);
		else if (due_ms < next_ms)
			next_ms = due_ms;
	}
	if (next_ms != UINT64_MAX)
		rest_in(w, next_ms - now_ms);
}

static unsigned lanes_wanted(const struct spool_writer *w)
{
	uint64_t wanted = 1 + w->sync_avg_us / LANE_SYNC_US;
	return wanted < w->options.lanes ? (unsigned)wanted : w->options.lanes;
}

bool lanes_are_idle(const struct spool_writer *w)
{
	for (unsigned i = 0; i < SPOOL_LANES_MAX; i++)
		if (w->lanes[i].is_running)
			return false;
	return true;
}

/* Beside one that runs, the next batch begins only when its share of the time a sync takes has passed: else the first few messages would go
 * each alone, and all others find every lane taken. */
static bool is_too_early(struct spool_writer *w, unsigned lanes)
{
	uint64_t due_us = w->last_begin_us + w->sync_avg_us / lanes;
	uint64_t now_us = spool_batch_now_us();
	if (lanes_are_idle(w) || now_us >= due_us)
		return false;
	loop_timer_start(w->pace, (due_us - now_us) / 1000 + 1);
	return true;
}

void lanes_turn(struct spool_writer *w)
{
	unsigned wanted = lanes_wanted(w);
	for (unsigned i = 0; i < wanted; i++) {
		if (w->lanes[i].is_running)
			continue;
		if (i > 0 && !w->queued.head)
			return;
		if (wanted > 1 && w->queued.head && is_too_early(w, wanted))
			return;
		begin_batch(&w->lanes[i]);
	}
}

void spool_writer_no_segment(struct spool_writer *w, int err)
{
	w->is_asked = w->is_asking_due = false;
	w->denied_until_ms = loop_now_ms(w->loop) + LANE_DENIED_MS;
	if (!lanes_are_idle(w) || !w->queued.head)
		return;
	/* That another lane could not be opened is no reason to refuse what a present one has room for. */
	for (unsigned i = 0; i < lanes_wanted(w); i++) {
		const struct lane *lane = &w->lanes[i];
		if (lane->next.fd >= 0 || (lane->now.fd >= 0 && fits(w, lane->now.offset, w->queued.head)))
			return;
	}
	fail_queued(w, err == ERR_NOSPACE ? ERR_NOSPACE : ERR_IO);
}

void lanes_open(struct spool_writer *w)
{
	for (unsigned i = 0; i < SPOOL_LANES_MAX; i++)
		w->lanes[i] = (struct lane){ .writer = w, .now.fd = -1, .next.fd = -1 };
	w->asking_lane = &w->lanes[0];
}

void lanes_close(struct spool_writer *w)
{
	for (unsigned i = 0; i < SPOOL_LANES_MAX; i++) {
		leave_segment(&w->lanes[i], false);
		if (w->lanes[i].next.fd >= 0)
			close(w->lanes[i].next.fd);
	}
}
