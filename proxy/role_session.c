#include "role_session.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "acceptor.h"
#include "checker_link.h"
#include "client_table.h"
#include "counters.h"
#include "fault.h"
#include "ident_sockets.h"
#include "ipc.h"
#include "list_report.h"
#include "log.h"
#include "milter_sockets.h"
#include "mime_walk.h"
#include "origin_lookups.h"
#include "priv.h"
#include "recipient_check.h"
#include "role_messages.h"
#include "rules.h"
#include "session.h"
#include "session_host.h"
#include "stutter.h"
#include "worker_rules.h"
#include "worker_spool.h"

#define SETUP_TIMEOUT_MS 10000
#define ACCEPTORS_MAX (CONF_LISTEN_MAX * 2)

struct listener_fd {
	struct role_listener what;
	int fd;
};

struct worker {
	struct role_setup setup;
	int chroot_fd;
	struct session_host host;
	struct counters counters;
	struct ipc_channel *master;
	struct worker_spool *spool;
	struct listener_fd listeners[ACCEPTORS_MAX];
	size_t listener_count;
	struct acceptor *acceptors[ACCEPTORS_MAX];
	struct loop_timer *drain_timer, *tick_timer;
	bool spool_is_gone;
	struct list_told list_told;
	struct worker_rules *rules;
	struct resolver_stats dns_counted;
	struct fact_service_stats facts_counted;
	uint64_t file_limit;
	struct spool_writer_stats counted; /* what the counters hold already: they outlive us, these numbers don't */
	uint64_t log_lost_counted;
};

#define TICK_MS 1000u

/* ---- receive: everything the worker will ever have */

static void rules_taken(void *ctx, uint64_t generation, int err);
static void rules_idle(void *ctx);

static int take_setup(struct worker *w, struct ipc_message *msg, struct reason *why)
{
	static char tag[32];
	if (msg->len != sizeof w->setup || msg->fd_count != 1)
		return reason_set(why, ERR_PROTO, "setup of %zu bytes", msg->len);
	w->chroot_fd = msg->fds[0];
	msg->fds[0] = -1;
	memcpy(&w->setup, msg->payload, sizeof w->setup);
	w->host.conf = w->setup.conf;
	w->host.worker = w->setup.worker;
	(void)snprintf(tag, sizeof tag, "posternd/%u", w->setup.worker);
	log_setup(tag, (enum log_form)w->setup.log_form, (enum log_level)w->setup.conf.conf.log_level);
	const struct worker_rules_events events = { rules_taken, rules_idle, w };
	int err = w->rules ? ERR_PROTO : worker_rules_create(&w->host, (size_t)w->setup.workers + 1, &events, &w->rules);
	return err ? reason_set(why, err, "no rules can be taken (%s)", err_name(err)) : 0;
}

static int take_listener(struct worker *w, struct ipc_message *msg, struct reason *why)
{
	struct listener_fd *l = &w->listeners[w->listener_count];
	if (msg->len != sizeof l->what || msg->fd_count != 1 || w->listener_count == ACCEPTORS_MAX)
		return reason_set(why, ERR_PROTO, "a listener that makes no sense");
	memcpy(&l->what, msg->payload, sizeof l->what);
	if (l->what.listen_index >= w->host.conf.conf.listen_count)
		return reason_set(why, ERR_PROTO, "a listener without its configuration");
	l->fd = msg->fds[0];
	msg->fds[0] = -1;
	w->listener_count++;
	return 0;
}

static int take_start_message(struct worker *w, struct ipc_message *msg, struct reason *why)
{
	switch (msg->type) {
	case ROLE_SETUP:
		return take_setup(w, msg, why);
	case ROLE_COUNTERS:
		if (msg->fd_count == 1 && counters_map(msg->fds[0], w->setup.workers, &w->counters) == 0 && w->setup.worker < w->setup.workers)
			return 0;
		return reason_set(why, ERR_PROTO, "the counters cannot be mapped");
	case ROLE_RULES:
		return w->rules ? worker_rules_load(w->rules, msg, why) : reason_set(why, ERR_PROTO, "rules in front of the setup");
	case ROLE_LISTENER:
		return take_listener(w, msg, why);
	case ROLE_GO:
		if (w->host.rules && w->counters.slots && w->chroot_fd >= 0)
			return 0;
		return reason_set(why, ERR_PROTO, "started without rules or counters");
	default:
		return reason_set(why, ERR_PROTO, "message of type %u", msg->type);
	}
}

