#include "dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

#define ADDRESSES_MAX 16

/* One resolution: outlives a cancelled dial, since a job can't be taken back. */
struct lookup {
	struct dial *dial; /* NULL: nobody waits any more */
	char host[256];
	uint16_t port;
	struct endpoint found[ADDRESSES_MAX];
	size_t count;
	int gai;
};

struct dial {
	struct dial_options options;
	struct route route;
	dial_done_fn done;
	void *ctx;
	struct lookup *lookup;
	struct endpoint addresses[ADDRESSES_MAX];
	size_t count, next;
	bool is_own;     /* the present address: without pretence, since it did not work with it */
	struct broker_request *request;
	int fd;
	struct loop_io *io;
	struct loop_timer *timer;
	struct loop_task task;
	struct dial_result result;
};

static void try_next(void *ctx);

static void dial_free(struct dial *d)
{
	if (d->lookup)
		d->lookup->dial = NULL;
	broker_cancel(&d->request);
	loop_io_destroy(&d->io);
	loop_timer_destroy(&d->timer);
	loop_task_cancel(&d->task);
	if (d->fd >= 0)
		(void)close(d->fd);
	free(d);
}

static void finish(struct dial *d, int err)
{
	struct dial_result result = d->result;
	dial_done_fn done = d->done;
	void *ctx = d->ctx;
	result.err = err;
	result.fd = err ? -1 : d->fd;
	if (!err)
		d->fd = -1;
	/* The descriptor may be watched anew from inside done. */
	dial_free(d);
	done(ctx, &result);
}

static void forget_socket(struct dial *d)
{
	loop_io_destroy(&d->io);
	loop_timer_stop(d->timer);
	if (d->fd >= 0)
		(void)close(d->fd);
	d->fd = -1;
}

/* A client of the other family can't be spoken for; one on this very host needs no pretence. */
static bool is_spoofed(const struct dial *d, const struct endpoint *to)
{
	return !d->is_own && d->route.spoofed.family == to->addr.family && !local_addrs_has(d->options.local, &d->route.spoofed);
}

static bool has_fallback(const struct dial *d)
{
	return d->route.spoofed.family != ADDR_NONE && d->route.spoof_fallback != IDENTITY_SPOOF;
}

static void address_failed(struct dial *d, int err, const char *what)
{
	forget_socket(d);
	d->result.err = reason_set(&d->result.why, err, "%s: %s", d->result.remote, what);
	d->is_own = false;
	loop_task_post(d->options.loop, &d->task);
}

/* The server may be well, and only the pretence has failed. */
static void pretence_failed(struct dial *d, int err, const char *what)
{
	if (!has_fallback(d)) {
		address_failed(d, err, what);
		return;
	}
	log_event(LOG_LEVEL_WARN, "spoof-fallback", "%s: %s; tried again from our own address", d->result.remote, what);
	forget_socket(d);
	d->is_own = true;
	d->next--;
	loop_task_post(d->options.loop, &d->task);
}

static void connected(struct dial *d)
{
	const int on = 1;
	bool is_unix = d->route.spec.kind == FORWARD_LMTP_UNIX;
	d->result.has_fallen_back = !is_unix && has_fallback(d) && !is_spoofed(d, &d->addresses[d->next - 1]);
	/* Fails on a unix socket, which has no such delay. */
	(void)setsockopt(d->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	finish(d, 0);
}

static void socket_ready(void *ctx, unsigned events)
{
	struct dial *d = ctx;
	int errnum = 0;
	socklen_t len = sizeof errnum;
	(void)events;
	if (getsockopt(d->fd, SOL_SOCKET, SO_ERROR, &errnum, &len) != 0)
		errnum = errno;
	/* The kernel has given up before our own patience ended, or the way back ended in a router: no answer either. */
	bool is_silence = errnum == ETIMEDOUT || errnum == EHOSTUNREACH || errnum == ENETUNREACH;
	bool is_unix = d->route.spec.kind == FORWARD_LMTP_UNIX;
	if (is_silence && !is_unix && is_spoofed(d, &d->addresses[d->next - 1]))
		pretence_failed(d, err_from_errno(errnum), strerror(errnum));
	else if (errnum)
		address_failed(d, err_from_errno(errnum), strerror(errnum));
	else
		connected(d);
}

static void time_is_up(void *ctx)
{
	struct dial *d = ctx;
	bool is_unix = d->route.spec.kind == FORWARD_LMTP_UNIX;
	if (!is_unix && is_spoofed(d, &d->addresses[d->next - 1]))
		pretence_failed(d, ERR_TIMEOUT, "no answer to our attempt to connect from the client's address");
	else
		address_failed(d, ERR_TIMEOUT, "no answer to our attempt to connect");
}

static void connect_to(struct dial *d, const struct sockaddr *sa, socklen_t len)
{
	int failed;
	do
		failed = connect(d->fd, sa, len);
	while (failed && errno == EINTR);
	if (failed && errno != EINPROGRESS) {
		address_failed(d, err_from_errno(errno), strerror(errno));
		return;
	}
	int err = loop_io_create(d->options.loop, d->fd, socket_ready, d, &d->io);
	if (!err)
		err = loop_io_want(d->io, LOOP_WRITE);
	if (err)
		address_failed(d, err, err_name(err));
	else
		loop_timer_start(d->timer, d->options.connect_timeout_ms);
}

static void socket_given(void *ctx, int err, int fd)
{
	struct dial *d = ctx;
	struct sockaddr_storage sa;
	socklen_t len;
	d->request = NULL;
	if (err == ERR_UNSUPPORTED) {
		pretence_failed(d, err, "identity = spoof needs a transparent socket, which this process can't have (run as root)");
		return;
	}
	if (err) {
		address_failed(d, err, err_name(err));
		return;
	}
	d->fd = fd;
	const struct endpoint *to = &d->addresses[d->next - 1];
	if (is_spoofed(d, to)) {
		struct endpoint from = { d->route.spoofed, 0 };
		len = endpoint_to_sockaddr(&from, &sa);
		if (bind(fd, (struct sockaddr *)&sa, len) != 0) {
			pretence_failed(d, err_from_errno(errno), "can't speak from the client's address");
			return;
		}
	}
	len = endpoint_to_sockaddr(to, &sa);
	connect_to(d, (struct sockaddr *)&sa, len);
}

static void try_unix(struct dial *d)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	(void)snprintf(d->result.remote, sizeof d->result.remote, "%s", d->route.spec.path);
	if (span_to_cstr(span_of(d->route.spec.path), sa.sun_path, sizeof sa.sun_path) != 0) {
		address_failed(d, ERR_TOOLONG, "the path is too long for a socket");
		return;
	}
	d->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (d->fd < 0)
		address_failed(d, err_from_errno(errno), strerror(errno));
	else
		connect_to(d, (struct sockaddr *)&sa, sizeof sa);
}

