#include "ipset.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdio.h>
#include <string.h>

#include "nft_message.h"

#define MESSAGE_CAP 256
#define BATCH_CAP (4u << 20)
#define NAME_CAP IPSET_MAXNAMELEN
/* Its time-outs are in seconds, below this. */
#define TIMEOUT_MAX_S 2147483u

/* Not larger than MESSAGE_CAP with all that is put into it. */
static struct nlmsghdr *begin(char bytes[MESSAGE_CAP], uint8_t command, uint16_t flags, enum addr_family family, const char *name)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(bytes);
	m->nlmsg_type = NFNL_SUBSYS_IPSET << 8;
	m->nlmsg_type |= command;
	m->nlmsg_flags = NLM_F_REQUEST | flags;
	struct nfgenmsg *head = mnl_nlmsg_put_extra_header(m, sizeof *head);
	head->nfgen_family = family == ADDR_V6 ? NFPROTO_IPV6 : family == ADDR_V4 ? NFPROTO_IPV4 : NFPROTO_UNSPEC;
	mnl_attr_put_u8(m, IPSET_ATTR_PROTOCOL, IPSET_PROTOCOL_MIN);
	mnl_attr_put_strz(m, IPSET_ATTR_SETNAME, name);
	return m;
}

static void name_of(enum kernel_set set, char name[NAME_CAP])
{
	(void)snprintf(name, NAME_CAP, "postern_%s", kernel_set_name(set));
}

static void switch_name(const char *which, const char *iface, char name[NAME_CAP])
{
	(void)snprintf(name, NAME_CAP, "postern_%s_%.15s", which, iface);
}

static void put_timeout(struct nlmsghdr *m, uint64_t seconds)
{
	mnl_attr_put_u32(m, IPSET_ATTR_TIMEOUT | NLA_F_NET_BYTEORDER, htonl((uint32_t)(seconds < TIMEOUT_MAX_S ? seconds : TIMEOUT_MAX_S)));
}

/* The prefix that says the range; more bits than there are: none. */
static unsigned prefix_of(const struct kernel_element *e)
{
	unsigned bits = addr_bits(&e->from);
	struct cidr net;
	for (unsigned b = 0; b <= bits; b++) {
		if (cidr_make(&e->from, b, &net) != 0 || !addr_eq(&net.addr, &e->from) || !cidr_contains(&net, &e->to))
			continue;
		/* The last one of it: behind it nothing may be in the network. */
		bool is_last = true;
		for (unsigned bit = b; bit < bits && is_last; bit++)
			is_last = e->to.bytes[bit / 8] >> (7 - bit % 8) & 1;
		if (is_last)
			return b;
	}
	return bits + 1;
}

bool ipset_fits(const struct kernel_element *e)
{
	return prefix_of(e) <= addr_bits(&e->from);
}

static void put_element(struct nlmsghdr *m, const struct kernel_element *e)
{
	struct nlattr *ip = mnl_attr_nest_start(m, IPSET_ATTR_IP);
	if (e->from.family == ADDR_V4)
		mnl_attr_put(m, IPSET_ATTR_IPADDR_IPV4 | NLA_F_NET_BYTEORDER, 4, e->from.bytes);
	else
		mnl_attr_put(m, IPSET_ATTR_IPADDR_IPV6 | NLA_F_NET_BYTEORDER, 16, e->from.bytes);
	mnl_attr_nest_end(m, ip);
	if (!addr_eq(&e->from, &e->to))
		mnl_attr_put_u8(m, IPSET_ATTR_CIDR, (uint8_t)prefix_of(e));
}

int ipset_add(struct nfnl *nl, struct buf *buf, enum kernel_set set, const struct kernel_element *elements, size_t count, int64_t now)
{
	char name[NAME_CAP];
	int err = 0;
	name_of(set, name);
	buf_clear(buf);
	buf->cap = BATCH_CAP;
	for (size_t i = 0; !err && i < count; i++) {
		char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO)));
		const struct kernel_element *e = &elements[i];
		if (!ipset_fits(e))
			return ERR_UNSUPPORTED;
		struct nlmsghdr *m = begin(bytes, IPSET_CMD_ADD, 0, kernel_set_family(set), name);
		struct nlattr *data = mnl_attr_nest_start(m, IPSET_ATTR_DATA);
		put_element(m, e);
		/* 0: for good. */
		put_timeout(m, e->expires_at == 0 ? 0 : e->expires_at > now ? (uint64_t)(e->expires_at - now) : 1);
		mnl_attr_nest_end(m, data);
		err = buf_append(buf, bytes, m->nlmsg_len);
	}
	return err ? err : nfnl_send(nl, buf->data, buf->len, NULL);
}