static int receive_prepriv(struct worker *w, struct reason *why)
{
	struct ipc_message msg = { .type = 0 };
	int err = 0;
	while (!err && msg.type != ROLE_GO) {
		err = ipc_receive_wait(ROLE_CONTROL_FD, SETUP_TIMEOUT_MS, &msg);
		if (err)
			return reason_set(why, err, "no setup from the master (%s)", err_name(err));
		err = take_start_message(w, &msg, why);
		ipc_message_drop(&msg);
	}
	return err;
}

/* ---- drop and restrict */

static int drop(const struct worker *w, struct reason *why)
{
	struct priv_plan plan = { .user = w->setup.user, .has_chroot = true, .chroot_fd = w->chroot_fd };
	int err = priv_drop(&plan, why);
	/* It asks DNS servers and ident itself: a process between would see every question too, and cost a turn of the loop for each. */
	return err ? err : priv_restrict_calls(PRIV_MAY_CONNECT, why);
}

/* ---- run */

static void stop_if_done(struct worker *w)
{
	if (w->host.is_draining && w->host.session_count == 0 && w->spool_is_gone && !worker_rules_are_busy(w->rules))
		loop_stop(w->host.loop);
}

static void spool_gone(void *ctx)
{
	struct worker *w = ctx;
	w->spool_is_gone = true;
	stop_if_done(w);
}

static void sessions_gone(void *ctx)
{
	struct worker *w = ctx;
	if (w->spool)
		worker_spool_destroy(&w->spool, spool_gone, w);
}

static void drain(struct worker *w)
{
	if (w->host.is_draining)
		return;
	w->host.is_draining = true;
	for (size_t i = 0; i < w->listener_count; i++)
		acceptor_destroy(&w->acceptors[i]);
	stutterers_release(w->host.stutterers);
	loop_timer_start(w->drain_timer, w->host.conf.conf.drain_timeout_s * 1000);
	session_drain_all(&w->host);
	if (w->host.session_count == 0)
		sessions_gone(w);
}

static void drain_overdue(void *ctx)
{
	struct worker *w = ctx;
	log_event(LOG_LEVEL_WARN, "drain-overdue", "%zu sessions did not end in time: closed", w->host.session_count);
	session_destroy_all(&w->host);
}

static void count_facts(struct worker *w)
{
	const struct resolver_stats *dns = resolver_stats(w->host.resolver);
	const struct fact_service_stats *facts = fact_service_stats(w->host.fact_service);
	/* These start at 0 again with a new process; a counter never goes down. */
	counter_add(w->host.counters, COUNTER_DNS_QUERIES, dns->queries - w->dns_counted.queries);
	counter_add(w->host.counters, COUNTER_DNS_HITS, dns->hits - w->dns_counted.hits);
	counter_add(w->host.counters, COUNTER_DNS_FAILURES, dns->failures - w->dns_counted.failures);
	counter_add(w->host.counters, COUNTER_DNS_REFUSED, dns->refused - w->dns_counted.refused);
	counter_add(w->host.counters, COUNTER_FACTS_FAILED, facts->failed - w->facts_counted.failed);
	counter_add(w->host.counters, COUNTER_LIST_ERRORS, facts->list_errors - w->facts_counted.list_errors);
	counter_add(w->host.counters, COUNTER_IDENT_QUERIES, facts->ident.queries - w->facts_counted.ident.queries);
	counter_add(w->host.counters, COUNTER_IDENT_OWN_ADDRESS, facts->ident.from_own_address - w->facts_counted.ident.from_own_address);
	if (facts->ident.lost && !w->facts_counted.ident.lost)
		log_event(LOG_LEVEL_WARN, "ident-lost",
			  "a client's answer to an ident query from the address it connected to did not come back here: run postern-divert up again, "
			  "and see postern-divert(8)");
	w->dns_counted = *dns;
	w->facts_counted = *facts;
}

