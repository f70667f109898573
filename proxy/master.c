#include "master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "committed_notice.h"
#include "control.h"
#include "counters.h"
#include "daemon.h"
#include "fault.h"
#include "listeners.h"
#include "listeners_watch.h"
#include "log.h"
#include "loop.h"
#include "master_status.h"
#include "priv.h"
#include "rules_keeper.h"
#include "spool_dir.h"
#include "spool_keeper.h"
#include "worker_process.h"

#define FORWARDER_RETRY_MS 1000u
#define LOGGER_RETRY_MS 1000u
#define DRAIN_GRACE_S 5u

struct master {
	struct options options;
	struct priv_user session_user, forward_user;
	size_t worker_count;
	struct worker_supply supply;
	struct listeners listeners;
	struct listeners_watch *listeners_watch;
	struct counters counters;
	struct rule_stats *rule_stats;
	struct spool_keeper *spool;
	int pid_fd;
	int control_fd;

	struct loop *loop;
	struct worker_process *workers[LISTENER_MEMBERS_MAX];
	bool has_forwarder[LISTENER_MEMBERS_MAX]; /* this worker holds a connection to posternfwd */
	bool forwarder_missed;                    /* said once that it is not there */
	bool is_link_due;                         /* forwarder_timer runs */
	struct control_server *control;
	struct loop_signal *signals[5];
	struct loop_timer *forwarder_timer, *drain_timer, *logger_timer, *watch_timer;
	int logger_pid, logger_pipe;
	bool is_ready, is_draining;
	int exit_status;
};

/* ---- start: everything that can be wrong is found before anything runs */

/* The standard error that we were started with; -1 once the start is over or nobody looks at it. */
static int terminal_fd = -1;

static int complain(const struct reason *why)
{
	/* At the start an operator looks at the terminal: plain words, no keys. */
	(void)dprintf(terminal_fd >= 0 ? terminal_fd : STDERR_FILENO, "posternd: %s\n", why->text);
	return 1;
}

static int fill_supply(struct master *m, struct reason *why)
{
	struct role_setup *setup = &m->supply.setup;
	const struct conf *conf = &m->options.conf;
	setup->workers = (uint32_t)m->worker_count;
	setup->user = m->session_user;
	setup->log_form = log_form();
	setup->conf.conf = *conf;
	m->supply.listeners = &m->listeners;
	char empty[CONF_PATH_CAP + 16];
	(void)snprintf(empty, sizeof empty, "%s/%s", conf->spool, SPOOL_EMPTY_DIR);
	int err = priv_open_empty_prepriv(empty, &m->supply.chroot_fd, why);
	if (err)
		return err;
	err = local_addrs_read(&setup->conf.local_addrs);
	if (err)
		return reason_set(why, err, "the addresses of this host cannot be read (%s)", err_name(err));
	if (setup->conf.local_addrs.is_cut)
		log_event(LOG_LEVEL_WARN, "local-addrs", "more than %d addresses on this host: the loop guard knows only the first", LOCAL_ADDRS_MAX);
	return name_servers_find(conf->resolver, &setup->conf.name_servers, why);
}

static int lookup_users(struct master *m, struct reason *why)
{
	const struct conf *conf = &m->options.conf;
	int err = priv_lookup_prepriv(conf->session_user, conf->session_group, &m->session_user, why);
	if (err)
		return reason_prefix(why, err, "session-user");
	err = priv_lookup_prepriv(conf->forward_user, conf->forward_group, &m->forward_user, why);
	return err ? reason_prefix(why, err, "forward-user") : 0;
}

static int open_all_prepriv(struct master *m, struct reason *why)
{
	const struct conf *conf = &m->options.conf;
	char control_path[CONF_PATH_CAP + 16];
	int err = rules_keeper_load(conf, m->worker_count, &m->supply.rules_fd, &m->rule_stats, why);
	if (err)
		return err;
	m->supply.hits_fd = rule_stats_fd(m->rule_stats);
	if (!priv_is_root())
		return reason_set(why, ERR_PERM, "must be started as root: it binds to interfaces and starts its processes under other users");
	err = daemon_pid_file_take(conf->pid_file, &m->pid_fd, why);
	if (!err)
		err = lookup_users(m, why);
	if (!err)
		err = spool_keeper_open(conf->spool, &m->forward_user, m->worker_count, &m->spool, why);
	if (!err)
		err = listeners_open(conf, m->worker_count, &m->listeners, why);
	if (!err)
		err = fill_supply(m, why);
	if (!err && (err = counters_create(m->worker_count, &m->counters, &m->supply.counters_fd)) != 0)
		reason_set(why, err, "shared memory for counters: %s", err_name(err));
	if (err)
		return err;
	(void)snprintf(control_path, sizeof control_path, "%s/%s", conf->spool, SPOOL_CTL_SOCKET);
	return control_listen(control_path, &m->control_fd, why);
}

