#include "syn_rules.h"

#include <stdlib.h>

#include "log.h"
#include "rules_load.h"

struct set {
	struct rules_load load;
	struct rules_syn *syn;
};

struct syn_rules {
	const struct conf *conf;
	size_t slot, slots;
	struct syn_rules_events events;
	struct loop *loop;
	struct set now, coming; /* coming: the job's while it is busy */
	struct rules_load waiting;
	bool is_busy, is_dropping, has_waiting;
};

int syn_rules_create(const struct conf *conf, size_t slot, size_t slots, const struct syn_rules_events *events, struct syn_rules **out)
{
	struct syn_rules *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->conf = conf;
	r->slot = slot;
	r->slots = slots;
	r->events = *events;
	r->now.load = r->coming.load = (struct rules_load){ .rules_fd = -1, .hits_fd = -1, .filter_fd = -1 };
	*out = r;
	return 0;
}

static void run(struct set *set)
{
	rules_load_run(&set->load);
	if (!set->load.err && (set->load.err = rules_syn_create(set->load.rules, &set->syn)) != 0)
		reason_set(&set->load.why, set->load.err, "no memory for the index of the gate");
}

static void drop(struct set *set)
{
	rules_syn_destroy(&set->syn);
	rules_load_drop(&set->load);
}

static void start(struct syn_rules *r);

static void work(void *ctx)
{
	struct syn_rules *r = ctx;
	if (r->is_dropping)
		drop(&r->coming);
	else
		run(&r->coming);
}

/* The old set goes into the place of the new one, and from there away, in a job of its own. */
static void take(struct syn_rules *r)
{
	uint64_t generation = r->coming.load.generation;
	int err = r->coming.load.err;
	if (err) {
		log_event(LOG_LEVEL_ERR, "reload-failed", "%s; the gate keeps the old rules", r->coming.load.why.text);
	} else {
		struct set old = r->now;
		r->now = r->coming;
		r->coming = old;
	}
	r->events.taken(r->events.ctx, generation, err);
}

static void done(void *ctx)
{
	struct syn_rules *r = ctx;
	r->is_busy = false;
	if (!r->is_dropping) {
		take(r);
		r->is_dropping = true;
		start(r);
		return;
	}
	r->is_dropping = false;
	if (!r->has_waiting)
		return;
	r->has_waiting = false;
	r->coming.load = r->waiting;
	start(r);
}

/* Without memory for a job the loop has to do it. */
static void start(struct syn_rules *r)
{
	r->is_busy = true;
	if (loop_job_start(r->loop, work, done, r) == 0)
		return;
	work(r);
	done(r);
}

void syn_rules_reload(struct syn_rules *rules, struct loop *loop, struct ipc_message *msg)
{
	struct rules_load *load = rules->is_busy ? &rules->waiting : &rules->coming.load;
	rules->loop = loop;
	if (rules->has_waiting)
		rules_load_drop(&rules->waiting);
	rules_load_take(load, msg, rules->conf, rules->slots);
	rules->has_waiting = rules->is_busy;
	if (!rules->is_busy)
		start(rules);
}

struct rules_syn *syn_rules_get(const struct syn_rules *rules)
{
	return rules->now.syn;
}

void syn_rules_hit(struct syn_rules *rules, uint32_t rule_index)
{
	rule_hits_add(&rules->now.load.hits, rules->slot, rule_index);
}

bool syn_rules_is_busy(const struct syn_rules *rules)
{
	return rules->is_busy;
}

void syn_rules_destroy(struct syn_rules **rules)
{
	struct syn_rules *r = *rules;
	if (!r)
		return;
	drop(&r->now);
	drop(&r->coming);
	if (r->has_waiting)
		rules_load_drop(&r->waiting);
	free(r);
	*rules = NULL;
}
