#include "acceptor.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arrivals.h"
#include "load_average.h"
#include "local_addrs.h"
#include "log.h"
#include "origdst.h"
#include "origin_lookups.h"
#include "session.h"
#include "stutter.h"

/* Connections a turn: new clients must not starve the sessions under way. */
#define ACCEPT_BUDGET 64
/* Out of descriptors: the backlog keeps the clients; look again soon instead of spinning on a ready socket. */
#define EXHAUSTED_PAUSE_MS 100u

struct acceptor {
	struct session_host *host;
	int fd;
	uint32_t listen_index;
	struct loop_io *io;
	struct loop_timer *pause;
	struct arrivals *arrivals;
};

static void refuse(struct acceptor *a, int fd, const struct origdst *where, enum counter counter, const char *enhanced,
		   const char *reply, const char *why)
{
	struct kv kv;
	char line[512];
	kv_init(&kv);
	kv_text(&kv, "ev", "refused");
	kv_text(&kv, "iface", a->host->conf.conf.listen[a->listen_index].iface);
	kv_endpoint(&kv, "client", &where->client);
	kv_endpoint(&kv, "dst", &where->original);
	kv_text(&kv, "why", why);
	log_kv(LOG_LEVEL_WARN, &kv);
	counter_add(a->host->counters, counter, 1);
	int n = snprintf(line, sizeof line, "421 %s %.200s %s\r\n", enhanced, a->host->conf.conf.hostname, reply);
	/* A fresh socket's send buffer takes one line; if not, the client sees a close, which means the same. */
	if (n > 0)
		(void)send(fd, line, (size_t)n, MSG_NOSIGNAL | MSG_DONTWAIT);
	/* A master that hangs may still hold a copy of the descriptor. */
	(void)shutdown(fd, SHUT_WR);
	(void)close(fd);
}

/* Would forwarding to where the client wanted to go come back to us? */
static bool is_loop(const struct session_host *host, const struct conf_listen *l, const struct endpoint *original)
{
	if (l->mode == LISTEN_DIRECT || !local_addrs_has(&host->conf.local_addrs, &original->addr))
		return false;
	const struct conf *conf = &host->conf.conf;
	for (uint64_t i = 0; i < conf->listen_count; i++)
		if (conf->listen[i].port == original->port)
			return true;
	/* Any other service of this host is a destination like any other. */
	return false;
}

static bool is_overloaded(const struct session_host *host)
{
	uint64_t limit = host->conf.conf.refuse_load_average;
	return limit && load_average_hundredths() >= limit * 100;
}

/* What the client itself has done to be refused. */
static bool is_too_busy(struct acceptor *a, int fd, const struct origdst *where, struct client **client_out)
{
	struct session_host *host = a->host;
	const struct client_limits limits = session_client_limits(host);
	enum client_answer answer = CLIENT_WELCOME;
	*client_out = NULL;
	if (conf_listen_deters(&host->conf.conf.listen[a->listen_index]))
		answer = client_table_enter(host->clients, &where->client.addr, &limits, loop_now_ms(host->loop), client_out);
	if (answer == CLIENT_TOO_MANY)
		refuse(a, fd, where, COUNTER_REFUSED_CLIENT_MANY, "4.7.0", "too many connections from your address", "max-client-connections is reached");
	else if (answer == CLIENT_TOO_FAST)
		refuse(a, fd, where, COUNTER_REFUSED_CLIENT_FAST, "4.7.0", "connections from your address come too fast, try again later",
		       "client-connection-rate is reached");
	return answer != CLIENT_WELCOME;
}

/* balancer: through whom; NULL: the client itself.  What a balancer says for itself has no limits: it is we who asked for its checks. */
static void begin(struct acceptor *a, int fd, const struct origdst *where, const struct endpoint *balancer)
{
	struct session_host *host = a->host;
	const struct client_limits limits = session_client_limits(host);
	struct client *client = NULL;
	const int on = 1;
	bool is_own = balancer && endpoint_eq(balancer, &where->client);
	if (!is_own && is_too_busy(a, fd, where, &client))
		return;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (session_create(host, fd, a->listen_index, where, balancer, client) == 0)
		return;
	client_table_leave(host->clients, &limits, loop_now_ms(host->loop), &client);
	refuse(a, fd, where, COUNTER_REFUSED_FULL, "4.3.2", "out of memory, try again later", "no memory");
}

static void arrived(void *ctx, int fd, enum arrival what, const struct origdst *where, const struct endpoint *balancer, const char *why)
{
	struct acceptor *a = ctx;
	switch (what) {
	case ARRIVAL_RELAYED:
	case ARRIVAL_OWN: begin(a, fd, where, balancer); break;
	case ARRIVAL_BAD: refuse(a, fd, where, COUNTER_REFUSED_PROXY_HEADER, "4.3.2", "a PROXY header is expected from your address", why); break;
	case ARRIVAL_NOTHING:
		counter_add(a->host->counters, COUNTER_BALANCER_CHECKS, 1);
		(void)close(fd);
		break;
	}
}

/* Who the client is will be said in its first bytes. */
static void await_header(struct acceptor *a, int fd, const struct origdst *where)
{
	if (arrivals_add(a->arrivals, fd, where) != 0)
		refuse(a, fd, where, COUNTER_REFUSED_FULL, "4.3.2", "out of memory, try again later", "no memory");
}

