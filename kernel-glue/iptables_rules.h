/* iptables_rules.h - are the rules of postern-divert's iptables back end there?  Read from nf_tables, in which iptables keeps its rules; those of
 * the old iptables (iptables-legacy) are not seen.  Nothing is changed.
 * Needs: CAP_NET_ADMIN.  Fails: as nfnl.h.
 */
#ifndef POSTERN_IPTABLES_RULES_H
#define POSTERN_IPTABLES_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "addr.h"
#include "nfnl.h"

#define IPTABLES_CHAINS_MAX 256u
#define IPTABLES_NAME_CAP 32u

struct iptables_chain {
	uint8_t family; /* NFPROTO_IPV4, NFPROTO_IPV6 */
	char table[IPTABLES_NAME_CAP], name[IPTABLES_NAME_CAP];
	bool has_rules, is_jumped_to;
};

/* The chains POSTERN*_INTERFACE of all interfaces; beyond the limit they are left out. */
struct iptables_rules {
	struct iptables_chain chains[IPTABLES_CHAINS_MAX];
	size_t count;
};

/* Two walks a family, through all the rules that iptables has.  ERR_AGAIN: they changed meanwhile. */
int iptables_rules_read(struct nfnl *nl, struct iptables_rules *out);

/* One message of the answer: chains first, then rules. */
void iptables_rules_take(struct iptables_rules *rules, const struct nlmsghdr *message);

/* Is an interface diverted in that family?  NONE: there is no chain of it.  BROKEN: *which_out is a chain without rules, or that nothing jumps to;
 * or NULL, then the chain that diverts is not there but others are. */
enum iptables_state { IPTABLES_NONE, IPTABLES_WHOLE, IPTABLES_BROKEN };
enum iptables_state iptables_rules_judge(const struct iptables_rules *rules, enum addr_family family, const char *iface,
					 const struct iptables_chain **which_out);

#endif
