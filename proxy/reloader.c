#include "reloader.h"

#include <stdlib.h>
#include <unistd.h>

#include "log.h"
#include "reload.h"

#define LATE_MS 60000u

struct reloader {
	struct loop *loop;
	struct options *options;
	struct master_assets *assets;
	struct worker_crew *crew;
	struct gate_process *gate;
	struct checker_process *checker;
	struct milter_broker *milters;
	struct loop_timer *late_timer;
	const char *outcome; /* of the last reload */
	bool is_reading;
	bool is_again;       /* asked for while reading */
	bool is_stopped;
	bool is_destroyed;   /* while reading: the job's end frees */
	uint64_t asked_ms;
	struct reload new;   /* the job's while reading */

	/* What was handed out last, until every worker has it.  The next one may be read meanwhile. */
	bool is_handing_out;
	bool is_changed;     /* other rules, or another way of using them */
	uint64_t begin_ms;
};

static bool has_news(const struct reloader *r)
{
	return r->new.rules.news != RULES_UNCHANGED || r->new.filter.is_changed;
}

static void give_to_workers(struct reloader *r)
{
	struct worker_supply *supply = &r->assets->supply;
	worker_crew_send(r->crew, ROLE_CONF, &supply->setup.conf, sizeof supply->setup.conf);
	if (has_news(r)) {
		supply->rules_generation++;
		worker_crew_send_rules(r->crew);
	}
	if (r->gate)
		gate_process_reload(r->gate);
}

static void put_in_force(struct reloader *r)
{
	struct reload *new = &r->new;
	struct worker_supply *supply = &r->assets->supply;
	r->options->conf = new->conf;
	supply->setup.conf.conf = new->conf;
	supply->setup.conf.name_servers = new->name_servers;
	(void)local_addrs_read(&supply->setup.conf.local_addrs);
	log_set_level((enum log_level)new->conf.log_level);
	if (new->rules.stats) {
		rule_stats_release(&r->assets->rule_stats);
		r->assets->rule_stats = new->rules.stats;
		new->rules.stats = NULL;
		supply->hits_fd = rule_stats_fd(r->assets->rule_stats);
	}
	if (new->rules.fd >= 0) {
		(void)close(supply->rules_fd);
		supply->rules_fd = new->rules.fd;
		new->rules.fd = -1;
	}
	checker_process_set_conf(r->checker, &new->conf);
	milter_broker_set(r->milters, r->loop, &new->conf);
	filter_keeper_take(&new->filter, &supply->filter_fd);
	if (new->rules.is_compiled)
		r->assets->needs = new->rules.needs;
	give_to_workers(r);
}

static void log_reloaded(const struct reloader *r)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "reloaded");
	kv_text(&kv, "rules", r->options->conf.rules);
	kv_text(&kv, "changed", r->is_changed ? "yes" : "no");
	kv_u64(&kv, "ms", loop_now_ms(r->loop) - r->begin_ms);
	kv_text(&kv, "msg", "configuration, rules and content filter are in force for new recipients");
	log_kv(LOG_LEVEL_INFO, &kv);
}

void reloader_look(struct reloader *r)
{
	if (!r->is_handing_out || !worker_crew_has_rules(r->crew))
		return;
	r->is_handing_out = false;
	loop_timer_stop(r->late_timer);
	log_reloaded(r);
}

static void late(void *ctx)
{
	(void)ctx;
	log_event(LOG_LEVEL_ERR, "reload-late", "some workers still judge by the old rules: postern status shows which");
}

static void hand_out(struct reloader *r)
{
	put_in_force(r);
	/* Unchanged beside rules that some worker still loads. */
	r->is_changed = has_news(r) || (r->is_handing_out && r->is_changed);
	r->is_handing_out = true;
	r->outcome = "done";
	r->begin_ms = r->asked_ms;
	loop_timer_start(r->late_timer, LATE_MS);
	reloader_look(r);
}

static void fail(struct reloader *r, const char *why)
{
	log_event(LOG_LEVEL_ERR, "reload-failed", "%s; the running configuration and rules stay in force", why);
	r->outcome = "failed";
}

static void work(void *ctx)
{
	struct reloader *r = ctx;
	reload_run(&r->new);
}

static void done(void *ctx)
{
	struct reloader *r = ctx;
	r->is_reading = false;
	if (!r->is_destroyed && !r->is_stopped) {
		master_assets_log_rules(r->assets, &r->new.conf, &r->new.rules, &r->new.filter);
		if (r->new.err)
			fail(r, r->new.why.text);
		else
			hand_out(r);
	}
	reload_drop(&r->new);
	if (r->is_destroyed) {
		free(r);
	} else if (r->is_again) {
		r->is_again = false;
		reloader_request(r);
	}
}

void reloader_request(struct reloader *r)
{
	if (r->is_stopped)
		return;
	if (r->is_reading) {
		r->is_again = true;
		return;
	}
	r->new.conf_path = r->options->conf_path;
	r->new.now = (struct rules_in_force){ r->assets->supply.rules_fd, &r->options->conf };
	r->new.filter_fd = r->assets->supply.filter_fd;
	r->new.worker_count = r->crew->count + 1; /* the gate counts hits, too */
	r->asked_ms = loop_now_ms(r->loop);
	r->is_reading = true;
	if (loop_job_start(r->loop, work, done, r) == 0)
		return;
	r->is_reading = false;
	fail(r, "no memory");
}

void reloader_stop(struct reloader *r)
{
	if (r->is_reading)
		log_event(LOG_LEVEL_INFO, "reload-dropped", "the reload under way comes to nothing");
	r->is_stopped = true;
	r->is_again = r->is_handing_out = false;
	loop_timer_stop(r->late_timer);
}

const char *reloader_state(const struct reloader *r)
{
	return r->is_reading ? "reading" : r->is_handing_out ? "handing-out" : r->outcome;
}

int reloader_create(struct loop *loop, struct options *options, struct master_assets *assets, struct worker_crew *crew,
		    struct gate_process *gate, struct checker_process *checker, struct milter_broker *milters, struct reloader **out)
{
	struct reloader *r = calloc(1, sizeof *r);
	if (!r)
		return ERR_NOMEM;
	r->loop = loop;
	r->options = options;
	r->assets = assets;
	r->crew = crew;
	r->gate = gate;
	r->checker = checker;
	r->milters = milters;
	r->outcome = "none";
	int err = loop_timer_create(loop, late, r, &r->late_timer);
	if (err) {
		free(r);
		return err;
	}
	*out = r;
	return 0;
}

void reloader_destroy(struct reloader **reloader)
{
	struct reloader *r = *reloader;
	*reloader = NULL;
	if (!r)
		return;
	loop_timer_destroy(&r->late_timer);
	r->is_destroyed = true;
	if (!r->is_reading)
		free(r);
}
