/* nft_snapshot.h - the table inet postern as it was: its chains, rules and sets, kept as the kernel's own messages, so that it can be put
 * back as it was when somebody has flushed it.  Knows nothing of what rules mean.
 * What is in the sets of kernel_sets.h and in the set alive is not kept here: set_table.h and the heartbeat have it.
 * Owns: its buffers.
 */
#ifndef POSTERN_NFT_SNAPSHOT_H
#define POSTERN_NFT_SNAPSHOT_H

#include <stdbool.h>

#include "kernel_sets.h"
#include "nfnl.h"
#include "nft_batch.h"

struct nft_snapshot {
	struct buf table, chains, sets, elements, rules; /* messages, one behind the other */
	bool has_set[KSET_COUNT];
	bool has_alive;
};

/* Takes a new one in place of the old.  ERR_NOTFOUND: there is no such table, and the snapshot is empty.  Any other failure leaves the old one. */
int nft_snapshot_take(struct nfnl *nl, struct nft_snapshot *snapshot);

/* Does anything in it look at packets? */
bool nft_snapshot_has_chains(const struct nft_snapshot *snapshot);
bool nft_snapshot_has_chain(const struct nft_snapshot *snapshot, struct span name);

/* Is the element there?  (of a set that is kept here) */
bool nft_snapshot_has_element(const struct nft_snapshot *snapshot, struct span set, struct span key);

/* Into a transaction that has begun: all of it, for a kernel that has nothing of it. */
void nft_snapshot_write(const struct nft_snapshot *snapshot, struct nft_batch *batch);

void nft_snapshot_free(struct nft_snapshot *snapshot);

/* For nft_snapshot_take and the fuzz target: one message of an answer. */
int nft_snapshot_keep(struct nft_snapshot *snapshot, const struct nlmsghdr *message);

#endif
