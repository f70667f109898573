#include "milter_broker.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"

/* ---- names */

struct look_up {
	struct milter_broker *broker;
	uint64_t generation;
	size_t index;
	struct milter_spec spec;
	struct endpoint found;
	int err;
};

static void look_up_work(void *ctx)
{
	struct look_up *l = ctx;
	const struct addrinfo hints = { .ai_family = l->spec.family == ADDR_V6 ? AF_INET6 : AF_INET, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	int failed = getaddrinfo(l->spec.host, NULL, &hints, &list);
	l->err = failed == EAI_NONAME ? ERR_NOTFOUND : failed ? ERR_AGAIN : endpoint_from_sockaddr(list->ai_addr, &l->found);
	l->found.port = l->spec.port;
	if (list)
		freeaddrinfo(list);
}

static void look_up_done(void *ctx)
{
	struct look_up *l = ctx;
	struct milter_broker *b = l->broker;
	if (l->generation == b->generation) {
		b->filters[l->index].is_looking = false;
		/* An address that was known is better than none. */
		if (!l->err)
			b->filters[l->index].address = l->found;
		if (l->err && !b->filters[l->index].err)
			log_event(LOG_LEVEL_WARN, "milter-name", "milter %s: the host %s has no address (%s)", l->spec.name, l->spec.host,
				  err_name(l->err));
		b->filters[l->index].err = l->err;
	}
	free(l);
}

static void look_up(struct milter_broker *b, size_t index)
{
	struct look_up *l = calloc(1, sizeof *l);
	b->filters[index].looked_ms = loop_now_ms(b->loop);
	if (!l)
		return;
	*l = (struct look_up){ .broker = b, .generation = b->generation, .index = index, .spec = b->specs.list[index] };
	b->filters[index].is_looking = loop_job_start(b->loop, look_up_work, look_up_done, l) == 0;
	if (!b->filters[index].is_looking)
		free(l);
}

void milter_broker_set(struct milter_broker *b, struct loop *loop, const struct conf *conf)
{
	b->loop = loop;
	b->generation++;
	memset(b->filters, 0, sizeof b->filters);
	conf_milters(conf, &b->specs);
	for (size_t i = 0; i < b->specs.count; i++) {
		const struct milter_spec *spec = &b->specs.list[i];
		b->filters[i].is_name = !spec->path[0] && addr_parse(span_of(spec->host), &b->filters[i].address.addr) != 0;
		b->filters[i].address.port = spec->port;
		if (b->filters[i].is_name)
			look_up(b, i);
	}
}

/* ---- connections */

static int connect_to(const struct sockaddr *sa, socklen_t len, int *fd_out)
{
	const int on = 1;
	int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_from_errno(errno);
	/* A dialogue of small packets. */
	if (sa->sa_family != AF_UNIX)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
	if (connect(fd, sa, len) == 0 || errno == EINPROGRESS) {
		*fd_out = fd;
		return 0;
	}
	/* EAGAIN: a unix socket whose queue is full. */
	int err = errno == EAGAIN ? ERR_AGAIN : err_from_errno(errno);
	(void)close(fd);
	return err;
}

static int connect_unix(const char *path, int *fd_out)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	_Static_assert(sizeof sa.sun_path == sizeof ((struct milter_spec *)0)->path, "milter_spec.h keeps what fits here");
	memcpy(sa.sun_path, path, strlen(path) + 1);
	return connect_to((const struct sockaddr *)&sa, sizeof sa, fd_out);
}

static int open_filter(struct milter_broker *b, size_t index, int *fd_out)
{
	const struct milter_spec *spec = &b->specs.list[index];
	struct sockaddr_storage sa;
	if (spec->path[0])
		return connect_unix(spec->path, fd_out);
	if (b->filters[index].is_name && !b->filters[index].is_looking &&
	    loop_now_ms(b->loop) - b->filters[index].looked_ms > MILTER_BROKER_NAME_MS)
		look_up(b, index);
	if (b->filters[index].address.addr.family == ADDR_NONE)
		return b->filters[index].is_looking ? ERR_AGAIN : ERR_NOTFOUND;
	socklen_t len = endpoint_to_sockaddr(&b->filters[index].address, &sa);
	return connect_to((const struct sockaddr *)&sa, len, fd_out);
}

int milter_broker_answer(struct milter_broker *b, uint32_t worker, const struct role_milter_wanted *wanted, struct role_milter *answer_out)
{
	int fd = -1, err;
	assert(worker < LISTENER_MEMBERS_MAX);
	if (wanted->index >= b->specs.count || milter_spec_address_hash(&b->specs.list[wanted->index]) != wanted->address_hash)
		err = ERR_NOTFOUND;
	else if (!token_bucket_take(&b->workers[worker], MILTER_BROKER_RATE, loop_now_ms(b->loop)))
		err = ERR_AGAIN;
	else
		err = open_filter(b, (size_t)wanted->index, &fd);
	*answer_out = (struct role_milter){ .ticket = wanted->ticket, .err = err };
	return fd;
}
