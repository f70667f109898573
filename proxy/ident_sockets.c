#include "ident_sockets.h"

#include <stdlib.h>
#include <unistd.h>

struct asked {
	uint64_t ticket; /* 0: free */
	ident_opened_fn opened;
	void *ctx;
};

struct ident_sockets {
	struct ipc_channel *master;
	uint64_t last_ticket;
	struct asked asked[IDENT_SOCKETS_MAX];
};

int ident_sockets_create(struct ipc_channel *master, struct ident_sockets **out)
{
	struct ident_sockets *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->master = master;
	*out = s;
	return 0;
}

static struct asked *find(struct ident_sockets *s, uint64_t ticket)
{
	for (size_t i = 0; i < IDENT_SOCKETS_MAX; i++)
		if (s->asked[i].ticket == ticket)
			return &s->asked[i];
	return NULL;
}

uint64_t ident_sockets_ask(struct ident_sockets *s, int connection_fd, uint32_t listen_index, ident_opened_fn opened, void *ctx)
{
	struct asked *place = find(s, 0);
	const struct role_ident_wanted wanted = { .ticket = s->last_ticket + 1, .listen_index = listen_index };
	/* Nothing queues behind a master that hangs: what the spool asks for comes first, and a queued descriptor keeps a client's connection open. */
	if (!place || ipc_channel_is_behind(s->master) || ipc_channel_send(s->master, ROLE_NEED_IDENT, &wanted, sizeof wanted, &connection_fd, 1) != 0)
		return 0;
	*place = (struct asked){ .ticket = ++s->last_ticket, .opened = opened, .ctx = ctx };
	return place->ticket;
}

void ident_sockets_cancel(struct ident_sockets *s, uint64_t ticket)
{
	struct asked *asked = ticket ? find(s, ticket) : NULL;
	if (asked)
		asked->ticket = 0;
}

void ident_sockets_take(struct ident_sockets *s, const struct role_ident *answer, int fd)
{
	struct asked *asked = answer->ticket ? find(s, answer->ticket) : NULL;
	if (!asked) {
		/* The session has ended meanwhile. */
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	asked->ticket = 0;
	asked->opened(asked->ctx, fd);
}

void ident_sockets_destroy(struct ident_sockets **sockets)
{
	free(*sockets);
	*sockets = NULL;
}