static int detach(struct master *m, struct reason *why)
{
	if (m->options.foreground)
		return 0;
	int err = daemon_detach(why);
	/* Another pid. */
	return err ? err : daemon_pid_file_write(m->pid_fd, why);
}

static int start_logger(struct master *m, struct reason *why)
{
	if (m->options.foreground)
		return 0;
	terminal_fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	int err = daemon_logger_start("posternd", &m->logger_pipe, &m->logger_pid, why);
	/* From here on the logger reads what we write. */
	log_setup("posternd", LOG_FORM_PRIORITY, log_level());
	m->supply.setup.log_form = log_form();
	return err;
}

static void restart_logger(void *ctx)
{
	struct master *m = ctx;
	struct reason why;
	if (daemon_logger_start("posternd", &m->logger_pipe, &m->logger_pid, &why) != 0)
		loop_timer_start(m->logger_timer, LOGGER_RETRY_MS);
}

/* ---- posternfwd: each worker gets a connection to it as soon as it is there */

/* The first word on the connection is ours: posternfwd believes no worker about another's segments. */
static int connect_forwarder(const struct conf *conf, uint32_t worker)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int n = snprintf(sa.sun_path, sizeof sa.sun_path, "%s/%s", conf->spool, SPOOL_FWD_SOCKET);
	int fd = n < 0 || (size_t)n >= sizeof sa.sun_path ? -1 : socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && (connect(fd, (struct sockaddr *)&sa, sizeof sa) != 0 ||
			ipc_send(fd, NOTICE_WORKER, &worker, sizeof worker, NULL, 0) != 0)) {
		(void)close(fd);
		fd = -1;
	}
	return fd;
}

/* A timer that runs is left alone: a worker that loses its connection again and again must not keep the others waiting. */
static void link_later(struct master *m, uint64_t after_ms)
{
	if (m->is_link_due || m->is_draining)
		return;
	m->is_link_due = true;
	loop_timer_start(m->forwarder_timer, after_ms);
}

static void link_forwarder(struct master *m)
{
	bool is_missing = false;
	for (size_t i = 0; i < m->worker_count; i++) {
		if (m->has_forwarder[i] || worker_process_state(m->workers[i]) != WORKER_RUNNING)
			continue;
		int fd = connect_forwarder(&m->options.conf, (uint32_t)i);
		if (fd < 0) {
			is_missing = true;
			break;
		}
		m->has_forwarder[i] = worker_process_send(m->workers[i], ROLE_FORWARDER, NULL, 0, fd) == 0;
		(void)close(fd);
		if (!m->has_forwarder[i])
			link_later(m, FORWARDER_RETRY_MS);
	}
	if (is_missing != m->forwarder_missed && m->is_ready) {
		m->forwarder_missed = is_missing;
		if (is_missing)
			log_event(LOG_LEVEL_WARN, "forwarder-away", "posternfwd does not run: mail is accepted and waits in the spool");
		else
			log_event(LOG_LEVEL_INFO, "forwarder-here", "posternfwd is there: mail flows on");
	}
	if (is_missing)
		link_later(m, FORWARDER_RETRY_MS);
}

static void link_due(void *ctx)
{
	struct master *m = ctx;
	m->is_link_due = false;
	link_forwarder(m);
}

/* ---- what workers ask for */

static struct worker_process *asking(struct master *m, const struct spool_keeper_asker *asker)
{
	struct worker_process *w = m->workers[asker->worker];
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
	spool_keeper_need_segment(m->spool, &asker);
}

static void worker_needs_large(void *ctx, struct worker_process *worker, const struct spool_id *id)
{
	struct master *m = ctx;
	struct spool_keeper_asker asker = asker_of(worker);
	spool_keeper_need_large(m->spool, &asker, id);
}

static void worker_lost_forwarder(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	m->has_forwarder[worker_process_index(worker)] = false;
	/* Not at once: a forwarder that ends closes its connections before its socket. */
	link_later(m, FORWARDER_RETRY_MS / 10);
}

/* ---- an interface that was made anew */