static void tick(void *ctx)
{
	struct worker *w = ctx;
	struct spool_writer_stats stats;
	size_t dns_entries, dns_bytes;
	uint64_t lost = log_lost();
	loop_timer_start(w->tick_timer, TICK_MS);
	counter_heartbeat(w->host.counters);
	counter_add(w->host.counters, COUNTER_LOG_LOST, lost - w->log_lost_counted);
	w->log_lost_counted = lost;
	count_facts(w);
	resolver_cached(w->host.resolver, &dns_entries, &dns_bytes);
	counter_set(w->host.counters, COUNTER_DNS_CACHED, dns_entries);
	counter_set(w->host.counters, COUNTER_DNS_CACHED_BYTES, dns_bytes);
	counter_set(w->host.counters, COUNTER_CLIENTS, client_table_count(w->host.clients));
	counter_set(w->host.counters, COUNTER_STUTTERING, stutter_count(w->host.stutterers));
	worker_rules_tick(w->rules);
	if (!w->spool)
		return;
	spool_writer_stats(worker_spool_writer(w->spool), &stats);
	counter_add(w->host.counters, COUNTER_SYNCS, stats.batches - w->counted.batches);
	counter_add(w->host.counters, COUNTER_SYNC_US, stats.sync_us_sum - w->counted.sync_us_sum);
	w->counted = stats;
}

static struct fact_service_options fact_options(const struct conf *conf)
{
	return (struct fact_service_options){
		.deadline_ms = conf->dns_deadline_s * 1000,
		.ident_timeout_ms = conf->ident_timeout_s * 1000,
		.list_check_ms = conf->list_check_s * 1000,
	};
}

static void reload_conf(struct worker *w, const struct ipc_message *msg)
{
	if (msg->len != sizeof w->host.conf)
		return;
	char milter[CONF_MILTER_CAP];
	memcpy(milter, w->host.conf.conf.milter, sizeof milter);
	/* The listen sections are the same in number and order: the master made sure. */
	memcpy(&w->host.conf, msg->payload, sizeof w->host.conf);
	conf_milters(&w->host.conf.conf, &w->host.milters);
	if (strcmp(milter, w->host.conf.conf.milter) != 0)
		milter_counters_clear(w->host.counters);
	log_set_level((enum log_level)w->host.conf.conf.log_level);
	const struct fact_service_options options = fact_options(&w->host.conf.conf);
	fact_service_set_options(w->host.fact_service, &options);
	if (resolver_set_servers(w->host.resolver, &w->host.conf.name_servers))
		log_event(LOG_LEVEL_ERR, "reload-failed", "the name servers cannot be used; facts of the DNS are unknown");
}

static void rules_taken(void *ctx, uint64_t generation, int err)
{
	struct worker *w = ctx;
	const struct role_rules_taken what = { generation, err };
	/* The end of a job that outlasted the rest. */
	if (!w->master)
		return;
	if (!err)
		fact_service_watch_lists(w->host.fact_service, w->host.rules);
	(void)ipc_channel_send(w->master, ROLE_RULES_TAKEN, &what, sizeof what, NULL, 0);
}

static void list_is_broken(void *ctx, struct span zone)
{
	struct worker *w = ctx;
	const struct conf *conf = &w->host.conf.conf;
	if (conf->gate && conf->gate_queue && rules_syn_has_list(w->host.rules, zone))
		list_report_broken(&w->list_told, w->master, zone);
}

static void rules_idle(void *ctx)
{
	stop_if_done(ctx);
}

