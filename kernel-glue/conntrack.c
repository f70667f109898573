#include "conntrack.h"

#include <stdlib.h>

/* At a time: of the flows of one client there are mostly some dozens. */
#define FORGET_MAX 256u
#define FORGET_ROUNDS 64u

struct question {
	char bytes[CONNTRACK_QUESTION_CAP] __attribute__((aligned(NLMSG_ALIGNTO)));
};

static const struct nlmsghdr *message_of(const struct question *q)
{
	return (const void *)q->bytes;
}

struct answer {
	const struct conntrack_tuple *asked;
	struct endpoint original;
	bool has_it;
};

static bool tuple_eq(const struct conntrack_tuple *a, const struct conntrack_tuple *b)
{
	return endpoint_eq(&a->src, &b->src) && endpoint_eq(&a->dst, &b->dst);
}

static int take_answer(void *ctx, const struct nlmsghdr *m)
{
	struct answer *answer = ctx;
	struct conntrack_flow flow;
	int err = conntrack_message_read(m, &flow);
	if (err || !tuple_eq(&flow.reply, answer->asked))
		return err ? err : ERR_PROTO;
	answer->original = flow.orig.dst;
	answer->has_it = true;
	return 0;
}

int conntrack_original(struct nfnl *nl, uint16_t zone, const struct endpoint *local, const struct endpoint *client, struct endpoint *original_out)
{
	const struct conntrack_tuple reply = { *local, *client, zone };
	struct answer answer = { .asked = &reply };
	struct question q;
	int err = conntrack_question_build(CONNTRACK_GET, &reply, true, q.bytes);
	if (!err)
		err = nfnl_ask(nl, message_of(&q), take_answer, &answer);
	if (!err && !answer.has_it)
		err = ERR_NOTFOUND;
	if (!err)
		*original_out = answer.original;
	return err;
}

int conntrack_find(struct nfnl *nl, uint16_t zone, int fd, const struct endpoint *client, struct origdst *out, struct reason *why)
{
	/* Without a diversion to ask about: our end of the socket, and the mark. */
	int err = origdst_find(fd, client, LISTEN_DIRECT, 0, out, why);
	const struct endpoint local = out->original;
	if (err)
		return err;
	err = conntrack_original(nl, zone, &local, client, &out->original);
	if (err == ERR_NOTFOUND)
		return reason_set(why, ERR_REFUSED, "not diverted: connection tracking does not know it in zone %u", zone);
	if (err)
		return reason_set(why, err, "connection tracking does not answer (%s)", err_name(err));
	if (endpoint_eq(&out->original, &local))
		return reason_set(why, ERR_REFUSED, "a direct hit on the listening port, not diverted");
	return 0;
}

static int forget(struct nfnl *nl, const struct conntrack_tuple *tuple, bool is_reply)
{
	struct question q;
	int err = conntrack_question_build(CONNTRACK_DELETE, tuple, is_reply, q.bytes);
	return err ? err : nfnl_send(nl, q.bytes, message_of(&q)->nlmsg_len, NULL);
}

int conntrack_forget(struct nfnl *nl, uint16_t zone, const struct endpoint *local, const struct endpoint *client)
{
	const struct conntrack_tuple reply = { *local, *client, zone };
	return forget(nl, &reply, true);
}

struct found {
	const struct addr *client;
	uint16_t port;
	size_t count;
	struct conntrack_flow flows[FORGET_MAX];
};

static int take_flow(void *ctx, const struct nlmsghdr *m)
{
	struct found *found = ctx;
	struct conntrack_flow flow;
	/* The others are none of our business, whatever they are. */
	if (conntrack_message_read(m, &flow) == 0 && found->count < FORGET_MAX && addr_eq(&flow.orig.src.addr, found->client) &&
	    flow.orig.dst.port == found->port)
		found->flows[found->count++] = flow;
	return 0;
}

int conntrack_forget_client(struct nfnl *nl, const struct addr *client, uint16_t port, unsigned *count_out)
{
	struct found *found = malloc(sizeof *found);
	unsigned forgotten = 0;
	struct question q;
	int err = found ? conntrack_dump_build(client, port, q.bytes) : ERR_NOMEM;
	for (unsigned round = 0; !err && round < FORGET_ROUNDS; round++) {
		unsigned before = forgotten;
		found->client = client;
		found->port = port;
		found->count = 0;
		err = nfnl_ask(nl, message_of(&q), take_flow, found);
		/* The table changed meanwhile: what was seen is right, and the next round sees the rest. */
		bool is_whole = err != ERR_AGAIN && found->count < FORGET_MAX;
		if (err == ERR_AGAIN)
			err = 0;
		for (size_t i = 0; !err && i < found->count; i++) {
			int failed = forget(nl, &found->flows[i].orig, false);
			if (failed != ERR_NOTFOUND)
				err = failed;
			forgotten += failed == 0;
		}
		if (is_whole || forgotten == before)
			break;
	}
	free(found);
	if (!err)
		*count_out = forgotten;
	return err;
}