static void listeners_reopened(void *ctx, const struct listener_group *group)
{
	struct master *m = ctx;
	const struct role_listener what = { .listen_index = group->listen_index, .family = group->family };
	for (size_t i = 0; i < m->worker_count; i++)
		worker_process_send(m->workers[i], ROLE_LISTENER, &what, sizeof what, group->fds[i]);
}

/* ---- the life of the workers */

static void finish(struct master *m, int status)
{
	m->exit_status = status;
	loop_stop(m->loop);
}

static void worker_ready(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	m->has_forwarder[worker_process_index(worker)] = false;
	log_event(LOG_LEVEL_INFO, "worker-ready", "worker %u runs with pid %ld", worker_process_index(worker), (long)worker_process_pid(worker));
	bool all = true;
	for (size_t i = 0; i < m->worker_count; i++)
		all = all && worker_process_state(m->workers[i]) == WORKER_RUNNING;
	if (all && !m->is_ready) {
		m->is_ready = true;
		struct kv kv;
		kv_init(&kv);
		kv_text(&kv, "ev", "ready");
		kv_text(&kv, "version", POSTERN_VERSION);
		kv_u64(&kv, "workers", m->worker_count);
		kv_u64(&kv, "listeners", m->listeners.group_count);
		kv_text(&kv, "spool", m->options.conf.spool);
		kv_text(&kv, "rules", m->options.conf.rules);
		kv_text(&kv, "when_dead", "closed"); /* without the gate's dead-man switch diverted connections are refused */
		log_kv(LOG_LEVEL_INFO, &kv);
		if (terminal_fd >= 0)
			(void)close(terminal_fd);
		terminal_fd = -1;
		daemon_detached();
	}
	if (m->is_ready)
		link_forwarder(m);
}

static void worker_start_failed(void *ctx, struct worker_process *worker, const struct reason *why)
{
	struct master *m = ctx;
	(void)worker;
	if (!m->is_ready)
		(void)complain(why);
	finish(m, 1);
}

static void worker_ended(void *ctx, struct worker_process *worker)
{
	struct master *m = ctx;
	(void)worker;
	for (size_t i = 0; i < m->worker_count; i++)
		if (worker_process_state(m->workers[i]) != WORKER_ENDED)
			return;
	log_event(LOG_LEVEL_INFO, "stopped", "every session has ended");
	finish(m, m->exit_status);
}

static void kill_workers(struct master *m)
{
	for (size_t i = 0; i < m->worker_count; i++)
		worker_process_kill(m->workers[i]);
}

static void drain_overdue(void *ctx)
{
	log_event(LOG_LEVEL_WARN, "drain-overdue", "workers that did not end in time are killed");
	kill_workers(ctx);
}

static void drain(struct master *m)
{
	if (m->is_draining) {
		log_event(LOG_LEVEL_INFO, "stopping", "already: transactions under way may finish; SIGQUIT ends them at once");
		return;
	}
	m->is_draining = true;
	log_event(LOG_LEVEL_INFO, "stopping", "no new connections; transactions under way may finish within %llu s",
		  (unsigned long long)m->options.conf.drain_timeout_s);
	listeners_close(&m->listeners);
	loop_timer_start(m->drain_timer, (m->options.conf.drain_timeout_s + DRAIN_GRACE_S) * 1000);
	for (size_t i = 0; i < m->worker_count; i++)
		worker_process_drain(m->workers[i]);
}

static void quit(struct master *m)
{
	if (!m->is_draining)
		drain(m);
	log_event(LOG_LEVEL_WARN, "quit", "transactions under way are cut off");
	kill_workers(m);
}

/* Addresses come and go (DHCP, tunnels); the loop guard must know those of now. */
static void refresh_local_addrs(struct master *m)
{
	struct role_conf *now = &m->supply.setup.conf;
	struct local_addrs found;
	memset(&found, 0, sizeof found);
	if (local_addrs_read(&found) != 0 || local_addrs_eq(&found, &now->local_addrs))
		return;
	now->local_addrs = found;
	log_event(LOG_LEVEL_INFO, "local-addrs", "the addresses of this host have changed: %u", found.count);
	for (size_t i = 0; i < m->worker_count; i++)
		(void)worker_process_send(m->workers[i], ROLE_CONF, now, sizeof *now, -1);
}

static void watch_workers(void *ctx)
{
	struct master *m = ctx;
	loop_timer_start(m->watch_timer, WORKER_WATCH_MS);
	if (!m->is_draining)
		refresh_local_addrs(m);
	for (size_t i = 0; i < m->worker_count; i++)
		worker_process_watch(m->workers[i]);
}

