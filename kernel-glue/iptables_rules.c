#include "iptables_rules.h"

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#include "nft_message.h"

#define PREFIX SPAN_LIT("POSTERN")

static struct span text_of(struct span value)
{
	return span_sub(value, 0, span_find(value, '\0', 0));
}

static struct iptables_chain *find(struct iptables_rules *rules, uint8_t family, struct span table, struct span name)
{
	for (size_t i = 0; i < rules->count; i++) {
		struct iptables_chain *c = &rules->chains[i];
		if (c->family == family && span_eq(table, span_of(c->table)) && span_eq(name, span_of(c->name)))
			return c;
	}
	return NULL;
}

/* The texts of two attributes; false: not both of them are there. */
static bool two_texts(const struct nlmsghdr *m, uint16_t first, uint16_t second, struct span *a_out, struct span *b_out)
{
	struct span attrs = nft_message_attrs(m);
	struct nft_attr a;
	*a_out = *b_out = SPAN_NONE;
	while (nft_attr_next(&attrs, &a)) {
		if (a.type == first)
			*a_out = text_of(a.value);
		else if (a.type == second)
			*b_out = text_of(a.value);
	}
	return a_out->len && b_out->len;
}

static bool attr(struct span rest, uint16_t type, struct span *out)
{
	struct nft_attr a;
	while (nft_attr_next(&rest, &a))
		if (a.type == type) {
			*out = a.value;
			return true;
		}
	return false;
}

/* Where does an expression jump to?  Empty: nowhere. */
static struct span jump_of(struct span expression)
{
	struct span name, data, value, verdict, chain;
	if (!attr(expression, NFTA_EXPR_NAME, &name) || !span_eq(text_of(name), SPAN_LIT("immediate")) || !attr(expression, NFTA_EXPR_DATA, &data) ||
	    !attr(data, NFTA_IMMEDIATE_DATA, &value) || !attr(value, NFTA_DATA_VERDICT, &verdict) || !attr(verdict, NFTA_VERDICT_CHAIN, &chain))
		return SPAN_NONE;
	return text_of(chain);
}

static void take_chain(struct iptables_rules *rules, uint8_t family, const struct nlmsghdr *m)
{
	struct span table, name;
	if (rules->count == IPTABLES_CHAINS_MAX || !two_texts(m, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, &table, &name) ||
	    !span_eq(span_sub(name, 0, PREFIX.len), PREFIX) || find(rules, family, table, name))
		return;
	struct iptables_chain *c = &rules->chains[rules->count];
	*c = (struct iptables_chain){ .family = family };
	if (span_to_cstr(table, c->table, sizeof c->table) == 0 && span_to_cstr(name, c->name, sizeof c->name) == 0)
		rules->count++;
}

static void take_rule(struct iptables_rules *rules, uint8_t family, const struct nlmsghdr *m)
{
	struct span table, name, list;
	struct nft_attr a;
	if (!two_texts(m, NFTA_RULE_TABLE, NFTA_RULE_CHAIN, &table, &name))
		return;
	struct iptables_chain *in = find(rules, family, table, name);
	if (in)
		in->has_rules = true;
	if (!attr(nft_message_attrs(m), NFTA_RULE_EXPRESSIONS, &list))
		return;
	while (nft_attr_next(&list, &a)) {
		struct span target = jump_of(a.value);
		struct iptables_chain *to = target.len ? find(rules, family, table, target) : NULL;
		if (to)
			to->is_jumped_to = true;
	}
}

void iptables_rules_take(struct iptables_rules *rules, const struct nlmsghdr *m)
{
	struct nfgenmsg head;
	if (m->nlmsg_len < sizeof *m + sizeof head || m->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return;
	memcpy(&head, (const char *)m + sizeof *m, sizeof head);
	if ((m->nlmsg_type & 0xff) == NFT_MSG_NEWCHAIN)
		take_chain(rules, head.nfgen_family, m);
	else if ((m->nlmsg_type & 0xff) == NFT_MSG_NEWRULE)
		take_rule(rules, head.nfgen_family, m);
}

static int take(void *ctx, const struct nlmsghdr *m)
{
	iptables_rules_take(ctx, m);
	return 0;
}

int iptables_rules_read(struct nfnl *nl, struct iptables_rules *out)
{
	static const struct {
		uint16_t type;
		uint8_t family;
	} walks[] = { { NFT_MSG_GETCHAIN, NFPROTO_IPV4 }, { NFT_MSG_GETCHAIN, NFPROTO_IPV6 }, { NFT_MSG_GETRULE, NFPROTO_IPV4 }, { NFT_MSG_GETRULE, NFPROTO_IPV6 } };
	int err = 0;
	out->count = 0;
	for (size_t i = 0; i < sizeof walks / sizeof walks[0] && !err; i++) {
		struct nft_question q;
		nft_question_family(walks[i].type, walks[i].family, &q);
		err = nfnl_ask(nl, &q.header, take, out);
	}
	return err;
}

/* POSTERN, a letter or none, _, and the interface. */
static bool is_of(const struct iptables_chain *c, const char *iface)
{
	const char *rest = c->name + PREFIX.len;
	while (*rest >= 'A' && *rest <= 'Z')
		rest++;
	return *rest == '_' && strcmp(rest + 1, iface) == 0;
}

enum iptables_state iptables_rules_judge(const struct iptables_rules *rules, enum addr_family family, const char *iface,
					 const struct iptables_chain **which_out)
{
	bool has_any = false, has_main = false;
	*which_out = NULL;
	for (size_t i = 0; i < rules->count; i++) {
		const struct iptables_chain *c = &rules->chains[i];
		if (c->family != (family == ADDR_V4 ? NFPROTO_IPV4 : NFPROTO_IPV6) || !is_of(c, iface))
			continue;
		has_any = true;
		has_main = has_main || c->name[PREFIX.len] == '_';
		if ((!c->has_rules || !c->is_jumped_to) && !*which_out)
			*which_out = c;
	}
	return !has_any ? IPTABLES_NONE : has_main && !*which_out ? IPTABLES_WHOLE : IPTABLES_BROKEN;
}
