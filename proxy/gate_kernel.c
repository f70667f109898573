#include "gate_kernel.h"

#include "ipset.h"
#include "loop.h"
#include "nft_sets.h"

int gate_kernel_open(struct gate_kernel *k, struct reason *why)
{
	return nfnl_open(&k->nl, why);
}

void gate_kernel_close(struct gate_kernel *k)
{
	nfnl_close(&k->nl);
	nft_batch_free(&k->batch);
	buf_free(&k->ipset_messages);
	nft_snapshot_free(&k->snapshot);
}

bool gate_kernel_has_set(const struct gate_kernel *k, enum kernel_set set)
{
	return k->snapshot.has_set[set] || k->has_ipset[set];
}

int gate_kernel_commit(struct gate_kernel *k, int *errnum)
{
	int err = nft_batch_end(&k->batch);
	return err ? err : nfnl_send(k->nl, k->batch.bytes.data, k->batch.bytes.len, errnum);
}

int gate_kernel_list(struct gate_kernel *k, struct set_table *table, enum kernel_set set)
{
	return k->has_ipset[set] ? ipset_list(k->nl, table, set, loop_wall_time()) : nft_sets_list(k->nl, table, set, loop_wall_time());
}

static void write_set(struct gate_kernel *k, bool is_addition, enum kernel_set set, const struct kernel_element *e, size_t count, int64_t now)
{
	struct nft_elements to;
	if (is_addition)
		nft_elements_add(&k->batch, kernel_set_name(set), &to);
	else
		nft_elements_delete(&k->batch, kernel_set_name(set), &to);
	for (size_t i = 0; i < count; i++)
		nft_sets_write(&to, &e[i], kernel_set_is_net(set), is_addition ? nft_sets_timeout_ms(e[i].expires_at, now) : 0);
	nft_elements_end(&to);
}

int gate_kernel_put(struct gate_kernel *k, enum kernel_set set, const struct kernel_element *e, size_t count, int64_t now)
{
	if (k->has_ipset[set])
		return ipset_add(k->nl, &k->ipset_messages, set, e, count, now);
	nft_batch_begin(&k->batch);
	write_set(k, true, set, e, count, now);
	return gate_kernel_commit(k, NULL);
}

int gate_kernel_renew(struct gate_kernel *k, enum kernel_set set, const struct kernel_element *e, int64_t now, int *errnum)
{
	if (k->has_ipset[set])
		return gate_kernel_put(k, set, e, 1, now);
	/* Added first so that it can be deleted, whether it was there or not: only so it gets its new time everywhere. */
	nft_batch_begin(&k->batch);
	write_set(k, true, set, e, 1, now);
	write_set(k, false, set, e, 1, now);
	write_set(k, true, set, e, 1, now);
	return gate_kernel_commit(k, errnum);
}

int gate_kernel_delete(struct gate_kernel *k, enum kernel_set set, const struct kernel_element *e, int *errnum)
{
	if (k->has_ipset[set])
		return ipset_delete(k->nl, set, e) == 0 ? 0 : ERR_NOTFOUND;
	nft_batch_begin(&k->batch);
	write_set(k, false, set, e, 1, 0);
	return gate_kernel_commit(k, errnum);
}
