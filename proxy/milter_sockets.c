#include "milter_sockets.h"

#include "role_messages.h"

struct asker {
	milter_opened_fn opened;
	void *ctx;
};

static void answered(const void *data, const void *answer, int fd)
{
	const struct asker *asker = data;
	const struct role_milter *said = answer;
	int err = fd >= 0 ? 0 : said->err < 0 ? (int)said->err : ERR_AGAIN; /* without either: no descriptor was to be had */
	asker->opened(asker->ctx, err, fd);
}

static const struct master_request_kind kind = {
	.type = ROLE_NEED_MILTER, .max = MILTER_SOCKETS_MAX, .asker_size = sizeof(struct asker), .answered = answered
};

int milter_sockets_create(struct loop *loop, struct ipc_channel *master, struct master_requests **out)
{
	return master_requests_create(loop, master, &kind, out);
}

int milter_sockets_ask(struct master_requests *sockets, size_t index, const struct milter_spec *spec, milter_opened_fn opened, void *ctx,
		       uint64_t *ticket_out)
{
	const struct asker asker = { opened, ctx };
	struct role_milter_wanted wanted = { .index = index, .address_hash = milter_spec_address_hash(spec) };
	if (master_requests_ask(sockets, &wanted, sizeof wanted, -1, &asker) != 0)
		return ERR_AGAIN;
	*ticket_out = wanted.ticket;
	return 0;
}