static void reap(struct master *m)
{
	int wait_status;
	pid_t pid;
	while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
		bool known = false;
		for (size_t i = 0; i < m->worker_count && !known; i++)
			known = worker_process_died(m->workers[i], pid, wait_status);
		if (!known && pid == m->logger_pid)
			loop_timer_start(m->logger_timer, LOGGER_RETRY_MS);
	}
}

/* ---- reload */

/* What a running daemon can't change; returns the name of the first such option that differs, or NULL. */
static const char *unchangeable(const struct conf *old, const struct conf *new)
{
	if (strcmp(old->spool, new->spool) != 0)
		return "spool";
	if (strcmp(old->session_user, new->session_user) != 0 || strcmp(old->session_group, new->session_group) != 0)
		return "session-user";
	if (strcmp(old->forward_user, new->forward_user) != 0 || strcmp(old->forward_group, new->forward_group) != 0)
		return "forward-user";
	if (strcmp(old->pid_file, new->pid_file) != 0)
		return "pid-file";
	if (old->workers != new->workers)
		return "workers";
	if (old->listen_count != new->listen_count)
		return "listen";
	for (size_t i = 0; i < old->listen_count; i++) {
		const struct conf_listen *a = &old->listen[i], *b = &new->listen[i];
		if (strcmp(a->iface, b->iface) != 0 || strcmp(a->address, b->address) != 0 || a->mode != b->mode || a->port != b->port)
			return "listen (interface, mode, port or address)";
	}
	return NULL;
}

static void reload(struct master *m)
{
	struct conf conf = m->options.conf;
	struct reason why = { "" };
	struct name_servers name_servers;
	int rules_fd = -1;
	struct rule_stats *stats = NULL;
	int err = m->options.conf_path[0] ? conf_read(m->options.conf_path, &conf, &why) : 0;
	if (!err && unchangeable(&m->options.conf, &conf))
		err = reason_set(&why, ERR_INVAL, "%s: a change of %s needs a restart", m->options.conf_path, unchangeable(&m->options.conf, &conf));
	if (!err)
		err = name_servers_find(conf.resolver, &name_servers, &why);
	if (!err)
		err = rules_keeper_load(&conf, m->worker_count, &rules_fd, &stats, &why);
	if (err) {
		log_event(LOG_LEVEL_ERR, "reload-failed", "%s; the running configuration and rules stay in force", why.text);
		return;
	}
	m->options.conf = conf;
	m->supply.setup.conf.conf = conf;
	m->supply.setup.conf.name_servers = name_servers;
	(void)local_addrs_read(&m->supply.setup.conf.local_addrs);
	log_set_level((enum log_level)conf.log_level);
	/* The same rules go on counting. */
	if (!rules_keeper_same(rules_fd, m->supply.rules_fd)) {
		rule_stats_release(&m->rule_stats);
		m->rule_stats = stats;
		stats = NULL;
		m->supply.hits_fd = rule_stats_fd(m->rule_stats);
	}
	rule_stats_release(&stats);
	(void)close(m->supply.rules_fd);
	m->supply.rules_fd = rules_fd;
	for (size_t i = 0; i < m->worker_count; i++) {
		(void)worker_process_send(m->workers[i], ROLE_CONF, &m->supply.setup.conf, sizeof m->supply.setup.conf, -1);
		worker_process_send_rules(m->workers[i]);
	}
	log_event(LOG_LEVEL_INFO, "reloaded", "configuration and rules (%s) are in force for new recipients", conf.rules);
}

/* ---- loop */

static void on_signal(void *ctx, int signum)
{
	struct master *m = ctx;
	switch (signum) {
	case SIGCHLD: reap(m); break;
	case SIGHUP: reload(m); break;
	case SIGQUIT: quit(m); break;
	default: drain(m); break;
	}
}

