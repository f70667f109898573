#include "worker_rules.h"

#include <stdlib.h>

#include "log.h"
#include "rules_load.h"

/* A rule set that no new evaluation begins with. */
struct old_set {
	struct old_set *next;
	struct rules *rules;
	struct rule_hits hits;
	struct filter_set *filter;
};

struct worker_rules {
	struct session_host *host;
	size_t workers;
	struct worker_rules_events events;
	struct rules_load loading, waiting; /* one in a job, the newest behind it */
	bool is_loading, has_waiting;
	struct old_set *old;                /* held by evaluations, or until the next job */
	struct old_set *dropped;            /* the job's, while is_dropping */
	bool is_dropping;
};

int worker_rules_create(struct session_host *host, size_t workers, const struct worker_rules_events *events,
			struct worker_rules **out)
{
	struct worker_rules *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->host = host;
	r->workers = workers;
	r->events = *events;
	*out = r;
	return 0;
}

/* ---- giving back */

static void free_sets(struct old_set *set)
{
	while (set) {
		struct old_set *next = set->next;
		rules_release(&set->rules);
		rule_hits_unmap(&set->hits);
		filter_set_release(&set->filter);
		free(set);
		set = next;
	}
}

static void drop_work(void *ctx)
{
	struct worker_rules *r = ctx;
	free_sets(r->dropped);
}

static void drop_done(void *ctx)
{
	struct worker_rules *r = ctx;
	r->dropped = NULL;
	r->is_dropping = false;
	r->events.idle(r->events.ctx);
}

void worker_rules_tick(struct worker_rules *r)
{
	if (r->is_dropping)
		return;
	for (struct old_set **at = &r->old; *at;) {
		struct old_set *set = *at;
		/* Ours is the last hold, and nobody else can take one: the set is known to nobody. */
		if ((set->rules && rules_is_shared(set->rules)) || (set->filter && filter_set_is_shared(set->filter))) {
			at = &set->next;
			continue;
		}
		*at = set->next;
		set->next = r->dropped;
		r->dropped = set;
	}
	if (!r->dropped)
		return;
	r->is_dropping = true;
	if (loop_job_start(r->host->loop, drop_work, drop_done, r) == 0)
		return;
	free_sets(r->dropped);
	r->dropped = NULL;
	r->is_dropping = false;
}

/* Takes all of it over. */
static void retire(struct worker_rules *r, struct old_set old)
{
	struct old_set *set = malloc(sizeof *set);
	if (!set) {
		rules_release(&old.rules);
		rule_hits_unmap(&old.hits);
		filter_set_release(&old.filter);
		return;
	}
	*set = old;
	set->next = r->old;
	r->old = set;
}

/* ---- loading */

/* Sessions under way go on with the new set; evaluations and messages under way hold the old one until they are done. */
static void use(struct worker_rules *r, struct rules_load *load)
{
	if (r->host->rules)
		retire(r, (struct old_set){ NULL, r->host->rules, r->host->hits, r->host->filter });
	r->host->rules = load->rules;
	r->host->hits = load->hits;
	r->host->filter = load->filter;
	load->rules = NULL;
	load->hits = (struct rule_hits){ .counts = NULL };
	load->filter = NULL;
}

int worker_rules_load(struct worker_rules *r, struct ipc_message *msg, struct reason *why)
{
	struct rules_load load;
	rules_load_take(&load, msg, &r->host->conf.conf, r->workers);
	rules_load_run(&load);
	if (load.err)
		*why = load.why;
	else
		use(r, &load);
	rules_load_drop(&load);
	return load.err;
}

static void start_loading(struct worker_rules *r);

static void load_work(void *ctx)
{
	struct worker_rules *r = ctx;
	rules_load_run(&r->loading);
}

static void take_loaded(struct worker_rules *r)
{
	struct rules_load *load = &r->loading;
	if (load->err)
		log_event(LOG_LEVEL_ERR, "reload-failed", "%s; the old rules stay in force", load->why.text);
	else
		use(r, load);
	rules_load_drop(load);
	r->events.taken(r->events.ctx, load->generation, load->err);
	worker_rules_tick(r);
}

static void load_done(void *ctx)
{
	struct worker_rules *r = ctx;
	r->is_loading = false;
	take_loaded(r);
	if (r->has_waiting) {
		r->has_waiting = false;
		r->loading = r->waiting;
		start_loading(r);
	}
	r->events.idle(r->events.ctx);
}

static void start_loading(struct worker_rules *r)
{
	r->is_loading = true;
	if (loop_job_start(r->host->loop, load_work, load_done, r) == 0)
		return;
	r->is_loading = false;
	r->loading.err = reason_set(&r->loading.why, ERR_NOMEM, "no memory");
	take_loaded(r);
}

void worker_rules_reload(struct worker_rules *r, struct ipc_message *msg)
{
	struct rules_load *load = r->is_loading ? &r->waiting : &r->loading;
	if (r->has_waiting)
		rules_load_drop(&r->waiting);
	rules_load_take(load, msg, &r->host->conf.conf, r->workers);
	r->has_waiting = r->is_loading;
	if (!r->is_loading)
		start_loading(r);
}

bool worker_rules_are_busy(const struct worker_rules *r)
{
	return r->is_loading || r->is_dropping;
}

void worker_rules_destroy(struct worker_rules **rules)
{
	struct worker_rules *r = *rules;
	if (!r)
		return;
	free_sets(r->old);
	rules_release(&r->host->rules);
	rule_hits_unmap(&r->host->hits);
	filter_set_release(&r->host->filter);
	free(r);
	*rules = NULL;
}