/* The interface was made anew: the old socket hears nothing any more. */
static void replace_listener(struct worker *w, struct ipc_message *msg)
{
	struct role_listener what;
	struct acceptor *new = NULL;
	if (msg->len != sizeof what || msg->fd_count != 1 || w->host.is_draining)
		return;
	memcpy(&what, msg->payload, sizeof what);
	size_t i = 0;
	while (i < w->listener_count && memcmp(&w->listeners[i].what, &what, sizeof what) != 0)
		i++;
	if (i == w->listener_count || acceptor_create(&w->host, msg->fds[0], what.listen_index, &new) != 0)
		return;
	msg->fds[0] = -1;
	acceptor_destroy(&w->acceptors[i]);
	w->acceptors[i] = new;
}

static void from_master(void *ctx, struct ipc_message *msg)
{
	struct worker *w = ctx;
	struct role_segment segment;
	struct role_large large;
	struct role_ident ident;
	struct role_origin origin;
	struct role_milter milter;
	switch (msg->type) {
	case ROLE_CONF: reload_conf(w, msg); break;
	case ROLE_RULES: worker_rules_reload(w->rules, msg); break;
	case ROLE_DRAIN: drain(w); break;
	case ROLE_LISTENER: replace_listener(w, msg); break;
	case ROLE_SEGMENT:
		if (w->spool && msg->len == sizeof segment) {
			memcpy(&segment, msg->payload, sizeof segment);
			worker_spool_segment(w->spool, &segment, ipc_message_take_fd(msg, 0));
		}
		break;
	case ROLE_LARGE:
		if (w->spool && msg->len == sizeof large) {
			memcpy(&large, msg->payload, sizeof large);
			worker_spool_large(w->spool, &large, ipc_message_take_fd(msg, 0));
		}
		break;
	case ROLE_IDENT:
		if (msg->len == sizeof ident) {
			memcpy(&ident, msg->payload, sizeof ident);
			master_requests_take(w->host.ident_sockets, ident.ticket, &ident, ipc_message_take_fd(msg, 0));
		}
		break;
	case ROLE_ORIGIN:
		if (msg->len == sizeof origin) {
			memcpy(&origin, msg->payload, sizeof origin);
			master_requests_take(w->host.origins, origin.ticket, &origin, -1);
		}
		break;
	case ROLE_CHECKER:
		if (msg->fd_count == 1)
			checker_link_take(w->host.checker, ipc_message_take_fd(msg, 0));
		break;
	case ROLE_MILTER:
		if (msg->len == sizeof milter) {
			memcpy(&milter, msg->payload, sizeof milter);
			master_requests_take(w->host.milter_sockets, milter.ticket, &milter, ipc_message_take_fd(msg, 0));
		}
		break;
	case ROLE_FORWARDER:
		if (w->spool && msg->fd_count == 1)
			worker_spool_forwarder(w->spool, ipc_message_take_fd(msg, 0));
		break;
	default: break;
	}
}

static void master_gone(void *ctx, int err)
{
	struct worker *w = ctx;
	(void)err;
	log_event(LOG_LEVEL_ERR, "master-gone", "the master died: finishing what is under way");
	drain(w);
}

