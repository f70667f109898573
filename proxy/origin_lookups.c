#include "origin_lookups.h"

#include <unistd.h>

#include "role_messages.h"

struct asker {
	int fd;
	struct origdst where;
	origin_fn done;
	void *ctx;
};

/* No descriptor belongs to this answer, and none is taken out of its message. */
static void answered(const void *data, const void *answer, int fd)
{
	const struct asker *asker = data;
	struct origdst where = asker->where;
	(void)fd;
	if (!answer) {
		asker->done(asker->ctx, asker->fd, ERR_TIMEOUT, &where, "the master does not say where the client wanted to go");
		return;
	}
	struct role_origin said = *(const struct role_origin *)answer;
	said.why.text[sizeof said.why.text - 1] = '\0';
	if (said.err == 0)
		where.original = said.original;
	asker->done(asker->ctx, asker->fd, (int)said.err, &where, said.why.text);
}

static const struct master_request_kind kind = {
	.type = ROLE_NEED_ORIGIN,
	.max = ORIGIN_LOOKUPS_MAX,
	.asker_size = sizeof(struct asker),
	.deadline_ms = ORIGIN_LOOKUPS_DEADLINE_MS,
	.answered = answered,
};

int origin_lookups_create(struct loop *loop, struct ipc_channel *master, struct master_requests **out)
{
	return master_requests_create(loop, master, &kind, out);
}

int origin_lookups_add(struct master_requests *lookups, int fd, uint32_t listen_index, const struct origdst *where, origin_fn done, void *ctx)
{
	const struct asker asker = { fd, *where, done, ctx };
	struct role_origin_wanted wanted = { .listen_index = listen_index };
	return master_requests_ask(lookups, &wanted, sizeof wanted, fd, &asker);
}

static bool is_of(const void *data, const void *ctx)
{
	return ((const struct asker *)data)->ctx == ctx;
}

void origin_lookups_drop(struct master_requests *lookups, const void *ctx)
{
	struct asker asker;
	while (master_requests_cancel_one(lookups, is_of, ctx, &asker))
		(void)close(asker.fd);
}
