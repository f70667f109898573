#include "reload.h"

#include <string.h>

/* What a running daemon can't change; returns the name of the first such option that differs, or NULL. */
static const char *unchangeable(const struct conf *old, const struct conf *new)
{
	if (strcmp(old->spool, new->spool) != 0)
		return "spool";
	if (strcmp(old->session_user, new->session_user) != 0)
		return "session-user";
	if (strcmp(old->session_group, new->session_group) != 0)
		return "session-group";
	if (strcmp(old->forward_user, new->forward_user) != 0)
		return "forward-user";
	if (strcmp(old->forward_group, new->forward_group) != 0)
		return "forward-group";
	if (strcmp(old->gate_user, new->gate_user) != 0)
		return "gate-user";
	if (old->gate != new->gate)
		return "gate";
	if (old->gate_queue != new->gate_queue)
		return "gate-queue";
	if ((old->check_command[0] == '\0') != (new->check_command[0] == '\0'))
		return "check-command (from none, or to none)";
	if (strcmp(old->check_user, new->check_user) != 0)
		return "check-user";
	if (strcmp(old->check_group, new->check_group) != 0)
		return "check-group";
	if (strcmp(old->check_chroot, new->check_chroot) != 0)
		return "check-chroot";
	if (strcmp(old->check_dir, new->check_dir) != 0)
		return "check-dir";
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
		/* How connections are spread over the workers was decided when the sockets were opened. */
		if ((a->balancers.count == 0) != (b->balancers.count == 0))
			return "proxy-protocol from none to some, or back,";
	}
	return NULL;
}

static int read_all(struct reload *r)
{
	const struct conf *now = r->now.conf;
	int err = r->conf_path[0] ? conf_read(r->conf_path, &r->conf, &r->why) : 0;
	if (!err && unchangeable(now, &r->conf))
		err = reason_set(&r->why, ERR_INVAL, "%s: a change of %s needs a restart", r->conf_path, unchangeable(now, &r->conf));
	if (!err)
		err = name_servers_find(r->conf.resolver, &r->name_servers, &r->why);
	if (!err)
		err = rules_keeper_read(&r->conf, r->worker_count, &r->now, &r->rules, &r->why);
	return err ? err : filter_keeper_read(&r->conf, r->filter_fd, &r->filter, &r->why);
}

void reload_run(struct reload *reload)
{
	reload->conf = *reload->now.conf;
	reload->rules = (struct rules_kept){ .fd = -1 };
	reload->filter = (struct filter_kept){ .fd = -1 };
	reload->err = read_all(reload);
}

void reload_drop(struct reload *reload)
{
	rules_keeper_drop(&reload->rules);
	filter_keeper_drop(&reload->filter);
}
