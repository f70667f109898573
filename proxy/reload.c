#include "reload.h"

#include <string.h>
#include <unistd.h>

#include "rules_keeper.h"

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

int reload_read(const char *conf_path, const struct conf *now, size_t worker_count, struct reload *out, struct reason *why)
{
	out->conf = *now;
	out->rules_fd = -1;
	out->stats = NULL;
	int err = conf_path[0] ? conf_read(conf_path, &out->conf, why) : 0;
	if (!err && unchangeable(now, &out->conf))
		err = reason_set(why, ERR_INVAL, "%s: a change of %s needs a restart", conf_path, unchangeable(now, &out->conf));
	if (!err)
		err = name_servers_find(out->conf.resolver, &out->name_servers, why);
	return err ? err : rules_keeper_load(&out->conf, worker_count, &out->rules_fd, &out->stats, why);
}

void reload_drop(struct reload *reload)
{
	rule_stats_release(&reload->stats);
	if (reload->rules_fd >= 0)
		(void)close(reload->rules_fd);
	reload->rules_fd = -1;
}
