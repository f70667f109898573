#include "listeners.h"

#include <net/if.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/* A full backlog drops SYNs, and the clients come again after a second; the kernel caps it by net.core.somaxconn. */
#define BACKLOG 4096

static int open_group(const struct conf_listen *l, enum addr_family family, size_t members, struct listener_group *group, struct reason *why)
{
	struct listener_spec spec = {
		.iface = strcmp(l->iface, "*") == 0 ? NULL : l->iface,
		.local = { .addr = { .family = (uint8_t)family }, .port = (uint16_t)l->port },
		.is_transparent = l->mode == LISTEN_TPROXY,
		.is_behind_balancer = l->balancers.count > 0,
		.backlog = BACKLOG,
	};
	if (l->address[0])
		(void)addr_parse(span_of(l->address), &spec.local.addr);
	group->family = family;
	group->ifindex = spec.iface ? if_nametoindex(spec.iface) : 0;
	int err = listener_open_group(&spec, members, group->fds, why);
	return err ? reason_prefix(why, err, "listen \"%s\"", l->iface) : 0;
}

static bool wants_family(const struct conf_listen *l, enum addr_family family)
{
	struct addr address;
	return !l->address[0] || addr_parse(span_of(l->address), &address) != 0 || address.family == family;
}

int listeners_open(const struct conf *conf, size_t members, struct listeners *out, struct reason *why)
{
	static const enum addr_family families[] = { ADDR_V4, ADDR_V6 };
	memset(out, 0, sizeof *out);
	out->members = members;
	for (uint32_t i = 0; i < conf->listen_count; i++) {
		for (size_t f = 0; f < 2; f++) {
			if (!wants_family(&conf->listen[i], families[f]))
				continue;
			struct listener_group *group = &out->groups[out->group_count];
			group->listen_index = i;
			int err = open_group(&conf->listen[i], families[f], members, group, why);
			if (err == ERR_UNSUPPORTED && families[f] == ADDR_V6 && !conf->listen[i].address[0] && out->group_count > 0) {
				log_event(LOG_LEVEL_WARN, "no-ipv6", "%s", why->text);
				continue;
			}
			if (err) {
				listeners_close(out);
				return err;
			}
			out->group_count++;
		}
	}
	return 0;
}

static void close_group(const struct listener_group *group, size_t members)
{
	for (size_t m = 0; m < members; m++)
		(void)close(group->fds[m]);
}

int listeners_reopen(struct listeners *listeners, const struct conf *conf, size_t g, struct reason *why)
{
	struct listener_group *old = &listeners->groups[g], new = *old;
	int err = open_group(&conf->listen[old->listen_index], old->family, listeners->members, &new, why);
	if (err)
		return err;
	close_group(old, listeners->members);
	*old = new;
	return 0;
}

void listeners_close(struct listeners *listeners)
{
	for (size_t g = 0; g < listeners->group_count; g++)
		close_group(&listeners->groups[g], listeners->members);
	listeners->group_count = 0;
}
