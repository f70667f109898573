#include "writer.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "writer_parts.h"

#define SEGMENT_LIMIT_DEFAULT (UINT64_C(64) << 20)
#define INLINE_LIMIT_DEFAULT (UINT64_C(256) << 10)
#define WAIT_MS_DEFAULT 10000u
#define LANE_IDLE_MS_DEFAULT 300000u

void writer_turn_soon(struct spool_writer *w)
{
	loop_task_post(w->loop, &w->turn);
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
	lanes_close(w);
	loop_task_cancel(&w->turn);
	loop_timer_destroy(&w->watch);
	loop_timer_destroy(&w->pace);
	loop_timer_destroy(&w->rest);
	loop_fn destroyed = w->destroyed;
	void *ctx = w->destroyed_ctx;
	free(w);
	if (destroyed)
		destroyed(ctx);
}

static void turn(void *ctx)
{
	struct spool_writer *w = ctx;
	lanes_turn(w);
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
	if (!w->options.lanes)
		w->options.lanes = 1;
	if (w->options.lanes > SPOOL_LANES_MAX)
		w->options.lanes = SPOOL_LANES_MAX;
	if (!w->options.wait_ms)
		w->options.wait_ms = WAIT_MS_DEFAULT;
	if (!w->options.lane_idle_ms)
		w->options.lane_idle_ms = LANE_IDLE_MS_DEFAULT;
	w->events = *events;
	lanes_open(w);
	w->turn.fn = turn;
	w->turn.ctx = w;
	int err = w->options.inline_limit_bytes <= SPOOL_INLINE_CAP ? loop_timer_create(loop, watch_fired, w, &w->watch) : ERR_INVAL;
	if (!err)
		err = loop_timer_create(loop, turn, w, &w->pace);
	if (!err)
		err = loop_timer_create(loop, lanes_rest, w, &w->rest);
	if (err) {
		loop_timer_destroy(&w->watch);
		loop_timer_destroy(&w->pace);
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
	return lanes_are_idle(w) && w->large_jobs == 0 && !w->open.head && !w->asking_due.head && !w->asking.head && !w->queued.head &&
	       !w->finished.head;
}

void spool_writer_stats(const struct spool_writer *w, struct spool_writer_stats *out)
{
	*out = w->stats;
}
