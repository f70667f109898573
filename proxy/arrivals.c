#include "arrivals.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy_header.h"

/* At a time: nearly every header fits; the rest of a long one is there at the next turn. */
#define PEEK_BYTES 2048u

struct arrivals {
	struct loop *loop;
	arrived_fn done;
	void *ctx;
	struct waiting *first;
	size_t count;
};

struct waiting {
	struct arrivals *list;
	struct waiting *prev, *next;
	int fd;
	struct origdst where;
	struct proxy_header header;
	struct loop_io *io;
	struct loop_timer *deadline;
};

/* Returns the descriptor. */
static int forget(struct waiting *w)
{
	struct arrivals *list = w->list;
	int fd = w->fd;
	loop_io_destroy(&w->io);
	loop_timer_destroy(&w->deadline);
	if (w->prev)
		w->prev->next = w->next;
	else
		list->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	list->count--;
	free(w);
	return fd;
}

static void finish(struct waiting *w, enum arrival what, const char *why)
{
	struct arrivals *list = w->list;
	const struct endpoint balancer = w->where.client;
	struct origdst where = w->where;
	if (what == ARRIVAL_RELAYED) {
		where.client = w->header.client;
		where.original = w->header.dst;
	}
	int fd = forget(w);
	list->done(list->ctx, fd, what, &where, &balancer, why);
}

static void ready(void *ctx, unsigned events)
{
	struct waiting *w = ctx;
	char bytes[PEEK_BYTES];
	size_t used;
	(void)events;
	/* Looked at first and then taken: what the client said behind the header is for the session, which must see that it is early. */
	ssize_t n = recv(w->fd, bytes, sizeof bytes, MSG_PEEK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		const char *why = n < 0 ? strerror(errno) : "the connection ends in the middle of the PROXY header";
		finish(w, w->header.have ? ARRIVAL_BAD : ARRIVAL_NOTHING, w->header.have ? why : NULL);
		return;
	}
	enum proxy_header_result result = proxy_header_push(&w->header, (struct span){ bytes, (size_t)n }, &used);
	if (result == PROXY_HEADER_BAD)
		used = (size_t)n; /* a close with unread bytes would destroy the reply */
	ssize_t taken = recv(w->fd, bytes, used, 0);
	if (result == PROXY_HEADER_BAD)
		finish(w, ARRIVAL_BAD, "a balancer's connection begins without a PROXY header, or with a broken one");
	else if (taken != (ssize_t)used)
		finish(w, ARRIVAL_BAD, "what was there to read is gone");
	else if (result != PROXY_HEADER_MORE)
		finish(w, result == PROXY_HEADER_RELAYED ? ARRIVAL_RELAYED : ARRIVAL_OWN, NULL);
}

static void overdue(void *ctx)
{
	finish(ctx, ARRIVAL_BAD, "no PROXY header from the balancer in time");
}

int arrivals_create(struct loop *loop, arrived_fn done, void *ctx, struct arrivals **out)
{
	struct arrivals *list = calloc(1, sizeof *list);
	if (!list)
		return ERR_NOMEM;
	*list = (struct arrivals){ .loop = loop, .done = done, .ctx = ctx };
	*out = list;
	return 0;
}

void arrivals_destroy(struct arrivals **arrivals)
{
	struct arrivals *list = *arrivals;
	if (!list)
		return;
	while (list->first)
		(void)close(forget(list->first));
	free(list);
	*arrivals = NULL;
}

int arrivals_add(struct arrivals *list, int fd, const struct origdst *where)
{
	struct waiting *w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	w->list = list;
	w->fd = fd;
	w->where = *where;
	int err = loop_io_create(list->loop, fd, ready, w, &w->io);
	if (!err)
		err = loop_timer_create(list->loop, overdue, w, &w->deadline);
	if (!err)
		err = loop_io_want(w->io, LOOP_READ);
	if (err) {
		loop_io_destroy(&w->io);
		loop_timer_destroy(&w->deadline);
		free(w);
		return err;
	}
	loop_timer_start(w->deadline, ARRIVALS_DEADLINE_MS);
	w->next = list->first;
	if (w->next)
		w->next->prev = w;
	list->first = w;
	list->count++;
	return 0;
}

size_t arrivals_count(const struct arrivals *list)
{
	return list->count;
}