static int build(struct worker *w, struct reason *why)
{
	struct session_host *host = &w->host;
	host->counters = &w->counters.slots[w->setup.worker];
	/* Session ids: never the same again, also after a restart: 32 bits of start time, 6 of worker, 26 of counter. */
	host->next_sid = ((uint64_t)time(NULL) << 32) | ((uint64_t)(w->setup.worker & 63) << 26);
	/* A quarter of the descriptors stays for large bodies, segments and messages from the master. */
	host->session_limit = (size_t)(w->file_limit / 4 * 3);
	session_host_init(host);
	conf_milters(&host->conf.conf, &host->milters);
	host->emptied = sessions_gone;
	host->emptied_ctx = w;
	spool_id_source_init(&host->ids, w->setup.worker);
	int err = client_table_create(&host->clients);
	if (!err)
		err = loop_create(&host->loop);
	if (!err)
		err = stutterers_create(host->loop, host->clients, &host->stutterers);
	if (!err)
		err = resolver_start(host->resolver, host->loop, &host->conf.name_servers);
	const struct fact_service_options options = fact_options(&host->conf.conf);
	if (!err)
		err = fact_service_create(host->loop, resolver_source(host->resolver), &options, &host->fact_service);
	if (!err)
		err = list_told_init(&w->list_told);
	host->list_told = &w->list_told;
	if (!err)
		err = loop_timer_create(host->loop, drain_overdue, w, &w->drain_timer);
	if (!err)
		err = loop_timer_create(host->loop, tick, w, &w->tick_timer);
	if (!err)
		err = ipc_channel_create(host->loop, ROLE_CONTROL_FD, from_master, master_gone, w, &w->master);
	if (!err)
		host->master = w->master;
	if (!err)
		err = ident_sockets_create(host->loop, w->master, &host->ident_sockets);
	if (!err)
		err = origin_lookups_create(host->loop, w->master, &host->origins);
	if (!err)
		err = checker_link_create(host->loop, w->master, &host->checker);
	if (!err)
		err = milter_sockets_create(host->loop, w->master, &host->milter_sockets);
	if (!err)
		err = worker_spool_create(host->loop, &host->conf.conf, w->master, &w->spool);
	if (!err)
		host->writer = worker_spool_writer(w->spool);
	if (!err)
		err = recipient_checks_create(host->loop, w->spool, &host->checks);
	for (size_t i = 0; !err && i < w->listener_count; i++)
		err = acceptor_create(host, w->listeners[i].fd, w->listeners[i].what.listen_index, &w->acceptors[i]);
	if (err)
		return reason_set(why, err, "the event loop cannot be set up (%s)", err_name(err));
	fact_service_on_broken_list(host->fact_service, list_is_broken, w);
	fact_service_watch_lists(host->fact_service, host->rules);
	loop_timer_start(w->tick_timer, TICK_MS);
	return ipc_channel_send(w->master, ROLE_READY, NULL, 0, NULL, 0);
}

static void take_down(struct worker *w)
{
	struct session_host *host = &w->host;
	for (size_t i = 0; i < w->listener_count; i++)
		acceptor_destroy(&w->acceptors[i]);
	loop_timer_destroy(&w->drain_timer);
	loop_timer_destroy(&w->tick_timer);
	ipc_channel_destroy(&w->master);
	recipient_checks_destroy(&host->checks);
	checker_link_destroy(&host->checker);
	fact_service_destroy(&host->fact_service);
	master_requests_destroy(&host->ident_sockets);
	master_requests_destroy(&host->origins);
	master_requests_destroy(&host->milter_sockets);
	resolver_destroy(&host->resolver);
	stutterers_destroy(&host->stutterers);
	loop_destroy(&host->loop);
	client_table_destroy(&host->clients);
	worker_rules_destroy(&w->rules);
}

int role_session_run(void)
{
	static struct worker w = { .chroot_fd = -1 }; /* large: scratch buffer and configuration */
	struct role_failed failed = { .why = { "" } };
	priv_start_process();
	(void)prctl(PR_SET_NAME, "postern-session", 0, 0, 0);
	/* Whoever signals the whole group means the master: it says over the channel what to do. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)signal(SIGQUIT, SIG_IGN);
	w.file_limit = priv_raise_file_limit();
	int err = spool_fault_prepriv();
	if (!err)
		err = receive_prepriv(&w, &failed.why);
	if (!err && (err = resolver_create_prepriv(&w.host.resolver)) != 0)
		reason_set(&failed.why, err, "the resolver cannot be set up (%s)", err_name(err));
	mime_walk_init_prepriv();
	if (!err)
		err = drop(&w, &failed.why);
	if (!err)
		err = build(&w, &failed.why);
	if (err) {
		(void)ipc_send(ROLE_CONTROL_FD, ROLE_FAILED, &failed, sizeof failed, NULL, 0);
		return 1;
	}
	loop_run(w.host.loop);
	take_down(&w);
	return 0;
}
