#include "origin_broker.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "conntrack.h"
#include "log.h"

static int open_socket(struct origin_broker *b, struct reason *why)
{
	int err = b->nl ? 0 : nfnl_open(&b->nl, why);
	if (err && !b->has_complained)
		log_event(LOG_LEVEL_ERR, "conntrack", "conntrack-zone: %s: clients there are refused", why->text);
	b->has_complained = err != 0;
	return err;
}

int origin_broker_find(struct origin_broker *b, const struct conf_listen *listen, int fd, const struct endpoint *client, struct origdst *out,
		       struct reason *why)
{
	if (listen->conntrack_zone == 0)
		return origdst_find(fd, client, (enum listen_mode)listen->mode, (uint16_t)listen->port, out, why);
	int err = open_socket(b, why);
	return err ? err : conntrack_find(b->nl, (uint16_t)listen->conntrack_zone, fd, client, out, why);
}

static int look_at(struct origin_broker *b, const struct conf_listen *listen, int fd, struct origdst *where_out, struct reason *why)
{
	struct sockaddr_storage sa;
	struct endpoint client;
	socklen_t len = sizeof sa;
	if (getpeername(fd, (struct sockaddr *)&sa, &len) != 0)
		return reason_set(why, errno == ENOTCONN ? ERR_EOF : err_from_errno(errno), "getpeername: %s", strerror(errno));
	if (endpoint_from_sockaddr((struct sockaddr *)&sa, &client))
		return reason_set(why, ERR_UNSUPPORTED, "no internet connection");
	return origin_broker_find(b, listen, fd, &client, where_out, why);
}

void origin_broker_answer(struct origin_broker *b, const struct conf *conf, const struct role_origin_wanted *wanted, int connection_fd,
			  struct role_origin *answer_out)
{
	struct role_origin answer = { .ticket = wanted->ticket };
	struct origdst where = { .mark = 0 };
	if (wanted->listen_index >= conf->listen_count)
		answer.err = reason_set(&answer.why, ERR_PROTO, "no such listener");
	else if (connection_fd < 0)
		answer.err = reason_set(&answer.why, ERR_NOMEM, "no descriptor left");
	else
		answer.err = look_at(b, &conf->listen[wanted->listen_index], connection_fd, &where, &answer.why);
	answer.original = where.original;
	*answer_out = answer;
}

void origin_broker_close(struct origin_broker *b)
{
	nfnl_close(&b->nl);
}
