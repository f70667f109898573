/* nft_sets.h - our sets in nft's table inet postern: what is in them is read, added and deleted in transactions.
 * Needs: CAP_NET_ADMIN.  Fails: as nfnl.h.
 */
#ifndef POSTERN_NFT_SETS_H
#define POSTERN_NFT_SETS_H

#include "kernel_sets.h"
#include "nfnl.h"
#include "nft_batch.h"
#include "nft_message.h"
#include "set_table.h"

/* An element as it travels: in a _net set, where its range begins, and where the next thing behind it would. */
void nft_sets_write(struct nft_elements *to, const struct kernel_element *element, bool is_net, uint64_t timeout_ms);

/* Elements as the kernel tells of them, one after the other, in any order; the end puts the ranges together.  now: seconds since 1970. */
struct nft_set_reader {
	struct set_table *table;
	enum kernel_set set;
	int64_t now;
	struct range_edge *edges; /* of a _net set */
	size_t edge_count, edge_room;
	int err;
};
void nft_sets_read_begin(struct nft_set_reader *reader, struct set_table *table, enum kernel_set set, int64_t now);
void nft_sets_read(struct nft_set_reader *reader, const struct nlmsghdr *message);
int nft_sets_read_end(struct nft_set_reader *reader); /* ERR_NOMEM, ERR_NOSPACE: not all of it is in the table */

/* A single address out of a message about a set that is no _net set.  False: it is none. */
bool nft_sets_element(enum kernel_set set, const struct nft_element *from, int64_t now, struct kernel_element *out);

/* The whole set into the table. */
int nft_sets_list(struct nfnl *nl, struct set_table *table, enum kernel_set set, int64_t now);

/* Seconds until then; for 0 never 0 and for what has just expired 1 ms. */
uint64_t nft_sets_timeout_ms(int64_t expires_at, int64_t now);

#endif
