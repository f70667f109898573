#include "ident_broker.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ident.h"
#include "log.h"
#include "origdst.h"
#include "outgoing.h"

static bool is_within_rate(struct ident_broker *b, uint32_t worker, uint64_t now_ms)
{
	uint64_t freed = (now_ms - b->workers[worker].at_ms) * IDENT_BROKER_RATE;
	uint64_t used = b->workers[worker].used;
	used = used > freed ? used - freed : 0;
	b->workers[worker].at_ms = now_ms;
	b->workers[worker].used = used;
	if (used > (IDENT_BROKER_RATE - 1) * 1000u)
		return false;
	b->workers[worker].used += 1000;
	return true;
}

/* Who is at the ends of a connection, and the interface that it is tied to (0: none). */
static int look_at(struct ident_broker *b, int fd, const struct conf_listen *listen, struct origdst *where_out, unsigned *ifindex_out, struct reason *why)
{
	struct sockaddr_storage sa;
	struct endpoint client;
	socklen_t len = sizeof sa;
	if (getpeername(fd, (struct sockaddr *)&sa, &len) != 0)
		return reason_set(why, err_from_errno(errno), "getpeername: %s", strerror(errno));
	int err = endpoint_from_sockaddr((struct sockaddr *)&sa, &client);
	if (err)
		return reason_set(why, err, "no internet connection");
	err = origin_broker_find(b->origins, listen, fd, &client, where_out, why);
	len = sizeof *ifindex_out;
	if (getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, ifindex_out, &len) != 0)
		*ifindex_out = 0;
	return err;
}

static int open_for(struct ident_broker *b, const struct conf_listen *listen, int connection_fd, int *fd_out)
{
	struct origdst where;
	unsigned ifindex = 0;
	struct reason why = { "" };
	int err = look_at(b, connection_fd, listen, &where, &ifindex, &why);
	/* Nobody diverts what a host sends to itself: such a pair is made up. */
	if (err || addr_eq(&where.client.addr, &where.original.addr))
		return err ? err : ERR_INVAL;
	const struct endpoint to = { where.client.addr, IDENT_PORT };
	err = outgoing_connect_from(&where.original.addr, listen->mode != LISTEN_DIRECT, ifindex, &to, fd_out, &why);
	if (err && !b->has_complained) {
		b->has_complained = true;
		log_event(LOG_LEVEL_WARN, "ident-socket", "ident is asked from an address of our own, not from the one the client connected to: %s",
			  why.text);
	}
	return err;
}

int ident_broker_answer(struct ident_broker *b, const struct conf *conf, uint32_t worker, uint64_t now_ms, const struct role_ident_wanted *wanted,
			int connection_fd, struct role_ident *answer_out)
{
	int fd = -1, err;
	assert(worker < LISTENER_MEMBERS_MAX);
	if (wanted->listen_index >= conf->listen_count)
		err = ERR_PROTO;
	else if (conf->ident_timeout_s == 0 || connection_fd < 0)
		err = ERR_UNSUPPORTED;
	else if (!is_within_rate(b, worker, now_ms))
		err = ERR_AGAIN;
	else
		err = open_for(b, &conf->listen[wanted->listen_index], connection_fd, &fd);
	*answer_out = (struct role_ident){ .ticket = wanted->ticket, .err = err };
	return fd;
}
