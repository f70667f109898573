#include "nft_message.h"

#include <endian.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

/* Both lengths are multiples of what netlink aligns to. */
#define BEFORE_ATTRS (sizeof(struct nlmsghdr) + sizeof(struct nfgenmsg))

struct kind_def {
	uint16_t message;
	enum nft_kind kind;
	bool is_deletion;
	uint16_t table, name; /* attributes */
};

/* Deletions that asked for what may not be there (DESTROY*) are told of as DEL*. */
static const struct kind_def kinds[] = {
	{ NFT_MSG_NEWTABLE, NFT_TABLE_ITSELF, false, NFTA_TABLE_NAME, 0 },
	{ NFT_MSG_DELTABLE, NFT_TABLE_ITSELF, true, NFTA_TABLE_NAME, 0 },
	{ NFT_MSG_NEWCHAIN, NFT_CHAIN, false, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME },
	{ NFT_MSG_DELCHAIN, NFT_CHAIN, true, NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME },
	{ NFT_MSG_NEWRULE, NFT_RULE, false, NFTA_RULE_TABLE, NFTA_RULE_CHAIN },
	{ NFT_MSG_DELRULE, NFT_RULE, true, NFTA_RULE_TABLE, NFTA_RULE_CHAIN },
	{ NFT_MSG_NEWSET, NFT_SET, false, NFTA_SET_TABLE, NFTA_SET_NAME },
	{ NFT_MSG_DELSET, NFT_SET, true, NFTA_SET_TABLE, NFTA_SET_NAME },
	{ NFT_MSG_NEWSETELEM, NFT_ELEMENTS, false, NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET },
	{ NFT_MSG_DELSETELEM, NFT_ELEMENTS, true, NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET },
	{ NFT_MSG_NEWGEN, NFT_GENERATION, false, 0, 0 },
};

bool nft_attr_next(struct span *rest, struct nft_attr *out)
{
	struct nlattr head;
	if (rest->len < sizeof head)
		return false;
	memcpy(&head, rest->ptr, sizeof head);
	if (head.nla_len < sizeof head || head.nla_len > rest->len)
		return false;
	*out = (struct nft_attr){ .type = head.nla_type & (uint16_t)NLA_TYPE_MASK,
				  .value = span_sub(*rest, sizeof head, head.nla_len),
				  .whole = span_sub(*rest, 0, head.nla_len) };
	*rest = span_sub(*rest, (head.nla_len + (size_t)3) & ~(size_t)3, rest->len);
	return true;
}

struct span nft_message_attrs(const struct nlmsghdr *m)
{
	return span_sub((struct span){ (const char *)m, m->nlmsg_len }, BEFORE_ATTRS, m->nlmsg_len);
}

static struct span text(struct span value)
{
	return span_sub(value, 0, span_find(value, '\0', 0));
}

static uint32_t number(struct span value)
{
	uint32_t n = 0;
	if (value.len == sizeof n)
		memcpy(&n, value.ptr, sizeof n);
	return be32toh(n);
}

static uint64_t long_number(struct span value)
{
	uint64_t n = 0;
	if (value.len == sizeof n)
		memcpy(&n, value.ptr, sizeof n);
	return be64toh(n);
}

static const struct kind_def *find(const struct nlmsghdr *m)
{
	if (m->nlmsg_len < BEFORE_ATTRS || m->nlmsg_type >> 8 != NFNL_SUBSYS_NFTABLES)
		return NULL;
	for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		if (kinds[i].message == (m->nlmsg_type & 0xff))
			return &kinds[i];
	return NULL;
}

static void read_generation(struct span attrs, struct nft_message *out)
{
	struct nft_attr a;
	out->kind = NFT_GENERATION;
	while (nft_attr_next(&attrs, &a)) {
		if (a.type == NFTA_GEN_PROC_NAME)
			out->process = text(a.value);
		else if (a.type == NFTA_GEN_PROC_PID)
			out->pid = number(a.value);
	}
}

void nft_message_read(const struct nlmsghdr *m, struct nft_message *out)
{
	const struct kind_def *kind = find(m);
	struct span attrs = kind ? nft_message_attrs(m) : SPAN_NONE;
	bool is_ours = false;
	struct nft_attr a;
	*out = (struct nft_message){ .kind = NFT_OTHER };
	if (!kind)
		return;
	if (kind->kind == NFT_GENERATION) {
		read_generation(attrs, out);
		return;
	}
	const struct nfgenmsg *family = (const void *)((const char *)m + sizeof *m);
	while (nft_attr_next(&attrs, &a)) {
		if (a.type == kind->table)
			is_ours = span_eq(text(a.value), SPAN_LIT(NFT_TABLE));
		else if (a.type == kind->name)
			out->name = text(a.value);
		else if (kind->kind == NFT_SET && a.type == NFTA_SET_FLAGS)
			out->set_flags = number(a.value);
	}
	if (!is_ours || family->nfgen_family != NFPROTO_INET)
		return;
	out->kind = kind->kind;
	out->is_deletion = kind->is_deletion;
}

static bool read_key(struct span value, struct nft_element *out)
{
	struct nft_attr a;
	while (nft_attr_next(&value, &a)) {
		if (a.type != NFTA_DATA_VALUE || a.value.len == 0 || a.value.len > sizeof out->key)
			continue;
		memcpy(out->key, a.value.ptr, a.value.len);
		out->key_len = a.value.len;
		return true;
	}
	return false;
}

static bool read_element(struct span value, struct nft_element *out)
{
	struct nft_attr a;
	bool has_key = false, has_expiration = false;
	*out = (struct nft_element){ .flags = 0 };
	while (nft_attr_next(&value, &a)) {
		switch (a.type) {
		case NFTA_SET_ELEM_KEY: has_key = read_key(a.value, out); break;
		case NFTA_SET_ELEM_FLAGS: out->flags = number(a.value); break;
		case NFTA_SET_ELEM_TIMEOUT:
			/* A new element's message may have the one or the other. */
			if (!has_expiration)
				out->expires_in_ms = long_number(a.value);
			break;
		case NFTA_SET_ELEM_EXPIRATION:
			out->expires_in_ms = long_number(a.value);
			has_expiration = true;
			break;
		default: break;
		}
	}
	out->has_expiration = has_expiration || out->expires_in_ms > 0;
	return has_key;
}

void nft_message_elements(const struct nlmsghdr *m, nft_element_fn fn, void *ctx)
{
	struct span attrs = nft_message_attrs(m);
	struct nft_element element;
	struct nft_attr a, each;
	while (nft_attr_next(&attrs, &a)) {
		if (a.type != NFTA_SET_ELEM_LIST_ELEMENTS)
			continue;
		while (nft_attr_next(&a.value, &each))
			if (read_element(each.value, &element))
				fn(ctx, &element);
	}
}

/* Not mnl_nlmsg_ok(), which takes a length of two gigabytes and more for a negative one. */
const struct nlmsghdr *netlink_next(struct span *rest)
{
	const struct nlmsghdr *m = (const void *)rest->ptr;
	if (rest->len < sizeof *m || m->nlmsg_len < sizeof *m || m->nlmsg_len > rest->len)
		return NULL;
	*rest = span_sub(*rest, (m->nlmsg_len + (size_t)3) & ~(size_t)3, rest->len);
	return m;
}

void nft_messages_each(struct span bytes, void (*fn)(void *ctx, const struct nlmsghdr *message), void *ctx)
{
	for (const struct nlmsghdr *m; (m = netlink_next(&bytes)) != NULL;)
		fn(ctx, m);
}
