#include "milter_sockets.h"

#include <stdlib.h>
#include <unistd.h>

struct asked {
	uint64_t ticket; /* 0: free */
	milter_opened_fn opened;
	void *ctx;
};

struct milter_sockets {
	struct ipc_channel *master;
	uint64_t last_ticket;
	struct asked asked[MILTER_SOCKETS_MAX];
};

int milter_sockets_create(struct ipc_channel *master, struct milter_sockets **out)
{
	struct milter_sockets *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->master = master;
	*out = s;
	return 0;
}

static struct asked *find(struct milter_sockets *s, uint64_t ticket)
{
	for (size_t i = 0; i < MILTER_SOCKETS_MAX; i++)
		if (s->asked[i].ticket == ticket)
			return &s->asked[i];
	return NULL;
}

int milter_sockets_ask(struct milter_sockets *s, size_t index, const struct milter_spec *spec, milter_opened_fn opened, void *ctx,
		       uint64_t *ticket_out)
{
	struct asked *place = find(s, 0);
	const struct role_milter_wanted wanted = {
		.ticket = s->last_ticket + 1, .index = index, .address_hash = milter_spec_address_hash(spec)
	};
	/* Nothing queues behind a master that hangs: what the spool asks for comes first. */
	if (!place || ipc_channel_is_behind(s->master) || ipc_channel_send(s->master, ROLE_NEED_MILTER, &wanted, sizeof wanted, NULL, 0) != 0)
		return ERR_AGAIN;
	*place = (struct asked){ .ticket = ++s->last_ticket, .opened = opened, .ctx = ctx };
	*ticket_out = place->ticket;
	return 0;
}

void milter_sockets_cancel(struct milter_sockets *s, uint64_t ticket)
{
	struct asked *asked = ticket ? find(s, ticket) : NULL;
	if (asked)
		asked->ticket = 0;
}

void milter_sockets_take(struct milter_sockets *s, const struct role_milter *answer, int fd)
{
	struct asked *asked = answer->ticket ? find(s, answer->ticket) : NULL;
	int err = fd >= 0 ? 0 : answer->err < 0 ? (int)answer->err : ERR_AGAIN; /* without either: no descriptor was to be had */
	if (!asked) {
		/* The session has ended meanwhile. */
		if (fd >= 0)
			(void)close(fd);
		return;
	}
	asked->ticket = 0;
	asked->opened(asked->ctx, err, fd);
}

void milter_sockets_destroy(struct milter_sockets **sockets)
{
	free(*sockets);
	*sockets = NULL;
}
