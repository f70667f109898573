#include "master.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "checker_process.h"
#include "list_report.h"
#include "control.h"
#include "daemon.h"
#include "fault.h"
#include "forwarder_links.h"
#include "gate_process.h"
#include "ident_broker.h"
#include "listeners_watch.h"
#include "log.h"
#include "loop.h"
#include "master_assets.h"
#include "master_status.h"
#include "milter_broker.h"
#include "reloader.h"
#include "rules_keeper.h"
#include "supervisor.h"

#define LOGGER_RETRY_MS 1000u
#define DRAIN_GRACE_S 5u

struct master {
	struct options options;
	struct master_assets assets;
	struct listeners_watch *listeners_watch;
	struct ident_broker ident_broker;
	struct client_verdicts client_verdicts;
	struct list_reports list_reports;
	struct origin_broker origin_broker;
	struct milter_broker milter_broker;

	struct loop *loop;
	struct worker_crew crew;
	struct forwarder_links *links;
	struct checker_process *checker; /* NULL: no check command */
	struct reloader *reloader;
	struct gate_process *gate; /* NULL: none is wanted */
	struct control_server *control;
	struct loop_signal *signals[5];
	struct loop_timer *drain_timer, *logger_timer, *watch_timer;
	int logger_pid, logger_pipe;
	bool is_ready, is_draining;
	int exit_status;
};

/* ---- start */

/* The standard error that we were started with; -1 once the start is over or nobody looks at it. */
static int terminal_fd = -1;

static int complain(const struct reason *why)
{
	/* At the start an operator looks at the terminal: plain words, no keys. */
	(void)dprintf(terminal_fd >= 0 ? terminal_fd : STDERR_FILENO, "%sposternd: %s\n", log_complaint_prefix(), why->text);
	return 1;
}

static int detach(struct master *m, struct reason *why)
{
	if (m->options.foreground)
		return 0;
	int err = daemon_detach(why);
	/* Another pid. */
	return err ? err : daemon_pid_file_write(m->assets.pid_fd, why);
}

static int start_logger(struct master *m, struct reason *why)
{
	if (m->options.foreground)
		return 0;
	terminal_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	int err = daemon_logger_start("posternd", &m->logger_pipe, &m->logger_pid, why);
	/* From here on the logger reads what we write. */
	log_setup("posternd", LOG_FORM_PRIORITY, log_level());
	m->assets.supply.setup.log_form = log_form();
	return err;
}

static void restart_logger(void *ctx)
{
	struct master *m = ctx;
	struct reason why;
	if (daemon_logger_start("posternd", &m->logger_pipe, &m->logger_pid, &why) != 0)
		loop_timer_start(m->logger_timer, LOGGER_RETRY_MS);
}

/* ---- what workers ask for */

static struct worker_process *asking(struct master *m, const struct spool_keeper_asker *asker)
{
	struct worker_process *w = m->crew.workers[asker->worker];
	/* No worker: the end has come while the file was being made. */
	return w && worker_process_generation(w) == asker->generation ? w : NULL;
}

static void give_segment(void *ctx, const struct spool_keeper_asker *asker, const struct role_segment *what, int fd)
{
	struct worker_process *w = asking(ctx, asker);
	if (w)
		(void)worker_process_send(w, ROLE_SEGMENT, what, sizeof *what, fd);
	if (fd >= 0)
		(void)close(fd);
}

static void give_large(void *ctx, const struct spool_keeper_asker *asker, const struct role_large *what, int fd)
{
	struct worker_process *w = asking(ctx, asker);
	if (w)
		(void)worker_process_send(w, ROLE_LARGE, what, sizeof *what, fd);
	if (fd >= 0)
		(void)close(fd);
}

static struct spool_keeper_asker asker_of(const struct worker_process *worker)
{
	return (struct spool_keeper_asker){ worker_process_index(worker), worker_process_generation(worker) };
}

static void worker_needs_segment(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	struct spool_keeper_asker asker = asker_of(worker);
	spool_keeper_need_segment(m->assets.spool, &asker);
}

