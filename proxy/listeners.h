/* listeners.h - every listening socket of the daemon: for each listen section an IPv4 and an IPv6 group, with a member for each worker.
 * The master opens them before it starts anything and keeps a copy of each: connections that arrive while a worker is being restarted
 * wait in its backlog, and the steering by source address keeps its members.
 * Owns: the descriptors.
 */
#ifndef POSTERN_LISTENERS_H
#define POSTERN_LISTENERS_H

#include <stddef.h>

#include "conf.h"
#include "listener.h"

struct listener_group {
	uint32_t listen_index; /* into conf.listen */
	enum addr_family family;
	unsigned ifindex;      /* of the interface it is bound to; 0: of every one */
	int fds[LISTENER_MEMBERS_MAX];
};

struct listeners {
	size_t members; /* of each group: the number of workers */
	size_t group_count;
	struct listener_group groups[CONF_LISTEN_MAX * 2];
};

/* All or nothing.  A host without IPv6 gets no IPv6 groups. */
int listeners_open(const struct conf *conf, size_t members, struct listeners *out, struct reason *why);

/* Group g anew, bound to what has the interface's name now.  When that fails, it stays as it is. */
int listeners_reopen(struct listeners *listeners, const struct conf *conf, size_t g, struct reason *why);

void listeners_close(struct listeners *listeners);

#endif
