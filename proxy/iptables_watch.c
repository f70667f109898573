#include "iptables_watch.h"

#include <linux/netfilter.h>
#include <string.h>

#include "ipset.h"
#include "log.h"

static void tell(const char *iface, bool is_lost, const struct iptables_chain *which)
{
	struct kv kv;
	kv_init(&kv);
	kv_text(&kv, "ev", is_lost ? "rules-lost" : "rules-back");
	kv_text(&kv, "interface", iface);
	if (which) {
		kv_text(&kv, "chain", which->name);
		kv_text(&kv, "table", which->table);
		kv_text(&kv, "family", which->family == NFPROTO_IPV4 ? "ipv4" : "ipv6");
	}
	if (is_lost)
		kv_text(&kv, "msg", which ? "the chain is empty, or nothing jumps to it: run postern-divert up again" :
					    "rules of iptables that divert are gone: run postern-divert up again");
	log_kv(is_lost ? LOG_LEVEL_WARN : LOG_LEVEL_INFO, &kv);
}

/* No rule that looks at our sets, and none of ours seen: then they are not in the old iptables either. */
static bool is_unused(struct nfnl *nl, const struct iptables_rules *rules)
{
	struct ipset_size size;
	return rules->count > 0 || (ipset_size(nl, KSET_PASS4, &size) == 0 && size.references == 0);
}

static bool is_bad(struct iptables_watch *w, struct nfnl *nl, size_t i, const struct iptables_chain **which)
{
	enum iptables_state four = iptables_rules_judge(&w->rules, ADDR_V4, w->ifaces[i].name, which);
	w->ifaces[i].has_seen[0] = w->ifaces[i].has_seen[0] || four != IPTABLES_NONE;
	if (four != IPTABLES_WHOLE)
		return four == IPTABLES_BROKEN || w->ifaces[i].has_seen[0] || is_unused(nl, &w->rules);
	enum iptables_state six = iptables_rules_judge(&w->rules, ADDR_V6, w->ifaces[i].name, which);
	w->ifaces[i].has_seen[1] = w->ifaces[i].has_seen[1] || six != IPTABLES_NONE;
	/* A host without IPv6 never had any. */
	return six == IPTABLES_BROKEN || (six == IPTABLES_NONE && w->ifaces[i].has_seen[1]);
}

static void take_ifaces(struct iptables_watch *w, const struct heartbeat_iface *ifaces, size_t count)
{
	bool is_same = w->count == count;
	for (size_t i = 0; i < count && is_same; i++)
		is_same = memcmp(w->ifaces[i].name, ifaces[i].name, sizeof ifaces[i].name) == 0;
	if (is_same)
		return;
	memset(w->ifaces, 0, sizeof w->ifaces);
	for (size_t i = 0; i < count; i++)
		memcpy(w->ifaces[i].name, ifaces[i].name, sizeof ifaces[i].name);
	w->count = count;
	w->is_due = true;
}

void iptables_watch_beat(struct iptables_watch *w, struct nfnl *nl, const struct heartbeat_iface *ifaces, size_t count)
{
	take_ifaces(w, ifaces, count);
	if (!w->is_due)
		return;
	/* What changed under the walk is heard of, too: at the next beat. */
	if (iptables_rules_read(nl, &w->rules) != 0)
		return;
	w->is_due = false;
	for (size_t i = 0; i < w->count; i++) {
		const struct iptables_chain *which = NULL;
		if (!is_bad(w, nl, i, &which)) {
			if (w->ifaces[i].is_lost)
				tell(w->ifaces[i].name, false, NULL);
			w->ifaces[i].is_lost = false;
			w->ifaces[i].bad_beats = 0;
			continue;
		}
		w->is_due = true;
		if (w->ifaces[i].is_lost || ++w->ifaces[i].bad_beats < IPTABLES_WATCH_BEATS)
			continue;
		w->ifaces[i].is_lost = true;
		tell(w->ifaces[i].name, true, which);
	}
}

bool iptables_watch_has_lost(const struct iptables_watch *w, const char *iface)
{
	for (size_t i = 0; i < w->count; i++)
		if (strncmp(w->ifaces[i].name, iface, sizeof w->ifaces[i].name) == 0)
			return w->ifaces[i].is_lost;
	return false;
}
