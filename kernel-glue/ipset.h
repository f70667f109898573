/* ipset.h - our sets as ipsets, where postern-divert has the iptables back end: the same elements, in sets that have postern_ in front of their
 * names (hash:ip, hash:net), and for each interface the switches postern_alive_I and postern_closed_I (bitmap:port with one port in them).
 * There are no transactions: each element is added or deleted by itself, many with one system call.  Nobody is told of changes.
 * Needs: CAP_NET_ADMIN.  Fails: as nfnl.h; ERR_NOTFOUND where there is no such set.
 */
#ifndef POSTERN_IPSET_H
#define POSTERN_IPSET_H

#include "buf.h"
#include "heartbeat.h"
#include "nfnl.h"
#include "set_table.h"

/* Elements of the set, with what is left of their time; one that is there gets the new one.  buf: for the messages, the caller's. */
int ipset_add(struct nfnl *nl, struct buf *buf, enum kernel_set set, const struct kernel_element *elements, size_t count, int64_t now);

/* ERR_BUSY or ERR_INVAL: it was not in there. */
int ipset_delete(struct nfnl *nl, enum kernel_set set, const struct kernel_element *element);

/* Can it be said in that set?  Ranges that no prefix says cannot. */
bool ipset_fits(const struct kernel_element *element);

bool ipset_exists(struct nfnl *nl, enum kernel_set set);

/* How many elements it has, and how many rules look at it. */
struct ipset_size {
	uint32_t elements, references;
};
int ipset_size(struct nfnl *nl, enum kernel_set set, struct ipset_size *out);

/* The whole set into the table. */
int ipset_list(struct nfnl *nl, struct set_table *table, enum kernel_set set, int64_t now);

/* The switches of one interface.  ERR_NOTFOUND: it has none. */
int ipset_heartbeat(struct nfnl *nl, const struct heartbeat_iface *iface, uint64_t timeout_ms);

/* Does some rule look at the switch of the interface, and is it closed? */
void ipset_switch(struct nfnl *nl, const char *iface, bool *is_armed, bool *is_closed);

/* For ipset_list and the fuzz target: one message of an answer, into the table. */
int ipset_read(struct set_table *table, enum kernel_set set, int64_t now, const struct nlmsghdr *message);

#endif
