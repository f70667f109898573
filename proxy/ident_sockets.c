#include "ident_sockets.h"

#include "role_messages.h"

struct asker {
	ident_opened_fn opened;
	void *ctx;
};

/* Without a descriptor it was refused; why is in the master's log. */
static void answered(const void *data, const void *answer, int fd)
{
	const struct asker *asker = data;
	(void)answer;
	asker->opened(asker->ctx, fd);
}

static const struct master_request_kind kind = {
	.type = ROLE_NEED_IDENT, .max = IDENT_SOCKETS_MAX, .asker_size = sizeof(struct asker), .answered = answered
};

int ident_sockets_create(struct loop *loop, struct ipc_channel *master, struct master_requests **out)
{
	return master_requests_create(loop, master, &kind, out);
}

uint64_t ident_sockets_ask(struct master_requests *sockets, int connection_fd, uint32_t listen_index, ident_opened_fn opened, void *ctx)
{
	const struct asker asker = { opened, ctx };
	struct role_ident_wanted wanted = { .listen_index = listen_index };
	return master_requests_ask(sockets, &wanted, sizeof wanted, connection_fd, &asker) ? 0 : wanted.ticket;
}