int ipset_delete(struct nfnl *nl, enum kernel_set set, const struct kernel_element *e)
{
	char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO))), name[NAME_CAP];
	if (!ipset_fits(e))
		return ERR_INVAL;
	name_of(set, name);
	struct nlmsghdr *m = begin(bytes, IPSET_CMD_DEL, NLM_F_EXCL, kernel_set_family(set), name);
	struct nlattr *data = mnl_attr_nest_start(m, IPSET_ATTR_DATA);
	put_element(m, e);
	mnl_attr_nest_end(m, data);
	return nfnl_send(nl, bytes, m->nlmsg_len, NULL);
}

static int ignore(void *ctx, const struct nlmsghdr *message)
{
	(void)message;
	*(bool *)ctx = true;
	return 0;
}

bool ipset_exists(struct nfnl *nl, enum kernel_set set)
{
	char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO))), name[NAME_CAP];
	bool is_there = false;
	name_of(set, name);
	return nfnl_ask(nl, begin(bytes, IPSET_CMD_HEADER, 0, ADDR_NONE, name), ignore, &is_there) == 0 && is_there;
}

/* ---- reading */

static bool read_address(struct span value, struct addr *out)
{
	struct nft_attr a;
	while (nft_attr_next(&value, &a)) {
		bool is_v4 = a.type == IPSET_ATTR_IPADDR_IPV4 && a.value.len == 4;
		if (!is_v4 && !(a.type == IPSET_ATTR_IPADDR_IPV6 && a.value.len == 16))
			continue;
		*out = (struct addr){ .family = is_v4 ? ADDR_V4 : ADDR_V6 };
		memcpy(out->bytes, a.value.ptr, a.value.len);
		return true;
	}
	return false;
}

static uint32_t number(struct span value)
{
	uint32_t n = 0;
	if (value.len == sizeof n)
		memcpy(&n, value.ptr, sizeof n);
	return be32toh(n);
}

static int take_data(struct set_table *table, enum kernel_set set, int64_t now, struct span data)
{
	struct kernel_element e = { .expires_at = 0 };
	char text[ADDR_TEXT_CAP + 8];
	struct addr from = { .family = ADDR_NONE };
	struct nft_attr a;
	unsigned bits = 128;
	int64_t expires_at = 0;
	while (nft_attr_next(&data, &a)) {
		if (a.type == IPSET_ATTR_IP)
			(void)read_address(a.value, &from);
		else if (a.type == IPSET_ATTR_CIDR && a.value.len == 1)
			bits = (uint8_t)a.value.ptr[0];
		else if (a.type == IPSET_ATTR_TIMEOUT && number(a.value))
			expires_at = now + (int64_t)number(a.value);
	}
	if (from.family != (uint8_t)kernel_set_family(set))
		return 0;
	char address[ADDR_TEXT_CAP];
	(void)snprintf(text, sizeof text, "%s/%u", addr_format(&from, address), bits < addr_bits(&from) ? bits : addr_bits(&from));
	if (kernel_element_parse(span_of(text), &e) || !kernel_element_fits(&e, set))
		return 0;
	e.expires_at = expires_at;
	return set_table_put(table, set, &e, true);
}

int ipset_read(struct set_table *table, enum kernel_set set, int64_t now, const struct nlmsghdr *message)
{
	struct span attrs = nft_message_attrs(message);
	struct nft_attr a, each;
	int err = 0;
	while (nft_attr_next(&attrs, &a))
		while (a.type == IPSET_ATTR_ADT && nft_attr_next(&a.value, &each)) {
			int failed = each.type == IPSET_ATTR_DATA ? take_data(table, set, now, each.value) : 0;
			err = err ? err : failed;
		}
	return err;
}