static bool is_full(const struct acceptor *a)
{
	const struct session_host *host = a->host;
	size_t coming = arrivals_count(a->arrivals) + master_requests_count(host->origins);
	return host->session_count + coming >= host->conf.conf.max_sessions ||
	       host->session_count + coming + stutter_count(host->stutterers) >= host->session_limit;
}

/* err, why: what was found out about where the client wanted to go. */
static void placed(void *ctx, int fd, int err, const struct origdst *where, const char *why)
{
	struct acceptor *a = ctx;
	struct session_host *host = a->host;
	const struct conf_listen *l = &host->conf.conf.listen[a->listen_index];
	if (err == ERR_EOF) {
		(void)close(fd);
		return;
	}
	if (err == ERR_REFUSED) {
		refuse(a, fd, where, COUNTER_REFUSED_DIRECT, "4.3.2", "this port takes diverted connections only", why);
	} else if (err) {
		refuse(a, fd, where, COUNTER_REFUSED_ORIGDST, "4.3.2", "try again later", why);
	} else if (is_loop(host, l, &where->original)) {
		refuse(a, fd, where, COUNTER_REFUSED_LOOP, "4.3.2", "this connection leads back to itself",
		       "a loop: the original destination is ourselves");
	} else if (is_full(a)) {
		refuse(a, fd, where, COUNTER_REFUSED_FULL, "4.3.2", "too many connections, try again later", "max-sessions is reached");
	} else if (is_overloaded(host)) {
		refuse(a, fd, where, COUNTER_REFUSED_LOAD, "4.3.2", "too busy, try again later", "refuse-load-average is reached");
	} else if (cidr_list_has(&l->balancers, &where->client.addr)) {
		await_header(a, fd, where);
	} else {
		begin(a, fd, where, NULL);
	}
}

/* Only the master can ask there. */
static void ask_for_origin(struct acceptor *a, int fd, const struct endpoint *client)
{
	struct origdst where = { 0 };
	struct reason why = { "" };
	int err = origdst_find(fd, client, LISTEN_DIRECT, 0, &where, &why);
	if (err)
		placed(a, fd, err, &where, why.text);
	else if (is_full(a))
		refuse(a, fd, &where, COUNTER_REFUSED_FULL, "4.3.2", "too many connections, try again later", "max-sessions is reached");
	else if (origin_lookups_add(a->host->origins, fd, a->listen_index, &where, placed, a) != 0)
		refuse(a, fd, &where, COUNTER_REFUSED_ORIGDST, "4.3.2", "try again later", "the master is behind with original destinations");
}

static void take(struct acceptor *a, int fd, const struct sockaddr *sa)
{
	struct session_host *host = a->host;
	const struct conf_listen *l = &host->conf.conf.listen[a->listen_index];
	struct origdst where = { 0 };
	struct endpoint client;
	struct reason why = { "" };
	if (endpoint_from_sockaddr(sa, &client) != 0) {
		(void)close(fd);
		return;
	}
	counter_add(host->counters, COUNTER_CONNECTIONS, 1);
	if (l->conntrack_zone) {
		ask_for_origin(a, fd, &client);
		return;
	}
	int err = origdst_find(fd, &client, (enum listen_mode)l->mode, (uint16_t)l->port, &where, &why);
	placed(a, fd, err, &where, why.text);
}

static void ready(void *ctx, unsigned events)
{
	struct acceptor *a = ctx;
	(void)events;
	for (int budget = ACCEPT_BUDGET; budget > 0; budget--) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof sa;
		int fd = accept4(a->fd, (struct sockaddr *)&sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			take(a, fd, (struct sockaddr *)&sa);
			continue;
		}
		/* This one is gone already; the next may be there. */
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			log_event(LOG_LEVEL_ERR, "accept-failed", "%s: new clients wait", strerror(errno));
			(void)loop_io_want(a->io, 0);
			loop_timer_start(a->pause, EXHAUSTED_PAUSE_MS);
		}
		return;
	}
}

static void pause_over(void *ctx)
{
	struct acceptor *a = ctx;
	(void)loop_io_want(a->io, LOOP_READ);
}

int acceptor_create(struct session_host *host, int fd, uint32_t listen_index, struct acceptor **out)
{
	struct acceptor *a = calloc(1, sizeof *a);
	if (!a)
		return ERR_NOMEM;
	*a = (struct acceptor){ .host = host, .fd = fd, .listen_index = listen_index };
	int err = loop_io_create(host->loop, fd, ready, a, &a->io);
	if (!err)
		err = loop_timer_create(host->loop, pause_over, a, &a->pause);
	if (!err)
		err = arrivals_create(host->loop, arrived, a, &a->arrivals);
	if (!err)
		err = loop_io_want(a->io, LOOP_READ);
	if (err) {
		a->fd = -1;
		acceptor_destroy(&a);
	} else {
		*out = a;
	}
	return err;
}

void acceptor_destroy(struct acceptor **acceptor)
{
	struct acceptor *a = *acceptor;
	if (!a)
		return;
	loop_io_destroy(&a->io);
	loop_timer_destroy(&a->pause);
	arrivals_destroy(&a->arrivals);
	origin_lookups_drop(a->host->origins, a);
	if (a->fd >= 0)
		(void)close(a->fd);
	free(a);
	*acceptor = NULL;
}