static void on_question(void *ctx, struct control_client *client, struct span request)
{
	struct master *m = ctx;
	struct master_status_sources sources = {
		.conf = &m->options.conf,
		.counters = &m->counters,
		.rule_stats = m->rule_stats,
		.listeners = &m->listeners,
		.workers = m->workers,
		.worker_count = m->worker_count,
		.has_forwarder = m->has_forwarder,
		.spool_fd = spool_keeper_fd(m->spool),
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

static int start_loop(struct master *m, struct reason *why)
{
	static const int signums[] = { SIGCHLD, SIGHUP, SIGTERM, SIGINT, SIGQUIT };
	const struct worker_process_events worker_events = { worker_ready,	worker_start_failed,   worker_needs_segment, worker_needs_large,
							     worker_lost_forwarder, worker_ended, m };
	const struct spool_keeper_events spool_events = { give_segment, give_large, m };
	int err = loop_create(&m->loop);
	if (!err)
		err = loop_timer_create(m->loop, link_due, m, &m->forwarder_timer);
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
		err = control_server_create(m->loop, m->control_fd, on_question, m, &m->control);
		if (!err)
			m->control_fd = -1;
	}
	if (!err)
		err = listeners_watch_create(m->loop, &m->listeners, &m->options.conf, listeners_reopened, m, &m->listeners_watch);
	if (!err)
		spool_keeper_start(m->spool, m->loop, &spool_events);
	for (uint32_t i = 0; !err && i < m->worker_count; i++)
		err = worker_process_create(m->loop, i, &m->supply, &m->counters.slots[i], &worker_events, &m->workers[i]);
	if (err)
		return reason_set(why, err, "the event loop cannot be set up (%s)", err_name(err));
	for (size_t i = 0; i < m->worker_count; i++)
		worker_process_start(m->workers[i]);
	loop_timer_start(m->watch_timer, WORKER_WATCH_MS);
	return 0;
}

static void close_all(struct master *m)
{
	char control_path[CONF_PATH_CAP + 16];
	for (size_t i = 0; i < m->worker_count; i++)
		worker_process_destroy(&m->workers[i]);
	for (size_t i = 0; i < sizeof m->signals / sizeof m->signals[0]; i++)
		loop_signal_destroy(&m->signals[i]);
	control_server_destroy(&m->control);
	rule_stats_release(&m->rule_stats);
	listeners_watch_destroy(&m->listeners_watch);
	loop_timer_destroy(&m->forwarder_timer);
	loop_timer_destroy(&m->drain_timer);
	loop_timer_destroy(&m->logger_timer);
	loop_timer_destroy(&m->watch_timer);
	loop_destroy(&m->loop);
	spool_keeper_destroy(&m->spool);
	listeners_close(&m->listeners);
	(void)snprintf(control_path, sizeof control_path, "%s/%s", m->options.conf.spool, SPOOL_CTL_SOCKET);
	(void)unlink(control_path);
	daemon_pid_file_remove(m->options.conf.pid_file, m->pid_fd);
}

static int check_only(const struct options *options)
{
	struct rule_stats *stats = NULL;
	struct reason why;
	int fd;
	if (rules_keeper_load(&options->conf, 1, &fd, &stats, &why) != 0)
		return complain(&why);
	rule_stats_release(&stats);
	(void)close(fd);
	printf("configuration and rules (%s) are good\n", options->conf.rules);
	return 0;
}

int master_run(const struct options *options)
{
	static struct master m; /* large: the configuration is in it several times */
	struct reason why = { "" };
	m.options = *options;
	m.pid_fd = m.control_fd = m.logger_pipe = -1;
	hold_reloads(true);
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	m.worker_count = options->conf.workers ? (size_t)options->conf.workers : processors > 0 ? (size_t)processors : 1;
	if (m.worker_count > LISTENER_MEMBERS_MAX)
		m.worker_count = LISTENER_MEMBERS_MAX;
	log_setup("posternd", getenv("JOURNAL_STREAM") ? LOG_FORM_PRIORITY : LOG_FORM_TERMINAL, (enum log_level)options->conf.log_level);
	if (options->check_only)
		return check_only(options);
	log_unblock_prepriv();
	(void)priv_raise_file_limit();
	if (spool_fault_prepriv() != 0)
		reason_set(&why, ERR_SYNTAX, "POSTERN_FAULT names no fault point");
	if (why.text[0] || open_all_prepriv(&m, &why) != 0 || detach(&m, &why) != 0) {
		if (m.pid_fd >= 0)
			daemon_pid_file_remove(options->conf.pid_file, m.pid_fd);
		return complain(&why);
	}
	if (start_logger(&m, &why) != 0 || start_loop(&m, &why) != 0) {
		(void)complain(&why);
		m.exit_status = 1;
	} else {
		if (!conf_is_full_hostname(options->conf.hostname))
			log_event(LOG_LEVEL_WARN, "hostname",
				  "our name is '%s': other hosts may call themselves that, and mail of theirs would look like a loop; set hostname",
				  options->conf.hostname);
		loop_run(m.loop);
	}
	close_all(&m);
	return m.exit_status;
}