static int take_size(void *ctx, const struct nlmsghdr *message)
{
	struct ipset_size *size = ctx;
	struct span attrs = nft_message_attrs(message);
	struct nft_attr a, each;
	while (nft_attr_next(&attrs, &a))
		while (a.type == IPSET_ATTR_DATA && nft_attr_next(&a.value, &each)) {
			if (each.type == IPSET_ATTR_ELEMENTS)
				size->elements = number(each.value);
			else if (each.type == IPSET_ATTR_REFERENCES)
				size->references = number(each.value);
		}
	return 0;
}

int ipset_size(struct nfnl *nl, enum kernel_set set, struct ipset_size *out)
{
	char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO))), name[NAME_CAP];
	struct ipset_size size = { 0, 0 };
	name_of(set, name);
	struct nlmsghdr *m = begin(bytes, IPSET_CMD_LIST, NLM_F_DUMP, ADDR_NONE, name);
	mnl_attr_put_u32(m, IPSET_ATTR_FLAGS | NLA_F_NET_BYTEORDER, htonl(IPSET_FLAG_LIST_HEADER));
	int err = nfnl_ask(nl, m, take_size, &size);
	if (!err)
		*out = size;
	return err;
}

struct lister {
	struct set_table *table;
	enum kernel_set set;
	int64_t now;
};

static int take_message(void *ctx, const struct nlmsghdr *message)
{
	const struct lister *l = ctx;
	return ipset_read(l->table, l->set, l->now, message);
}

int ipset_list(struct nfnl *nl, struct set_table *table, enum kernel_set set, int64_t now)
{
	char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO))), name[NAME_CAP];
	struct lister lister = { table, set, now };
	name_of(set, name);
	set_table_listing_begin(table, set);
	int err = nfnl_ask(nl, begin(bytes, IPSET_CMD_LIST, NLM_F_DUMP, ADDR_NONE, name), take_message, &lister);
	if (!err)
		set_table_listing_end(table, set);
	return err;
}

/* ---- the switches */

static int set_switch(struct nfnl *nl, bool is_there, const char *name, uint64_t timeout_s)
{
	char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr *m = begin(bytes, is_there ? IPSET_CMD_ADD : IPSET_CMD_DEL, 0, ADDR_NONE, name);
	struct nlattr *data = mnl_attr_nest_start(m, IPSET_ATTR_DATA);
	mnl_attr_put_u16(m, IPSET_ATTR_PORT | NLA_F_NET_BYTEORDER, htons(HEARTBEAT_PORT));
	if (is_there && timeout_s)
		put_timeout(m, timeout_s);
	mnl_attr_nest_end(m, data);
	return nfnl_send(nl, bytes, m->nlmsg_len, NULL);
}

int ipset_heartbeat(struct nfnl *nl, const struct heartbeat_iface *iface, uint64_t timeout_ms)
{
	char name[NAME_CAP];
	switch_name("alive", iface->name, name);
	int err = set_switch(nl, iface->is_alive, name, (timeout_ms + 999) / 1000);
	if (err || iface->fail == HEARTBEAT_LEAVE)
		return err;
	switch_name("closed", iface->name, name);
	return set_switch(nl, iface->fail == HEARTBEAT_CLOSED, name, 0);
}

struct switch_state {
	uint32_t references;
	bool has_port;
};

static int take_switch(void *ctx, const struct nlmsghdr *message)
{
	struct switch_state *state = ctx;
	struct span attrs = nft_message_attrs(message);
	struct nft_attr a, each;
	while (nft_attr_next(&attrs, &a)) {
		if (a.type == IPSET_ATTR_ADT && nft_attr_next(&a.value, &each))
			state->has_port = true;
		while (a.type == IPSET_ATTR_DATA && nft_attr_next(&a.value, &each))
			if (each.type == IPSET_ATTR_REFERENCES)
				state->references = number(each.value);
	}
	return 0;
}

static struct switch_state look_at(struct nfnl *nl, const char *which, const char *iface)
{
	char bytes[MESSAGE_CAP] __attribute__((aligned(NLMSG_ALIGNTO))), name[NAME_CAP];
	struct switch_state state = { 0, false };
	switch_name(which, iface, name);
	(void)nfnl_ask(nl, begin(bytes, IPSET_CMD_LIST, NLM_F_DUMP, ADDR_NONE, name), take_switch, &state);
	return state;
}

void ipset_switch(struct nfnl *nl, const char *iface, bool *is_armed, bool *is_closed)
{
	*is_armed = look_at(nl, "alive", iface).references > 0;
	*is_closed = look_at(nl, "closed", iface).has_port;
}
