#include "worker_spool.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "buf.h"
#include "committed_notice.h"
#include "log.h"

/* Segments whose end posternfwd may not have heard of: the present ones, of a writer to a slow disk several, and the few before them. */
#define STANDINGS_MAX 24
#define TELL_AGAIN_MS 200u
#define LARGE_REFUSED_CAP (64u << 10)

struct standing {
	struct spool_committed what;
	bool is_untold; /* since it last changed */
};

struct worker_spool {
	struct loop *loop;
	struct ipc_channel *master;
	struct ipc_channel *forwarder; /* NULL: not there */
	struct spool_writer *writer;
	struct standing standings[STANDINGS_MAX]; /* newest last */
	size_t standing_count;
	struct loop_timer *tell_again; /* while posternfwd hangs and something is untold */
	struct loop_task refuse;       /* what the master could not even be asked for */
	int segment_err;
	struct buf large_refused;      /* of struct spool_id */
	worker_spool_answer_fn on_answer;
	void *answer_ctx;
	loop_fn destroyed;
	void *destroyed_ctx;
};

/* ---- what the writer asks the master for */

/* On a turn of its own: the writer is not called back while it asks. */
static void refuse(void *ctx)
{
	struct worker_spool *s = ctx;
	int err = s->segment_err;
	struct buf large = s->large_refused;
	s->segment_err = 0;
	s->large_refused = (struct buf){ .cap = large.cap };
	if (err && s->writer)
		spool_writer_no_segment(s->writer, err);
	for (size_t at = 0; s->writer && at < large.len; at += sizeof(struct spool_id)) {
		struct spool_id id;
		memcpy(&id, large.data + at, sizeof id);
		spool_writer_large(s->writer, &id, ERR_IO, -1);
	}
	buf_free(&large);
}

static void ask_segment(void *ctx)
{
	struct worker_spool *s = ctx;
	s->segment_err = ipc_channel_send(s->master, ROLE_NEED_SEGMENT, NULL, 0, NULL, 0);
	if (s->segment_err)
		loop_task_post(s->loop, &s->refuse);
}

static void ask_large(void *ctx, const struct spool_id *id)
{
	struct worker_spool *s = ctx;
	struct role_large_wanted wanted = { .id = *id };
	/* Without memory for the id, the writer's own deadline refuses it. */
	if (ipc_channel_send(s->master, ROLE_NEED_LARGE, &wanted, sizeof wanted, NULL, 0) != 0 &&
	    buf_append(&s->large_refused, id, sizeof *id) == 0)
		loop_task_post(s->loop, &s->refuse);
}

/* ---- what posternfwd is told */

/* Where posternfwd hangs, a later notice replaces one that it did not take: nothing piles up but what its queue holds. */
static void tell_all(void *ctx)
{
	struct worker_spool *s = ctx;
	for (size_t i = 0; s->forwarder && i < s->standing_count; i++) {
		struct standing *standing = &s->standings[i];
		if (!standing->is_untold)
			continue;
		if (ipc_channel_send(s->forwarder, NOTICE_COMMITTED, &standing->what, sizeof standing->what, NULL, 0) != 0) {
			loop_timer_start(s->tell_again, TELL_AGAIN_MS);
			return;
		}
		standing->is_untold = false;
	}
}

static_assert(STANDINGS_MAX > SPOOL_LANES_MAX, "among the standings one is of a sealed segment");

/* How much is lost with it.  posternfwd finds a sealed segment by itself, as its lock is gone; that a part of it is void it can't find.  And how
 * far a live one may be read it hears from nobody else: that is never forgotten, however long nothing was written to it. */
static unsigned worth(const struct standing *standing)
{
	return !standing->what.is_sealed ? 3 : standing->what.is_void ? 1 + standing->is_untold : 0;
}

/* Room for one more: the oldest of those that are worth least. */
static void forget_one(struct worker_spool *s)
{
	size_t victim = 0;
	for (size_t i = 1; i < s->standing_count; i++)
		if (worth(&s->standings[i]) < worth(&s->standings[victim]))
			victim = i;
	s->standing_count--;
	memmove(&s->standings[victim], &s->standings[victim + 1], (s->standing_count - victim) * sizeof s->standings[0]);
}

static void remember(struct worker_spool *s, const struct spool_committed *what)
{
	size_t i = 0;
	while (i < s->standing_count && strcmp(s->standings[i].what.segment.text, what->segment.text) != 0)
		i++;
	if (i == STANDINGS_MAX) {
		forget_one(s);
		i--;
	}
	s->standings[i] = (struct standing){ *what, true };
	if (i == s->standing_count)
		s->standing_count++;
}

