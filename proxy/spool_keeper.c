#include "spool_keeper.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/* What one worker may have under way.  An honest one has never more than one segment, and a large body a session. */
#define LARGE_MAX 64u

/* A disk that has just failed is left alone for so long: each message that comes in would ask it again. */
#define FAILED_PAUSE_MS 1000u

struct stock {
	struct spool_segment_name name;
	int fd; /* -1: used up */
	uint32_t generation; /* whose requests these are */
	unsigned segments, larges;
	bool is_flooding, is_repeating; /* said once */
};

struct spool_keeper {
	struct loop *loop;
	struct spool_keeper_events events;
	struct spool_dirs dirs;
	struct priv_user owner;
	uint64_t next_number;
	uint64_t prepare_bytes, reserve_bytes;
	uint64_t failed_until_ms; /* and until then everybody is told failed_err */
	int failed_err;
	size_t workers;
	struct stock *stock; /* one a worker */
};

struct request {
	struct spool_keeper *keeper;
	struct spool_keeper_asker asker;
	uint64_t number;       /* segments */
	bool is_large;
	struct role_segment segment;
	struct role_large large;
	int fd;
};

int spool_keeper_open(const char *path, const struct priv_user *owner, size_t workers, struct spool_keeper **out, struct reason *why)
{
	struct spool_keeper *k = calloc(1, sizeof *k);
	if (!k)
		return reason_set(why, ERR_NOMEM, "no memory");
	k->dirs = SPOOL_DIRS_CLOSED;
	k->owner = *owner;
	k->stock = calloc(workers, sizeof *k->stock);
	int err = k->stock ? 0 : reason_set(why, ERR_NOMEM, "no memory");
	if (!err)
		err = spool_dir_prepare(path, owner->uid, owner->gid, why);
	if (!err)
		err = spool_dirs_open(path, &k->dirs, why);
	if (!err) {
		spool_dir_remove_unnamed(k->dirs.journal);
		spool_dir_remove_unnamed(k->dirs.large);
	}
	if (!err && (err = spool_segment_next_number(&k->dirs, &k->next_number)) != 0)
		reason_set(why, err, "%s/journal: cannot be read (%s)", path, err_name(err));
	for (; !err && k->workers < workers; k->workers++) {
		struct stock *s = &k->stock[k->workers];
		s->fd = -1;
		err = spool_segment_create(&k->dirs, k->next_number++, (unsigned)k->workers, owner->uid, owner->gid, &s->name, &s->fd);
		if (err)
			reason_set(why, err, "%s/journal: a segment cannot be created (%s): is the file system full, or mounted read-only?", path,
				   err_name(err));
	}
	if (err)
		spool_keeper_destroy(&k);
	else
		*out = k;
	return err;
}

void spool_keeper_prepare(struct spool_keeper *keeper, uint64_t segment_bytes, uint64_t min_free_bytes)
{
	keeper->prepare_bytes = segment_bytes;
	keeper->reserve_bytes = min_free_bytes;
}

void spool_keeper_start(struct spool_keeper *keeper, struct loop *loop, const struct spool_keeper_events *events)
{
	keeper->loop = loop;
	keeper->events = *events;
}

static void create_file(void *ctx)
{
	struct request *r = ctx;
	const struct spool_keeper *k = r->keeper;
	if (r->is_large)
		r->large.err = spool_large_create(&k->dirs, &r->large.id, k->owner.uid, k->owner.gid, &r->fd);
	else
		r->segment.err =
			spool_segment_create(&k->dirs, r->number, r->asker.worker, k->owner.uid, k->owner.gid, &r->segment.name, &r->fd);
	if (!r->is_large && !r->segment.err && k->prepare_bytes)
		r->segment.err = spool_segment_prepare(r->fd, k->prepare_bytes, k->reserve_bytes);
	if (r->segment.err && r->fd >= 0) {
		(void)close(r->fd);
		r->fd = -1;
	}
}

static void answer(const struct request *r)
{
	const struct spool_keeper_events *events = &r->keeper->events;
	if (r->is_large)
		events->large(events->ctx, &r->asker, &r->large, r->fd);
	else
		events->segment(events->ctx, &r->asker, &r->segment, r->fd);
}

static void refuse(struct request *r, int err)
{
	*(r->is_large ? &r->large.err : &r->segment.err) = err;
	r->fd = -1;
	answer(r);
}

