#include "origin_lookups.h"

#include <stdlib.h>
#include <unistd.h>

struct waiting {
	struct waiting *next;
	struct origin_lookups *list;
	uint64_t ticket;
	int fd;
	struct origdst where;
	origin_fn done;
	void *ctx;
	struct loop_timer *deadline;
};

/* In the order of their tickets, in which the master answers. */
struct origin_lookups {
	struct loop *loop;
	struct ipc_channel *master;
	uint64_t last_ticket;
	size_t count;
	struct waiting *first, **end;
};

int origin_lookups_create(struct loop *loop, struct ipc_channel *master, struct origin_lookups **out)
{
	struct origin_lookups *l = calloc(1, sizeof *l);
	if (!l)
		return ERR_NOMEM;
	l->loop = loop;
	l->master = master;
	l->end = &l->first;
	*out = l;
	return 0;
}

/* Returns the descriptor. */
static int forget(struct origin_lookups *l, struct waiting **link)
{
	struct waiting *w = *link;
	int fd = w->fd;
	*link = w->next;
	if (!*link)
		l->end = link;
	l->count--;
	loop_timer_destroy(&w->deadline);
	free(w);
	return fd;
}

void origin_lookups_destroy(struct origin_lookups **lookups)
{
	struct origin_lookups *l = *lookups;
	if (!l)
		return;
	while (l->first)
		(void)close(forget(l, &l->first));
	free(l);
	*lookups = NULL;
}

static void finish(struct origin_lookups *l, struct waiting **link, int err, const char *why)
{
	const struct waiting w = **link;
	int fd = forget(l, link);
	w.done(w.ctx, fd, err, &w.where, why);
}

static void overdue(void *ctx)
{
	const struct waiting *w = ctx;
	struct origin_lookups *l = w->list;
	struct waiting **link = &l->first;
	while (*link != w)
		link = &(*link)->next;
	finish(l, link, ERR_TIMEOUT, "the master does not say where the client wanted to go");
}

int origin_lookups_add(struct origin_lookups *l, int fd, uint32_t listen_index, const struct origdst *where, origin_fn done, void *ctx)
{
	const struct role_origin_wanted wanted = { .ticket = l->last_ticket + 1, .listen_index = listen_index };
	if (l->count >= ORIGIN_LOOKUPS_MAX || ipc_channel_is_behind(l->master))
		return ERR_BUSY;
	struct waiting *w = calloc(1, sizeof *w);
	if (!w)
		return ERR_NOMEM;
	*w = (struct waiting){ .list = l, .ticket = wanted.ticket, .fd = fd, .where = *where, .done = done, .ctx = ctx };
	int err = loop_timer_create(l->loop, overdue, w, &w->deadline);
	if (!err)
		err = ipc_channel_send(l->master, ROLE_NEED_ORIGIN, &wanted, sizeof wanted, &fd, 1);
	if (err) {
		loop_timer_destroy(&w->deadline);
		free(w);
		return err;
	}
	l->last_ticket++;
	loop_timer_start(w->deadline, ORIGIN_LOOKUPS_DEADLINE_MS);
	*l->end = w;
	l->end = &w->next;
	l->count++;
	return 0;
}

void origin_lookups_drop(struct origin_lookups *l, const void *ctx)
{
	struct waiting **link = &l->first;
	while (*link) {
		if ((*link)->ctx == ctx)
			(void)close(forget(l, link));
		else
			link = &(*link)->next;
	}
}

void origin_lookups_take(struct origin_lookups *l, const struct role_origin *answer)
{
	struct reason why = answer->why;
	struct waiting **link = &l->first;
	why.text[sizeof why.text - 1] = '\0';
	while (*link && (*link)->ticket != answer->ticket)
		link = &(*link)->next;
	/* It may be overdue, or its listener gone. */
	if (!*link)
		return;
	if (answer->err == 0)
		(*link)->where.original = answer->original;
	finish(l, link, (int)answer->err, why.text);
}

size_t origin_lookups_count(const struct origin_lookups *l)
{
	return l->count;
}
