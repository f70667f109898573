#include "nft_sets.h"

#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>
#include <string.h>

/* Where a range begins, or, is_end, the first address behind one. */
struct range_edge {
	uint8_t at[16];
	bool is_end;
	int64_t expires_at;
};

#define EDGES_MAX (2u * SET_TABLE_MAX)

static size_t key_len(enum addr_family family)
{
	return family == ADDR_V4 ? 4 : 16;
}

/* False: it was the last address that there is. */
static bool step(uint8_t *bytes, size_t len, int by)
{
	uint8_t wrapped = by > 0 ? 0 : 0xff;
	while (len) {
		bytes[len - 1] = (uint8_t)(bytes[len - 1] + by);
		if (bytes[len - 1] != wrapped)
			return true;
		len--;
	}
	return false;
}

void nft_sets_write(struct nft_elements *to, const struct kernel_element *e, bool is_net, uint64_t timeout_ms)
{
	size_t len = key_len((enum addr_family)e->from.family);
	nft_elements_each(to, e->from.bytes, len, 0, timeout_ms);
	if (!is_net)
		return;
	uint8_t behind[16];
	memcpy(behind, e->to.bytes, sizeof behind);
	/* A range to the last address has no end. */
	if (step(behind, len, 1))
		nft_elements_each(to, behind, len, NFT_SET_ELEM_INTERVAL_END, 0);
}

static int64_t expires_at(const struct nft_element *from, int64_t now)
{
	if (!from->has_expiration)
		return 0;
	uint64_t seconds = from->expires_in_ms / 1000 + (from->expires_in_ms % 1000 ? 1 : 0);
	return seconds > INT32_MAX ? now + INT32_MAX : now + (int64_t)seconds;
}

bool nft_sets_element(enum kernel_set set, const struct nft_element *from, int64_t now, struct kernel_element *out)
{
	struct addr a = { .family = (uint8_t)kernel_set_family(set) };
	if (from->key_len != key_len(kernel_set_family(set)))
		return false;
	memcpy(a.bytes, from->key, from->key_len);
	*out = (struct kernel_element){ .from = a, .to = a, .expires_at = expires_at(from, now) };
	return true;
}

void nft_sets_read_begin(struct nft_set_reader *r, struct set_table *table, enum kernel_set set, int64_t now)
{
	*r = (struct nft_set_reader){ .table = table, .set = set, .now = now };
	set_table_listing_begin(table, set);
}

static void keep_edge(struct nft_set_reader *r, const struct nft_element *from)
{
	if (from->key_len != key_len(kernel_set_family(r->set)))
		return;
	if (r->edge_count == r->edge_room) {
		size_t room = r->edge_room ? r->edge_room * 2 : 64;
		struct range_edge *edges = room > EDGES_MAX ? NULL : realloc(r->edges, room * sizeof *edges);
		if (!edges) {
			r->err = ERR_NOMEM;
			return;
		}
		r->edges = edges;
		r->edge_room = room;
	}
	struct range_edge *e = &r->edges[r->edge_count++];
	*e = (struct range_edge){ .is_end = from->flags & NFT_SET_ELEM_INTERVAL_END, .expires_at = expires_at(from, r->now) };
	memcpy(e->at, from->key, from->key_len);
}

static void take_element(void *ctx, const struct nft_element *from)
{
	struct nft_set_reader *r = ctx;
	struct kernel_element e;
	if (kernel_set_is_net(r->set)) {
		keep_edge(r, from);
	} else if (nft_sets_element(r->set, from, r->now, &e)) {
		int err = set_table_put(r->table, r->set, &e, true);
		r->err = r->err ? r->err : err;
	}
}

void nft_sets_read(struct nft_set_reader *r, const struct nlmsghdr *message)
{
	nft_message_elements(message, take_element, r);
}

/* An end that is a beginning, too, comes first. */
static int by_place(const void *a, const void *b)
{
	const struct range_edge *x = a, *y = b;
	int order = memcmp(x->at, y->at, sizeof x->at);
	return order ? order : (int)y->is_end - (int)x->is_end;
}

static void put_range(struct nft_set_reader *r, const struct range_edge *from, const struct range_edge *behind)
{
	struct kernel_element e = { .expires_at = from->expires_at };
	size_t len = key_len(kernel_set_family(r->set));
	e.from.family = e.to.family = (uint8_t)kernel_set_family(r->set);
	memcpy(e.from.bytes, from->at, sizeof from->at);
	memset(e.to.bytes, 0xff, len);
	if (behind) {
		memcpy(e.to.bytes, behind->at, sizeof behind->at);
		(void)step(e.to.bytes, len, -1);
	}
	int err = set_table_put(r->table, r->set, &e, true);
	r->err = r->err ? r->err : err;
}

int nft_sets_read_end(struct nft_set_reader *r)
{
	/* Half a range is none. */
	if (r->err)
		r->edge_count = 0;
	if (r->edge_count)
		qsort(r->edges, r->edge_count, sizeof *r->edges, by_place);
	for (size_t i = 0; i < r->edge_count; i++)
		if (!r->edges[i].is_end)
			put_range(r, &r->edges[i], i + 1 < r->edge_count ? &r->edges[i + 1] : NULL);
	free(r->edges);
	r->edges = NULL;
	/* What was not read is not gone. */
	if (!r->err)
		set_table_listing_end(r->table, r->set);
	return r->err;
}

static int take_message(void *ctx, const struct nlmsghdr *message)
{
	nft_sets_read(ctx, message);
	return 0;
}

int nft_sets_list(struct nfnl *nl, struct set_table *table, enum kernel_set set, int64_t now)
{
	struct nft_set_reader reader;
	struct nft_question question;
	nft_question(NFT_MSG_GETSETELEM, kernel_set_name(set), &question);
	nft_sets_read_begin(&reader, table, set, now);
	int err = nfnl_ask(nl, &question.header, take_message, &reader);
	if (err)
		reader.err = err;
	return nft_sets_read_end(&reader);
}

uint64_t nft_sets_timeout_ms(int64_t at, int64_t now)
{
	return at == 0 ? 0 : at <= now ? 1 : (uint64_t)(at - now) * 1000;
}