static void hand_out(void *ctx)
{
	struct request *r = ctx;
	struct stock *s = &r->keeper->stock[r->asker.worker];
	int err = r->is_large ? r->large.err : r->segment.err;
	if (s->generation == r->asker.generation)
		(*(r->is_large ? &s->larges : &s->segments))--;
	if (err == ERR_BUSY) {
		/* That name exists: this says something about who asks, and nothing about the disk.  No other worker has to wait for that. */
		if (!s->is_repeating)
			log_event(LOG_LEVEL_ERR, "spool-create-failed", "worker %u asks for a name that exists: refused", r->asker.worker);
		s->is_repeating = true;
		refuse(r, err);
	} else if (err) {
		/* Its siblings, under way at the same time, need not be told of. */
		if (loop_now_ms(r->keeper->loop) >= r->keeper->failed_until_ms)
			log_event(LOG_LEVEL_ERR, "spool-create-failed", "%s for worker %u: %s", r->is_large ? "a large-body file" : "a segment",
				  r->asker.worker, err_name(err));
		r->keeper->failed_err = err;
		r->keeper->failed_until_ms = loop_now_ms(r->keeper->loop) + FAILED_PAUSE_MS;
		refuse(r, err);
	} else {
		answer(r);
	}
	free(r);
}

/* A worker that is taken over could ask without end: for our memory, the threads of all jobs, the inodes of the spool. */
static bool is_too_much(struct stock *s, const struct request *r)
{
	if (s->generation != r->asker.generation) {
		s->generation = r->asker.generation;
		s->segments = s->larges = 0;
		s->is_flooding = s->is_repeating = false;
	}
	if (r->is_large ? s->larges < LARGE_MAX : s->segments == 0)
		return false;
	if (!s->is_flooding)
		log_event(LOG_LEVEL_ERR, "spool-flood", "worker %u asks for more %s than it can use: refused", r->asker.worker,
			  r->is_large ? "large-body files" : "segments");
	s->is_flooding = true;
	return true;
}

static void submit(struct spool_keeper *keeper, struct request *request)
{
	struct stock *s = &keeper->stock[request->asker.worker];
	if (is_too_much(s, request)) {
		refuse(request, ERR_NOSPACE);
		return;
	}
	if (loop_now_ms(keeper->loop) < keeper->failed_until_ms) {
		refuse(request, keeper->failed_err);
		return;
	}
	struct request *r = malloc(sizeof *r);
	if (r) {
		*r = *request;
		if (!r->is_large)
			r->number = keeper->next_number++;
	}
	if (!r || loop_job_start(keeper->loop, create_file, hand_out, r) != 0) {
		free(r);
		log_event(LOG_LEVEL_ERR, "spool-create-failed", "no memory");
		refuse(request, ERR_NOMEM);
		return;
	}
	(*(r->is_large ? &s->larges : &s->segments))++;
}

void spool_keeper_need_segment(struct spool_keeper *keeper, const struct spool_keeper_asker *asker)
{
	struct stock *s = &keeper->stock[asker->worker];
	if (s->fd >= 0) {
		struct role_segment what = { .err = 0, .name = s->name };
		int fd = s->fd;
		s->fd = -1;
		keeper->events.segment(keeper->events.ctx, asker, &what, fd);
		return;
	}
	struct request r = { .keeper = keeper, .asker = *asker, .fd = -1 };
	submit(keeper, &r);
}

void spool_keeper_need_large(struct spool_keeper *keeper, const struct spool_keeper_asker *asker, const struct spool_id *id)
{
	struct request r = { .keeper = keeper, .asker = *asker, .is_large = true, .large.id = *id, .fd = -1 };
	submit(keeper, &r);
}

int spool_keeper_root_fd(const struct spool_keeper *keeper)
{
	return keeper->dirs.root;
}

int spool_keeper_fd(const struct spool_keeper *keeper)
{
	return keeper->dirs.journal;
}

void spool_keeper_destroy(struct spool_keeper **keeper)
{
	struct spool_keeper *k = *keeper;
	if (!k)
		return;
	for (size_t i = 0; k->stock && i < k->workers; i++)
		if (k->stock[i].fd >= 0)
			(void)close(k->stock[i].fd);
	free(k->stock);
	spool_dirs_close(&k->dirs);
	free(k);
	*keeper = NULL;
}
