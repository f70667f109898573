/* conntrack.h - what connection tracking knows of a flow, and making it forget one; over nfnl.h.
 * For what SO_ORIGINAL_DST can't say: it looks in zone 0 only.  Each call is one question, which the kernel answers at once; but for
 * conntrack_forget_clients, which walks the table of all flows.
 * Needs: CAP_NET_ADMIN.  ERR_NOTFOUND: there is no such flow (any more).
 */
#ifndef POSTERN_CONNTRACK_H
#define POSTERN_CONNTRACK_H

#include "conntrack_message.h"
#include "kernel_sets.h"
#include "nfnl.h"
#include "origdst.h"

/* Where did the client of an accepted connection want to go, before anybody's NAT?  local: our end, client: the other one. */
int conntrack_original(struct nfnl *nl, uint16_t zone, const struct endpoint *local, const struct endpoint *client, struct endpoint *original_out);

/* As origdst_find with LISTEN_REDIRECT, in that zone.  ERR_REFUSED also where the zone knows no such flow. */
int conntrack_find(struct nfnl *nl, uint16_t zone, int fd, const struct endpoint *client, struct origdst *out, struct reason *why);

/* Forget the flow of an accepted connection: its next packet is a first one, and meets every rule anew. */
int conntrack_forget(struct nfnl *nl, uint16_t zone, const struct endpoint *local, const struct endpoint *client);

/* Forget every flow that these clients began to that port, whoever serves it, in every zone: so that a rule for first packets holds for who is
 * connected already.  At most CONNTRACK_FORGET_MAX at a time, by one walk for each family; ERR_AGAIN: there are more, or the table changed under the
 * walk.  *count_out: how many were forgotten, whatever comes back. */
#define CONNTRACK_FORGET_MAX 4096u
struct conntrack_clients {
	const struct kernel_element *ranges; /* conntrack_clients_sort has seen them */
	size_t count;
	bool (*is_spared)(void *ctx, const struct addr *client); /* NULL: nobody */
	void *ctx;
};
void conntrack_clients_sort(struct kernel_element *ranges, size_t count);
int conntrack_forget_clients(struct nfnl *nl, const struct conntrack_clients *clients, uint16_t port, unsigned *count_out);

#endif