static void name_remote(struct dial *d, const struct endpoint *to)
{
	char text[ENDPOINT_TEXT_CAP], addr[ADDR_TEXT_CAP];
	struct addr literal;
	if (d->route.spec.kind == FORWARD_ORIGINAL || addr_parse(span_of(d->route.spec.host), &literal) == 0)
		(void)snprintf(d->result.remote, sizeof d->result.remote, "%s", endpoint_format(to, text));
	else
		(void)snprintf(d->result.remote, sizeof d->result.remote, "%s[%s]:%u", d->route.spec.host,
			       addr_format(&to->addr, addr), to->port);
}

static void try_next(void *ctx)
{
	struct dial *d = ctx;
	bool is_unix = d->route.spec.kind == FORWARD_LMTP_UNIX;
	if (d->next == (is_unix ? 1 : d->count)) {
		finish(d, d->result.err ? d->result.err : ERR_REFUSED);
		return;
	}
	d->next++;
	if (is_unix) {
		try_unix(d);
		return;
	}
	const struct endpoint *to = &d->addresses[d->next - 1];
	name_remote(d, to);
	int err = broker_ask(d->options.broker, (enum addr_family)to->addr.family, is_spoofed(d, to), socket_given, d, &d->request);
	if (err)
		address_failed(d, err, err_name(err));
}

/* ---- names */

static void lookup_work(void *ctx)
{
	struct lookup *l = ctx;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *list = NULL;
	l->gai = getaddrinfo(l->host, NULL, &hints, &list);
	for (struct addrinfo *ai = list; ai && l->gai == 0 && l->count < ADDRESSES_MAX; ai = ai->ai_next) {
		if (endpoint_from_sockaddr(ai->ai_addr, &l->found[l->count]) == 0)
			l->found[l->count++].port = l->port;
	}
	if (list)
		freeaddrinfo(list);
}

static void lookup_done(void *ctx)
{
	struct lookup *l = ctx;
	struct dial *d = l->dial;
	if (d) {
		d->lookup = NULL;
		memcpy(d->addresses, l->found, sizeof d->addresses);
		d->count = l->count;
		if (l->count == 0)
			d->result.err = reason_set(&d->result.why, ERR_NOTFOUND, "%s: no address: %s", l->host,
						   l->gai ? gai_strerror(l->gai) : "the name has none");
		(void)snprintf(d->result.remote, sizeof d->result.remote, "%s", l->host);
		try_next(d);
	}
	free(l);
}

static int resolve(struct dial *d)
{
	const struct forward_spec *spec = &d->route.spec;
	struct addr addr;
	if (spec->kind == FORWARD_ORIGINAL || addr_parse(span_of(spec->host), &addr) == 0) {
		d->addresses[0] = spec->kind == FORWARD_ORIGINAL ? d->route.original : (struct endpoint){ addr, spec->port };
		d->count = 1;
		return 0;
	}
	if (spec->kind == FORWARD_LMTP_UNIX)
		return 0;
	struct lookup *l = calloc(1, sizeof *l);
	if (!l)
		return ERR_NOMEM;
	l->dial = d;
	l->port = spec->port;
	(void)snprintf(l->host, sizeof l->host, "%s", spec->host);
	int err = loop_job_start(d->options.loop, lookup_work, lookup_done, l);
	if (err)
		free(l);
	else
		d->lookup = l;
	return err;
}

int dial_start(const struct dial_options *options, const struct route *route, dial_done_fn done, void *ctx, struct dial **out)
{
	struct dial *d = calloc(1, sizeof *d);
	if (!d)
		return ERR_NOMEM;
	d->options = *options;
	d->route = *route;
	d->done = done;
	d->ctx = ctx;
	d->fd = -1;
	d->task = (struct loop_task){ .fn = try_next, .ctx = d };
	int err = loop_timer_create(options->loop, time_is_up, d, &d->timer);
	if (!err)
		err = resolve(d);
	if (err) {
		dial_free(d);
		return err;
	}
	if (!d->lookup)
		loop_task_post(options->loop, &d->task);
	*out = d;
	return 0;
}

void dial_cancel(struct dial **dial)
{
	if (*dial)
		dial_free(*dial);
	*dial = NULL;
}