static void committed(void *ctx, const struct spool_committed *what)
{
	struct worker_spool *s = ctx;
	remember(s, what);
	tell_all(s);
}

/* Nothing else is listened to. */
static void forwarder_message(void *ctx, struct ipc_message *msg)
{
	struct worker_spool *s = ctx;
	struct verify_answer answer;
	if (msg->type == VERIFY_ANSWER && s->on_answer && verify_answer_check((struct span){ msg->payload, msg->len }, &answer) == 0)
		s->on_answer(s->answer_ctx, &answer);
}

static void forwarder_closed(void *ctx, int err)
{
	struct worker_spool *s = ctx;
	(void)err;
	ipc_channel_destroy(&s->forwarder);
	(void)ipc_channel_send(s->master, ROLE_FORWARDER_LOST, NULL, 0, NULL, 0);
	if (s->on_answer)
		s->on_answer(s->answer_ctx, NULL);
}

int worker_spool_create(struct loop *loop, const struct conf *conf, struct ipc_channel *master, struct worker_spool **out)
{
	struct worker_spool *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->loop = loop;
	s->master = master;
	s->refuse = (struct loop_task){ .fn = refuse, .ctx = s };
	s->large_refused.cap = LARGE_REFUSED_CAP;
	const struct spool_writer_options options = { .segment_limit_bytes = conf->segment_bytes, .lanes = SPOOL_LANES_MAX };
	const struct spool_writer_events events = { .need_segment = ask_segment, .need_large = ask_large, .committed = committed, .ctx = s };
	int err = loop_timer_create(loop, tell_all, s, &s->tell_again);
	if (!err)
		err = spool_writer_create(loop, &options, &events, &s->writer);
	if (err) {
		loop_timer_destroy(&s->tell_again);
		free(s);
		return err;
	}
	*out = s;
	return 0;
}

struct spool_writer *worker_spool_writer(struct worker_spool *spool)
{
	return spool->writer;
}

void worker_spool_on_answer(struct worker_spool *spool, worker_spool_answer_fn on_answer, void *ctx)
{
	spool->on_answer = on_answer;
	spool->answer_ctx = ctx;
}

int worker_spool_ask(struct worker_spool *spool, const struct verify_ask *ask)
{
	return spool->forwarder ? ipc_channel_send(spool->forwarder, VERIFY_ASK, ask, sizeof *ask, NULL, 0) : ERR_EOF;
}

void worker_spool_segment(struct worker_spool *spool, const struct role_segment *what, int fd)
{
	int err = what->err;
	if (!err && fd >= 0) {
		err = spool_writer_segment(spool->writer, fd, &what->name);
		/* One came late, so another was asked for, and here is that too.  Closed and empty, posternfwd clears it away. */
		if (err == ERR_BUSY)
			return;
	} else if (fd >= 0) {
		(void)close(fd);
	} else if (!err) {
		err = ERR_PROTO;
	}
	if (err)
		spool_writer_no_segment(spool->writer, err);
}

void worker_spool_large(struct worker_spool *spool, const struct role_large *what, int fd)
{
	spool_writer_large(spool->writer, &what->id, fd < 0 && !what->err ? ERR_PROTO : what->err, fd);
}

void worker_spool_forwarder(struct worker_spool *spool, int fd)
{
	bool had_one = spool->forwarder != NULL;
	ipc_channel_destroy(&spool->forwarder);
	if (had_one && spool->on_answer)
		spool->on_answer(spool->answer_ctx, NULL);
	if (ipc_channel_create(spool->loop, fd, forwarder_message, forwarder_closed, spool, &spool->forwarder) != 0) {
		(void)close(fd);
		(void)ipc_channel_send(spool->master, ROLE_FORWARDER_LOST, NULL, 0, NULL, 0);
		return;
	}
	for (size_t i = 0; i < spool->standing_count; i++)
		spool->standings[i].is_untold = true;
	tell_all(spool);
}

static void writer_destroyed(void *ctx)
{
	struct worker_spool *s = ctx;
	loop_fn destroyed = s->destroyed;
	void *destroyed_ctx = s->destroyed_ctx;
	ipc_channel_destroy(&s->forwarder);
	loop_task_cancel(&s->refuse);
	loop_timer_destroy(&s->tell_again);
	buf_free(&s->large_refused);
	free(s);
	destroyed(destroyed_ctx);
}

void worker_spool_destroy(struct worker_spool **spool, loop_fn destroyed, void *ctx)
{
	struct worker_spool *s = *spool;
	*spool = NULL;
	s->destroyed = destroyed;
	s->destroyed_ctx = ctx;
	spool_writer_destroy(&s->writer, writer_destroyed, s);
}