static void worker_needs_large(void *ctx, struct worker_process *worker, const struct spool_id *id)
{
	struct master *m = ctx;
	struct spool_keeper_asker asker = asker_of(worker);
	spool_keeper_need_large(m->assets.spool, &asker, id);
}

static void worker_took_rules(void *ctx, struct worker_process *worker, int err)
{
	struct master *m = ctx;
	if (err)
		log_event(LOG_LEVEL_ERR, "rules-not-taken", "worker %u judges by its old rules; it is asked again", worker_process_index(worker));
	reloader_look(m->reloader);
}

static void worker_lost_forwarder(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	forwarder_links_lost(m->links, worker_process_index(worker));
}

static void worker_lost_checker(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	checker_process_lost(m->checker, worker);
}

/* By the rule actions drop and pass.  Without a gate the session has done what can be done. */
static void worker_judged_client(void *ctx, struct worker_process *worker, const struct role_client_verdict *told, int connection_fd)
{
	struct master *m = ctx;
	struct gate_client client;
	if (m->gate && client_verdict_check(&m->client_verdicts, &m->assets.supply.setup.conf, worker_process_index(worker), loop_now_ms(m->loop), told,
					    connection_fd, &client) == 0)
		gate_process_client(m->gate, &client);
}

static void worker_reports_list(void *ctx, struct worker_process *worker, const struct role_list_report *told, int connection_fd)
{
	struct master *m = ctx;
	struct gate_list_report report;
	if (m->gate && list_report_check(&m->list_reports, &m->assets.supply.setup.conf, worker_process_index(worker), loop_now_ms(m->loop), told,
					 connection_fd, &report) == 0)
		gate_process_list_report(m->gate, &report);
}

/* A worker that is behind gets nothing: descriptors would pile up here.  It helps itself without one. */
static void worker_needs_ident(void *ctx, struct worker_process *worker, const struct role_ident_wanted *wanted, int connection_fd)
{
	struct master *m = ctx;
	struct role_ident answer;
	if (worker_process_is_behind(worker))
		return;
	int fd = ident_broker_answer(&m->ident_broker, &m->options.conf, worker_process_index(worker), loop_now_ms(m->loop), wanted, connection_fd,
				     &answer);
	(void)worker_process_send(worker, ROLE_IDENT, &answer, sizeof answer, fd);
	if (fd >= 0)
		(void)close(fd);
}

static void worker_needs_origin(void *ctx, struct worker_process *worker, const struct role_origin_wanted *wanted, int connection_fd)
{
	struct master *m = ctx;
	struct role_origin answer;
	if (worker_process_is_behind(worker))
		return;
	origin_broker_answer(&m->origin_broker, &m->options.conf, wanted, connection_fd, &answer);
	(void)worker_process_send(worker, ROLE_ORIGIN, &answer, sizeof answer, -1);
}

static void worker_needs_milter(void *ctx, struct worker_process *worker, const struct role_milter_wanted *wanted)
{
	struct master *m = ctx;
	struct role_milter answer;
	/* As above: it asks again, or does without. */
	if (worker_process_is_behind(worker))
		return;
	int fd = milter_broker_answer(&m->milter_broker, worker_process_index(worker), wanted, &answer);
	(void)worker_process_send(worker, ROLE_MILTER, &answer, sizeof answer, fd);
	if (fd >= 0)
		(void)close(fd);
}

/* ---- an interface that was made anew */

static void listeners_reopened(void *ctx, const struct listener_group *group)
{
	struct master *m = ctx;
	const struct role_listener what = { .listen_index = group->listen_index, .family = group->family };
	for (size_t i = 0; i < m->crew.count; i++)
		worker_process_send(m->crew.workers[i], ROLE_LISTENER, &what, sizeof what, group->fds[i]);
}

/* ---- the life of the workers */

static void finish(struct master *m, int status)
{
	m->exit_status = status;
	loop_stop(m->loop);
}

