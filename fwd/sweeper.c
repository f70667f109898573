#include "sweeper.h"

#include <inttypes.h>
#include <stdlib.h>

#include "err.h"
#include "log.h"
#include "recovery.h"

struct sweeper {
	struct loop *loop;
	const struct spool_dirs *dirs;
	uint64_t every_ms;
	struct loop_timer *timer;
	bool is_working, is_complaining;
	uint64_t removed;
	int err;
};

static void work(void *ctx)
{
	struct sweeper *s = ctx;
	s->removed = 0;
	s->err = spool_large_sweep(s->dirs, &s->removed);
}

static void done(void *ctx)
{
	struct sweeper *s = ctx;
	s->is_working = false;
	if (s->err && !s->is_complaining)
		log_event(LOG_LEVEL_WARN, "sweep", "bodies of aborted messages can't be removed from large/ (%s): tried again", err_name(s->err));
	else if (s->removed > 0)
		log_event(LOG_LEVEL_DEBUG, "sweep", "%" PRIu64 " bodies of aborted messages are gone", s->removed);
	s->is_complaining = s->err != 0;
	loop_timer_start(s->timer, s->every_ms);
}

static void due(void *ctx)
{
	struct sweeper *s = ctx;
	s->is_working = loop_job_start(s->loop, work, done, s) == 0;
	if (!s->is_working)
		loop_timer_start(s->timer, s->every_ms);
}

int sweeper_create(struct loop *loop, const struct spool_dirs *dirs, uint64_t every_ms, struct sweeper **out)
{
	struct sweeper *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	*s = (struct sweeper){ .loop = loop, .dirs = dirs, .every_ms = every_ms };
	int err = loop_timer_create(loop, due, s, &s->timer);
	if (err) {
		free(s);
		return err;
	}
	loop_timer_start(s->timer, every_ms);
	*out = s;
	return 0;
}

bool sweeper_is_quiet(const struct sweeper *sweeper)
{
	return !sweeper->is_working;
}

void sweeper_destroy(struct sweeper **sweeper)
{
	if (!*sweeper)
		return;
	loop_timer_destroy(&(*sweeper)->timer);
	free(*sweeper);
	*sweeper = NULL;
}
