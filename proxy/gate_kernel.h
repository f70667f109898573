/* gate_kernel.h - where our sets are in the kernel, in nft's table inet postern or as ipsets, and what is done to them there.
 * Owns: a netlink socket and what is known of the table, until close.  Fails: as nfnl.h.
 */
#ifndef POSTERN_GATE_KERNEL_H
#define POSTERN_GATE_KERNEL_H

#include "nfnl.h"
#include "nft_snapshot.h"
#include "set_table.h"

struct gate_kernel {
	struct nfnl *nl;
	struct nft_batch batch;
	struct buf ipset_messages;
	struct nft_snapshot snapshot; /* of the table */
	bool has_ipset[KSET_COUNT];   /* where nft has no sets of ours */
};

/* Into a zeroed struct. */
int gate_kernel_open(struct gate_kernel *kernel, struct reason *why);
void gate_kernel_close(struct gate_kernel *kernel);

bool gate_kernel_has_set(const struct gate_kernel *kernel, enum kernel_set set);

/* Ends the transaction in batch and sends it.  errnum (may be NULL): what the kernel said. */
int gate_kernel_commit(struct gate_kernel *kernel, int *errnum);

/* The set as it is there, into the table. */
int gate_kernel_list(struct gate_kernel *kernel, struct set_table *table, enum kernel_set set);

/* Elements that are not there yet; with nft all of them or none. */
int gate_kernel_put(struct gate_kernel *kernel, enum kernel_set set, const struct kernel_element *elements, size_t count, int64_t now);

/* One element, which may be there: then it gets the new expiry. */
int gate_kernel_renew(struct gate_kernel *kernel, enum kernel_set set, const struct kernel_element *element, int64_t now, int *errnum);
int gate_kernel_delete(struct gate_kernel *kernel, enum kernel_set set, const struct kernel_element *element, int *errnum);

#endif
