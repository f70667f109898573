#include "worker_spool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "committed_notice.h"
#include "log.h"

/* Segments whose end posternfwd may not have heard of: the present one and the few before it. */
#define STANDINGS_MAX 8

struct worker_spool {
	struct loop *loop;
	struct ipc_channel *master;
	struct ipc_channel *forwarder; /* NULL: not there */
	struct spool_writer *writer;
	struct spool_committed standings[STANDINGS_MAX]; /* newest last */
	size_t standing_count;
	loop_fn destroyed;
	void *destroyed_ctx;
};

static void ask_segment(void *ctx)
{
	struct worker_spool *s = ctx;
	(void)ipc_channel_send(s->master, ROLE_NEED_SEGMENT, NULL, 0, NULL, 0);
}

static void ask_large(void *ctx, const struct spool_id *id)
{
	struct worker_spool *s = ctx;
	struct role_large_wanted wanted = { .id = *id };
	(void)ipc_channel_send(s->master, ROLE_NEED_LARGE, &wanted, sizeof wanted, NULL, 0);
}

static void remember(struct worker_spool *s, const struct spool_committed *what)
{
	for (size_t i = 0; i < s->standing_count; i++) {
		if (strcmp(s->standings[i].segment.text, what->segment.text) == 0) {
			s->standings[i] = *what;
			return;
		}
	}
	if (s->standing_count == STANDINGS_MAX) {
		/* posternfwd finds a sealed segment by itself when its lock is gone. */
		memmove(s->standings, s->standings + 1, sizeof s->standings - sizeof s->standings[0]);
		s->standing_count--;
	}
	s->standings[s->standing_count++] = *what;
}

static void tell(struct worker_spool *s, const struct spool_committed *what)
{
	if (s->forwarder)
		(void)ipc_channel_send(s->forwarder, NOTICE_COMMITTED, what, sizeof *what, NULL, 0);
}

static void committed(void *ctx, const struct spool_committed *what)
{
	struct worker_spool *s = ctx;
	remember(s, what);
	tell(s, what);
}

/* One way: whatever comes back is not listened to. */
static void forwarder_message(void *ctx, struct ipc_message *msg)
{
	(void)ctx;
	(void)msg;
}

static void forwarder_closed(void *ctx, int err)
{
	struct worker_spool *s = ctx;
	(void)err;
	ipc_channel_destroy(&s->forwarder);
	(void)ipc_channel_send(s->master, ROLE_FORWARDER_LOST, NULL, 0, NULL, 0);
}

int worker_spool_create(struct loop *loop, const struct conf *conf, struct ipc_channel *master, struct worker_spool **out)
{
	struct worker_spool *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->loop = loop;
	s->master = master;
	const struct spool_writer_options options = { .segment_limit_bytes = conf->segment_bytes };
	const struct spool_writer_events events = { .need_segment = ask_segment, .need_large = ask_large, .committed = committed, .ctx = s };
	int err = spool_writer_create(loop, &options, &events, &s->writer);
	if (err)
		free(s);
	else
		*out = s;
	return err;
}

struct spool_writer *worker_spool_writer(struct worker_spool *spool)
{
	return spool->writer;
}

void worker_spool_segment(struct worker_spool *spool, const struct role_segment *what, int fd)
{
	int err = what->err;
	if (!err && fd >= 0)
		err = spool_writer_segment(spool->writer, fd, &what->name);
	else if (fd >= 0)
		(void)close(fd);
	else if (!err)
		err = ERR_PROTO;
	if (err)
		spool_writer_no_segment(spool->writer, err);
}

void worker_spool_large(struct worker_spool *spool, const struct role_large *what, int fd)
{
	spool_writer_large(spool->writer, &what->id, fd < 0 && !what->err ? ERR_PROTO : what->err, fd);
}

void worker_spool_forwarder(struct worker_spool *spool, int fd)
{
	ipc_channel_destroy(&spool->forwarder);
	if (ipc_channel_create(spool->loop, fd, forwarder_message, forwarder_closed, spool, &spool->forwarder) != 0) {
		(void)close(fd);
		(void)ipc_channel_send(spool->master, ROLE_FORWARDER_LOST, NULL, 0, NULL, 0);
		return;
	}
	for (size_t i = 0; i < spool->standing_count; i++)
		tell(spool, &spool->standings[i]);
}

static void writer_destroyed(void *ctx)
{
	struct worker_spool *s = ctx;
	loop_fn destroyed = s->destroyed;
	void *destroyed_ctx = s->destroyed_ctx;
	ipc_channel_destroy(&s->forwarder);
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