static void take_ready(struct master *m)
{
	if (m->is_ready || !worker_crew_all_in(&m->crew, WORKER_RUNNING) || !checker_process_is_in_order(m->checker))
		return;
	m->is_ready = true;
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", "ready");
	kv_text(&kv, "version", POSTERN_VERSION);
	kv_u64(&kv, "workers", m->crew.count);
	kv_u64(&kv, "listeners", m->assets.listeners.group_count);
	kv_text(&kv, "spool", m->options.conf.spool);
	kv_text(&kv, "rules", m->options.conf.rules);
	log_kv(LOG_LEVEL_INFO, &kv);
	if (terminal_fd >= 0)
		(void)close(terminal_fd);
	terminal_fd = -1;
	daemon_detached();
	supervisor_tell("READY=1");
}

static void worker_ready(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	forwarder_links_forget(m->links, worker_process_index(worker));
	log_event(LOG_LEVEL_INFO, "worker-ready", "worker %u runs with pid %ld", worker_process_index(worker), (long)worker_process_pid(worker));
	checker_process_link(m->checker, worker);
	if (m->gate)
		gate_process_worker_ready(m->gate);
	take_ready(m);
	if (m->is_ready)
		forwarder_links_start(m->links);
	reloader_look(m->reloader);
}

static void worker_start_failed(void *ctx, struct worker_process *worker, const struct reason *why)
{
	struct master *m = ctx;
	(void)worker;
	if (!m->is_ready)
		(void)complain(why);
	finish(m, 1);
}

static void checker_ready(void *ctx)
{
	struct master *m = ctx;
	take_ready(m);
	if (m->is_ready)
		forwarder_links_start(m->links);
}

static void checker_start_failed(void *ctx, const struct reason *why)
{
	worker_start_failed(ctx, NULL, why);
}

static void worker_ended(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	(void)worker;
	if (!worker_crew_all_in(&m->crew, WORKER_ENDED))
		return;
	log_event(LOG_LEVEL_INFO, "stopped", "every session has ended");
	if (m->gate)
		gate_process_end(m->gate);
	else
		finish(m, m->exit_status);
}

static void gate_ended(void *ctx)
{
	struct master *m = ctx;
	finish(m, m->exit_status);
}

static void drain_overdue(void *ctx)
{
	struct master *m = ctx;
	log_event(LOG_LEVEL_WARN, "drain-overdue", "workers that did not end in time are killed");
	worker_crew_kill(&m->crew);
}

static void drain(struct master *m)
{
	if (m->is_draining) {
		log_event(LOG_LEVEL_INFO, "stopping", "already: transactions under way may finish; SIGQUIT ends them at once");
		return;
	}
	m->is_draining = true;
	supervisor_tell("STOPPING=1");
	log_event(LOG_LEVEL_INFO, "stopping", "no new connections; transactions under way may finish within %llu s",
		  (unsigned long long)m->options.conf.drain_timeout_s);
	forwarder_links_stop(m->links);
	reloader_stop(m->reloader);
	listeners_close(&m->assets.listeners);
	if (m->gate)
		gate_process_close(m->gate);
	loop_timer_start(m->drain_timer, (m->options.conf.drain_timeout_s + DRAIN_GRACE_S) * 1000);
	worker_crew_drain(&m->crew);
}

static void quit(struct master *m)
{
	if (!m->is_draining)
		drain(m);
	log_event(LOG_LEVEL_WARN, "quit", "transactions under way are cut off");
	worker_crew_kill(&m->crew);
}

/* Addresses come and go (DHCP, tunnels); the loop guard must know those of now. */
static void refresh_local_addrs(struct master *m)
{
	struct role_conf *now = &m->assets.supply.setup.conf;
	struct local_addrs found;
	memset(&found, 0, sizeof found);
	if (local_addrs_read(&found) != 0 || local_addrs_eq(&found, &now->local_addrs))
		return;
	now->local_addrs = found;
	log_event(LOG_LEVEL_INFO, "local-addrs", "the addresses of this host have changed: %u", found.count);
	worker_crew_send(&m->crew, ROLE_CONF, now, sizeof *now);
}

static void watch_workers(void *ctx)
{
	struct master *m = ctx;
	loop_timer_start(m->watch_timer, WORKER_WATCH_MS);
	if (!m->is_draining)
		refresh_local_addrs(m);
	worker_crew_watch(&m->crew);
	checker_process_watch(m->checker);
}

