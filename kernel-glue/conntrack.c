#include "conntrack.h"

#include <stdlib.h>
#include <string.h>

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

static int compare(const struct addr *a, const struct addr *b)
{
	return a->family != b->family ? (int)a->family - (int)b->family : memcmp(a->bytes, b->bytes, sizeof a->bytes);
}

static int by_begin(const void *a, const void *b)
{
	const struct kernel_element *x = a, *y = b;
	return compare(&x->from, &y->from);
}

/* Behind it each range ends where the furthest of those before it does: one look at the last that begins in front of an address is enough. */
void conntrack_clients_sort(struct kernel_element *ranges, size_t count)
{
	if (count)
		qsort(ranges, count, sizeof *ranges, by_begin);
	for (size_t i = 1; i < count; i++)
		if (compare(&ranges[i].to, &ranges[i - 1].to) < 0)
			ranges[i].to = ranges[i - 1].to;
}

static bool is_one_of(const struct conntrack_clients *clients, const struct addr *a)
{
	size_t low = 0, high = clients->count;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (compare(&clients->ranges[middle].from, a) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low > 0 && compare(a, &clients->ranges[low - 1].to) <= 0 && !(clients->is_spared && clients->is_spared(clients->ctx, a));
}

struct found {
	const struct conntrack_clients *clients;
	uint16_t port;
	bool is_full;
	size_t count;
	struct conntrack_tuple flows[CONNTRACK_FORGET_MAX];
};

static int take_flow(void *ctx, const struct nlmsghdr *m)
{
	struct found *found = ctx;
	struct conntrack_flow flow;
	/* The others are none of our business, whatever they are. */
	if (conntrack_message_read(m, &flow) != 0 || flow.orig.dst.port != found->port || !is_one_of(found->clients, &flow.orig.src.addr))
		return 0;
	found->is_full = found->count == CONNTRACK_FORGET_MAX;
	if (!found->is_full)
		found->flows[found->count++] = flow.orig;
	return 0;
}

static int find_flows(struct nfnl *nl, struct found *found, enum addr_family family)
{
	const struct conntrack_clients *clients = found->clients;
	const struct addr *only = clients->count == 1 && addr_eq(&clients->ranges[0].from, &clients->ranges[0].to) ? &clients->ranges[0].from : NULL;
	struct question q;
	bool is_wanted = false;
	for (size_t i = 0; i < clients->count && !is_wanted; i++)
		is_wanted = clients->ranges[i].from.family == (uint8_t)family;
	if (!is_wanted)
		return 0;
	int err = conntrack_dump_build(family, only, found->port, q.bytes);
	return err ? err : nfnl_ask(nl, message_of(&q), take_flow, found);
}

int conntrack_forget_clients(struct nfnl *nl, const struct conntrack_clients *clients, uint16_t port, unsigned *count_out)
{
	struct found *found = malloc(sizeof *found);
	*count_out = 0;
	if (!found)
		return ERR_NOMEM;
	found->clients = clients;
	found->port = port;
	found->count = 0;
	found->is_full = false;
	int err4 = find_flows(nl, found, ADDR_V4), err6 = find_flows(nl, found, ADDR_V6);
	/* What changed under the walk: what was seen is right all the same. */
	int err = err4 && err4 != ERR_AGAIN ? err4 : err6 ? err6 : err4;
	if (found->is_full && !err)
		err = ERR_AGAIN;
	for (size_t i = 0; i < found->count; i++) {
		int failed = forget(nl, &found->flows[i], false);
		*count_out += failed == 0;
		if (failed && failed != ERR_NOTFOUND)
			err = failed;
	}
	free(found);
	return err;
}
