/* iptables_watch.h - notices when rules of postern-divert's iptables back end are taken away by somebody else: logs it, and says it to who asks.
 * They can't be put back from here; `postern-divert up` does that.  The old iptables (legacy) shows its rules to nobody: of that nothing is known.
 * Borrows: the netlink socket, for the call.
 */
#ifndef POSTERN_IPTABLES_WATCH_H
#define POSTERN_IPTABLES_WATCH_H

#include "conf.h"
#include "heartbeat.h"
#include "iptables_rules.h"

/* postern-divert itself takes a moment to set them all. */
#define IPTABLES_WATCH_BEATS 5u

struct iptables_watch {
	struct {
		char name[16];
		bool has_seen[2];   /* rules of IPv4, of IPv6 */
		unsigned bad_beats;
		bool is_lost; /* for IPTABLES_WATCH_BEATS beats, and logged */
	} ifaces[CONF_LISTEN_MAX];
	size_t count;
	bool is_due; /* something changed: set by who hears of it */
	struct iptables_rules rules;
};

/* Each second, for the interfaces whose switch there is as an ipset. */
void iptables_watch_beat(struct iptables_watch *watch, struct nfnl *nl, const struct heartbeat_iface *ifaces, size_t count);
bool iptables_watch_has_lost(const struct iptables_watch *watch, const char *iface);

#endif