static void reap(struct master *m)
{
	int wait_status;
	pid_t pid;
	while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0)
		if (!worker_crew_died(&m->crew, pid, wait_status) && !gate_process_died(m->gate, pid, wait_status) &&
		    !checker_process_died(m->checker, pid, wait_status) && pid == m->logger_pid)
			loop_timer_start(m->logger_timer, LOGGER_RETRY_MS);
	reloader_look(m->reloader);
}

/* ---- loop */

static void on_signal(void *ctx, int signum)
{
	struct master *m = ctx;
	switch (signum) {
	case SIGCHLD: reap(m); break;
	case SIGHUP: reloader_request(m->reloader); break;
	case SIGQUIT: quit(m); break;
	default: drain(m); break;
	}
}

static void on_question(void *ctx, struct control_client *client, struct span request)
{
	struct master *m = ctx;
	struct master_status_sources sources = {
		.conf = &m->options.conf,
		.counters = &m->assets.counters,
		.rule_stats = m->assets.rule_stats,
		.gate = m->gate,
		.listeners = &m->assets.listeners,
		.crew = &m->crew,
		.links = m->links,
		.checker = m->checker,
		.reload = reloader_state(m->reloader),
		.spool_fd = spool_keeper_fd(m->assets.spool),
		.is_draining = m->is_draining,
	};
	master_status_answer(&sources, client, request);
}

