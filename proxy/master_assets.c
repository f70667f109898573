#include "master_assets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "daemon.h"
#include "log.h"
#include "spool_dir.h"

/* The one of dist/postern.sysusers; without it the gate is its kind's: a session worker, too, can signal and trace nobody. */
#define GATE_USER "postern-gate"

static size_t count_workers(const struct conf *conf)
{
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	size_t count = conf->workers ? (size_t)conf->workers : processors > 0 ? (size_t)processors : 1;
	return count < LISTENER_MEMBERS_MAX ? count : LISTENER_MEMBERS_MAX;
}

static int fill_supply(const struct conf *conf, struct master_assets *a, struct reason *why)
{
	struct role_setup *setup = &a->supply.setup;
	setup->workers = (uint32_t)a->worker_count;
	setup->user = a->session_user;
	setup->log_form = log_form();
	setup->conf.conf = *conf;
	a->supply.listeners = &a->listeners;
	char empty[CONF_PATH_CAP + 16];
	(void)snprintf(empty, sizeof empty, "%s/%s", conf->spool, SPOOL_EMPTY_DIR);
	int err = priv_open_empty_prepriv(empty, &a->supply.chroot_fd, why);
	if (err)
		return err;
	err = local_addrs_read(&setup->conf.local_addrs);
	if (err)
		return reason_set(why, err, "the addresses of this host cannot be read (%s)", err_name(err));
	if (setup->conf.local_addrs.is_cut)
		log_event(LOG_LEVEL_WARN, "local-addrs", "more than %d addresses on this host: the loop guard knows only the first", LOCAL_ADDRS_MAX);
	return name_servers_find(conf->resolver, &setup->conf.name_servers, why);
}

static int lookup_users(const struct conf *conf, struct master_assets *a, struct reason *why)
{
	int err = priv_lookup_prepriv(conf->session_user, conf->session_group, &a->session_user, why);
	if (err)
		return reason_prefix(why, err, "session-user");
	err = priv_lookup_prepriv(conf->gate_user[0] ? conf->gate_user : GATE_USER, "", &a->gate_user, why);
	if (err && !conf->gate_user[0]) {
		a->gate_user = a->session_user;
		err = 0;
	}
	if (err)
		return reason_prefix(why, err, "gate-user");
	err = priv_lookup_prepriv(conf->forward_user, conf->forward_group, &a->forward_user, why);
	if (err)
		return reason_prefix(why, err, "forward-user");
	/* Who checks nothing need not have the user for it. */
	err = conf->check_command[0] ? priv_lookup_prepriv(conf->check_user, conf->check_group, &a->check_user, why) : 0;
	return err ? reason_prefix(why, err, "check-user") : 0;
}

static int open_check_chroot(const struct conf *conf, struct master_assets *a, struct reason *why)
{
	if (!conf->check_command[0])
		return 0;
	a->check_chroot_fd = open(conf->check_chroot, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return a->check_chroot_fd < 0 ? reason_set(why, err_from_errno(errno), "check-chroot: %s: %s", conf->check_chroot, strerror(errno)) : 0;
}

static int open_rules(const struct conf *conf, struct master_assets *a, struct reason *why)
{
	const struct rules_in_force none = { -1, conf };
	int err = rules_keeper_read(conf, a->worker_count + 1, &none, &a->rules, why);
	if (!err)
		err = filter_keeper_read(conf, -1, &a->filter, why);
	if (err) {
		rules_keeper_log(&a->rules, conf->rules);
		filter_keeper_log(&a->filter, conf->filter);
		return err;
	}
	filter_keeper_take(&a->filter, &a->supply.filter_fd);
	a->needs = a->rules.needs;
	a->supply.rules_fd = a->rules.fd;
	a->rules.fd = -1;
	a->rule_stats = a->rules.stats;
	a->rules.stats = NULL;
	a->supply.hits_fd = rule_stats_fd(a->rule_stats);
	a->supply.rules_generation = 1;
	return 0;
}

int master_assets_open_prepriv(const struct conf *conf, struct master_assets *a, struct reason *why)
{
	char control_path[CONF_PATH_CAP + 16];
	a->pid_fd = a->control_fd = a->check_chroot_fd = a->rules.fd = a->filter.fd = a->supply.filter_fd = -1;
	a->worker_count = count_workers(conf);
	int err = open_rules(conf, a, why);
	if (err)
		return err;
	if (!priv_is_root())
		return reason_set(why, ERR_PERM, "must be started as root: it binds to interfaces and starts its processes under other users");
	err = daemon_pid_file_take(conf->pid_file, &a->pid_fd, why);
	if (!err)
		err = lookup_users(conf, a, why);
	if (!err)
		err = spool_keeper_open(conf->spool, &a->forward_user, a->worker_count, &a->spool, why);
	if (!err)
		spool_keeper_prepare(a->spool, conf->segment_bytes, conf->min_free_bytes);
	if (!err)
		err = listeners_open(conf, a->worker_count, &a->listeners, why);
	if (!err)
		err = fill_supply(conf, a, why);
	if (!err)
		err = open_check_chroot(conf, a, why);
	if (!err && (err = counters_create(a->worker_count, &a->counters, &a->supply.counters_fd)) != 0)
		reason_set(why, err, "shared memory for counters: %s", err_name(err));
	if (err)
		return err;
	(void)snprintf(control_path, sizeof control_path, "%s/%s", conf->spool, SPOOL_CTL_SOCKET);
	err = control_listen(control_path, &a->control_fd, why);
	a->has_control = !err;
	return err;
}

void master_assets_log_rules(const struct master_assets *a, const struct conf *conf, const struct rules_kept *rules,
			     const struct filter_kept *filter)
{
	uint32_t needs = rules->is_compiled ? rules->needs : a->needs;
	rules_keeper_log(rules, conf->rules);
	filter_keeper_log(filter, conf->filter);
	if ((needs & NEED_EXTCHK) && !conf->check_command[0])
		log_event(LOG_LEVEL_WARN, "extcheck",
			  "a rule says allow-extchk and there is no check-command: its recipients get 451; see check-command in postern.conf(5)");
	if ((needs & NEED_MILTER) && !conf->milter[0])
		log_event(LOG_LEVEL_WARN, "milter", "a rule says allow-milter and there is no milter: its recipients get 451; see milter in postern.conf(5)");
	if (!(needs & NEED_FILTER))
		return;
	if (filter->is_lacking)
		log_event(LOG_LEVEL_WARN, "filter", "a rule says allow-filter and there is no %s: everything passes", conf->filter);
	else if (!conf->filter[0])
		log_event(LOG_LEVEL_WARN, "filter", "a rule says allow-filter and there is no content filter: its recipients get 451; see filter in postern.conf(5)");
}

void master_assets_close(const struct conf *conf, struct master_assets *a)
{
	char control_path[CONF_PATH_CAP + 16];
	rules_keeper_drop(&a->rules);
	filter_keeper_drop(&a->filter);
	rule_stats_release(&a->rule_stats);
	spool_keeper_destroy(&a->spool);
	listeners_close(&a->listeners);
	if (a->check_chroot_fd >= 0)
		(void)close(a->check_chroot_fd);
	(void)snprintf(control_path, sizeof control_path, "%s/%s", conf->spool, SPOOL_CTL_SOCKET);
	/* A start that failed because of another daemon leaves that one's socket alone. */
	if (a->has_control)
		(void)unlink(control_path);
	if (a->pid_fd >= 0)
		daemon_pid_file_remove(conf->pid_file, a->pid_fd);
}