/* A reload that is asked for during the start comes after it. */
static void hold_reloads(bool is_held)
{
	sigset_t set;
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGHUP);
	(void)sigprocmask(is_held ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

static int create_checker(struct master *m)
{
	const struct checker_process_events events = { checker_ready, checker_start_failed, m };
	struct master_assets *a = &m->assets;
	if (a->check_chroot_fd < 0)
		return 0;
	int err = checker_process_create(m->loop, &m->options.conf, &a->check_user, a->check_chroot_fd, &m->crew, &events, &m->checker);
	if (!err)
		a->check_chroot_fd = -1;
	return err;
}

static int start_loop(struct master *m, struct reason *why)
{
	static const int signums[] = { SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGQUIT };
	const struct worker_process_events worker_events = { worker_ready,	  worker_start_failed,	 worker_needs_segment, worker_needs_large,
							     worker_took_rules,	  worker_lost_forwarder, worker_lost_checker,  worker_judged_client,
							     worker_reports_list, worker_needs_ident,	 worker_needs_origin,  worker_needs_milter,
							     worker_ended,	  m };
	const struct spool_keeper_events spool_events = { give_segment, give_large, m };
	const struct gate_process_parts gate_parts = {
		.supply = &m->assets.supply,
		.crew = &m->crew,
		.counters = &m->assets.counters,
		.user = m->assets.gate_user,
		.spool_fd = spool_keeper_root_fd(m->assets.spool),
		.ended = gate_ended,
		.ctx = m,
	};
	m->ident_broker.origins = &m->origin_broker;
	int err = loop_create(&m->loop);
	if (!err)
		err = loop_timer_create(m->loop, drain_overdue, m, &m->drain_timer);
	if (!err)
		err = loop_timer_create(m->loop, restart_logger, m, &m->logger_timer);
	if (!err)
		err = loop_timer_create(m->loop, watch_workers, m, &m->watch_timer);
	for (size_t i = 0; !err && i < sizeof signums / sizeof signums[0]; i++)
		err = loop_signal_create(m->loop, signums[i], on_signal, m, &m->signals[i]);
	hold_reloads(false);
	if (!err) {
		err = control_server_create(m->loop, m->assets.control_fd, on_question, m, &m->control);
		if (!err)
			m->assets.control_fd = -1;
	}
	if (!err)
		err = listeners_watch_create(m->loop, &m->assets.listeners, &m->options.conf, listeners_reopened, m, &m->listeners_watch);
	if (!err)
		spool_keeper_start(m->assets.spool, m->loop, &spool_events);
	if (!err)
		err = worker_crew_create(m->loop, m->assets.worker_count, &m->assets.supply, &m->assets.counters, &worker_events, &m->crew);
	if (!err)
		err = forwarder_links_create(m->loop, m->options.conf.spool, &m->crew, &m->links);
	if (!err && m->options.conf.gate)
		err = gate_process_create(m->loop, &gate_parts, &m->gate);
	if (!err)
		err = create_checker(m);
	if (!err)
		err = reloader_create(m->loop, &m->options, &m->assets, &m->crew, m->gate, m->checker, &m->milter_broker, &m->reloader);
	if (err)
		return reason_set(why, err, "the event loop cannot be set up (%s)", err_name(err));
	checker_process_start(m->checker);
	milter_broker_set(&m->milter_broker, m->loop, &m->options.conf);
	worker_crew_start(&m->crew);
	if (m->gate)
		gate_process_start(m->gate);
	loop_timer_start(m->watch_timer, WORKER_WATCH_MS);
	return 0;
}

static void close_all(struct master *m)
{
	worker_crew_destroy(&m->crew);
	origin_broker_close(&m->origin_broker);
	gate_process_destroy(&m->gate);
	checker_process_destroy(&m->checker);
	for (size_t i = 0; i < sizeof m->signals / sizeof m->signals[0]; i++)
		loop_signal_destroy(&m->signals[i]);
	control_server_destroy(&m->control);
	listeners_watch_destroy(&m->listeners_watch);
	forwarder_links_destroy(&m->links);
	reloader_destroy(&m->reloader);
	loop_timer_destroy(&m->drain_timer);
	loop_timer_destroy(&m->logger_timer);
	loop_timer_destroy(&m->watch_timer);
	loop_destroy(&m->loop);
	master_assets_close(&m->options.conf, &m->assets);
}

static int check_only(const struct options *options)
{
	const struct conf *conf = &options->conf;
	const struct rules_in_force none = { -1, conf };
	struct rules_kept kept;
	struct filter_kept filter = { .fd = -1 };
	struct reason why;
	int err = rules_keeper_read(conf, 1, &none, &kept, &why);
	if (!err)
		err = filter_keeper_read(conf, -1, &filter, &why);
	rules_keeper_log_diags(&kept.diags, "rules", conf->rules);
	rules_keeper_log_diags(&filter.diags, "filter", conf->filter);
	rules_keeper_drop(&kept);
	filter_keeper_drop(&filter);
	if (err)
		return complain(&why);
	printf("configuration and rules (%s) are good\n", conf->rules);
	return 0;
}

int master_run(const struct options *options)
{
	static struct master m; /* large: the configuration is in it several times */
	struct reason why = { "" };
	m.options = *options;
	m.logger_pipe = -1;
	hold_reloads(true);
	log_setup("posternd", log_form_of_stderr(), (enum log_level)options->conf.log_level);
	if (options->check_only)
		return check_only(options);
	log_unblock_prepriv();
	(void)priv_raise_file_limit();
	if (spool_fault_prepriv() != 0)
		reason_set(&why, ERR_SYNTAX, "POSTERN_FAULT names no fault point");
	if (why.text[0])
		return complain(&why);
	if (master_assets_open_prepriv(&options->conf, &m.assets, &why) != 0 || detach(&m, &why) != 0) {
		master_assets_close(&options->conf, &m.assets);
		return complain(&why);
	}
	if (start_logger(&m, &why) != 0 || start_loop(&m, &why) != 0) {
		(void)complain(&why);
		m.exit_status = 1;
	} else {
		master_assets_log_rules(&m.assets, &options->conf, &m.assets.rules, &m.assets.filter);
		rules_keeper_drop(&m.assets.rules);
		filter_keeper_drop(&m.assets.filter);
		if (!conf_is_full_hostname(options->conf.hostname))
			log_event(LOG_LEVEL_WARN, "hostname",
				  "our name is '%s': other hosts may call themselves that, and mail of theirs would look like a loop; set hostname",
				  options->conf.hostname);
		loop_run(m.loop);
	}
	close_all(&m);
	return m.exit_status;
}
