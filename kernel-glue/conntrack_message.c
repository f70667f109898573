#include "conntrack_message.h"

#include <arpa/inet.h>
#include <assert.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netinet/in.h>
#include <string.h>

#include "nft_message.h"

/* What a filter compares; the kernel's header has them only for itself. */
enum { FILTER_IP_SRC = 1u << 0, FILTER_PROTO_NUM = 1u << 3, FILTER_PROTO_DST_PORT = 1u << 5 };

/* ---- building */

static struct nlmsghdr *put_head(void *out, uint16_t type, uint16_t flags, enum addr_family family)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(out);
	struct nfgenmsg *head;
	m->nlmsg_type = (uint16_t)(NFNL_SUBSYS_CTNETLINK << 8 | type);
	m->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	head = mnl_nlmsg_put_extra_header(m, sizeof *head);
	head->nfgen_family = family == ADDR_V6 ? AF_INET6 : AF_INET;
	head->version = NFNETLINK_V0;
	return m;
}

static void put_addr(struct nlmsghdr *m, uint16_t v4_type, uint16_t v6_type, const struct addr *addr)
{
	bool v6 = addr->family == ADDR_V6;
	mnl_attr_put(m, v6 ? v6_type : v4_type, v6 ? 16 : 4, addr->bytes);
}

int conntrack_question_build(enum conntrack_verb verb, const struct conntrack_tuple *tuple, bool is_reply, void *out)
{
	const struct endpoint *src = &tuple->src, *dst = &tuple->dst;
	/* A deletion that names no flow would empty the whole table. */
	if (src->addr.family == ADDR_NONE || src->addr.family != dst->addr.family)
		return ERR_INVAL;
	struct nlmsghdr *m = put_head(out, verb == CONNTRACK_GET ? IPCTNL_MSG_CT_GET : IPCTNL_MSG_CT_DELETE, verb == CONNTRACK_GET ? 0 : NLM_F_ACK,
				      (enum addr_family)src->addr.family);
	struct nlattr *whole = mnl_attr_nest_start(m, is_reply ? CTA_TUPLE_REPLY : CTA_TUPLE_ORIG);
	struct nlattr *part = mnl_attr_nest_start(m, CTA_TUPLE_IP);
	put_addr(m, CTA_IP_V4_SRC, CTA_IP_V6_SRC, &src->addr);
	put_addr(m, CTA_IP_V4_DST, CTA_IP_V6_DST, &dst->addr);
	mnl_attr_nest_end(m, part);
	part = mnl_attr_nest_start(m, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(m, CTA_PROTO_NUM, IPPROTO_TCP);
	mnl_attr_put_u16(m, CTA_PROTO_SRC_PORT, htons(src->port));
	mnl_attr_put_u16(m, CTA_PROTO_DST_PORT, htons(dst->port));
	mnl_attr_nest_end(m, part);
	mnl_attr_nest_end(m, whole);
	mnl_attr_put_u16(m, CTA_ZONE, htons(tuple->zone));
	assert(m->nlmsg_len <= CONNTRACK_QUESTION_CAP);
	return 0;
}

int conntrack_dump_build(enum addr_family family, const struct addr *client, uint16_t port, void *out)
{
	if (family == ADDR_NONE || (client && client->family != (uint8_t)family))
		return ERR_INVAL;
	struct nlmsghdr *m = put_head(out, IPCTNL_MSG_CT_GET, NLM_F_DUMP, family);
	struct nlattr *whole = mnl_attr_nest_start(m, CTA_TUPLE_ORIG), *part;
	/* Linux up to 6.18 at least takes an IPv6 address in a filter for the one that is not wanted. */
	bool by_addr = client && family == ADDR_V4;
	if (by_addr) {
		part = mnl_attr_nest_start(m, CTA_TUPLE_IP);
		put_addr(m, CTA_IP_V4_SRC, CTA_IP_V6_SRC, client);
		mnl_attr_nest_end(m, part);
	}
	part = mnl_attr_nest_start(m, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(m, CTA_PROTO_NUM, IPPROTO_TCP);
	mnl_attr_put_u16(m, CTA_PROTO_DST_PORT, htons(port));
	mnl_attr_nest_end(m, part);
	mnl_attr_nest_end(m, whole);
	part = mnl_attr_nest_start(m, CTA_FILTER);
	mnl_attr_put_u32(m, CTA_FILTER_ORIG_FLAGS, (by_addr ? FILTER_IP_SRC : 0) | FILTER_PROTO_NUM | FILTER_PROTO_DST_PORT);
	mnl_attr_put_u32(m, CTA_FILTER_REPLY_FLAGS, 0);
	mnl_attr_nest_end(m, part);
	assert(m->nlmsg_len <= CONNTRACK_QUESTION_CAP);
	return 0;
}

/* ---- reading */

static bool read_u16(struct span value, uint16_t *out)
{
	uint16_t n;
	if (value.len != sizeof n)
		return false;
	memcpy(&n, value.ptr, sizeof n);
	*out = ntohs(n);
	return true;
}

static bool read_ip(struct span rest, struct conntrack_tuple *out)
{
	struct nft_attr a;
	while (nft_attr_next(&rest, &a)) {
		bool v6 = a.type == CTA_IP_V6_SRC || a.type == CTA_IP_V6_DST;
		struct addr *to = a.type == CTA_IP_V4_SRC || a.type == CTA_IP_V6_SRC ? &out->src.addr :
				  a.type == CTA_IP_V4_DST || a.type == CTA_IP_V6_DST ? &out->dst.addr :
										       NULL;
		if (to && a.value.len != (v6 ? 16 : 4))
			return false;
		if (to)
			*to = addr_from_bytes(v6 ? ADDR_V6 : ADDR_V4, (const uint8_t *)a.value.ptr);
	}
	return out->src.addr.family != ADDR_NONE && out->dst.addr.family != ADDR_NONE;
}

static int read_proto(struct span rest, struct conntrack_tuple *out)
{
	struct nft_attr a;
	unsigned ports = 0;
	bool is_tcp = false, is_good = true;
	while (nft_attr_next(&rest, &a)) {
		if (a.type == CTA_PROTO_NUM)
			is_tcp = a.value.len == 1 && a.value.ptr[0] == IPPROTO_TCP;
		else if (a.type == CTA_PROTO_SRC_PORT || a.type == CTA_PROTO_DST_PORT) {
			is_good = read_u16(a.value, a.type == CTA_PROTO_SRC_PORT ? &out->src.port : &out->dst.port) && is_good;
			ports |= 1u << a.type;
		}
	}
	if (!is_tcp)
		return ERR_UNSUPPORTED;
	return is_good && ports == (1u << CTA_PROTO_SRC_PORT | 1u << CTA_PROTO_DST_PORT) ? 0 : ERR_PROTO;
}

static int read_tuple(struct span rest, struct conntrack_tuple *out)
{
	struct nft_attr a;
	bool has_ip = false;
	int err = ERR_PROTO;
	*out = (struct conntrack_tuple){ .src.port = 0 };
	while (nft_attr_next(&rest, &a)) {
		if (a.type == CTA_TUPLE_IP)
			has_ip = read_ip(a.value, out);
		else if (a.type == CTA_TUPLE_PROTO)
			err = read_proto(a.value, out);
		else if (a.type == CTA_TUPLE_ZONE && !read_u16(a.value, &out->zone))
			return ERR_PROTO;
	}
	return err || has_ip ? err : ERR_PROTO;
}

int conntrack_message_read(const struct nlmsghdr *m, struct conntrack_flow *out)
{
	struct conntrack_flow flow = { .orig.zone = 0 };
	struct nft_attr a;
	uint16_t zone = 0;
	bool has_orig = false, has_reply = false;
	if (m->nlmsg_len < sizeof *m + sizeof(struct nfgenmsg) || m->nlmsg_type != (NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW))
		return ERR_PROTO;
	for (struct span rest = nft_message_attrs(m); nft_attr_next(&rest, &a);) {
		int err = 0;
		if (a.type == CTA_TUPLE_ORIG) {
			err = read_tuple(a.value, &flow.orig);
			has_orig = true;
		} else if (a.type == CTA_TUPLE_REPLY) {
			err = read_tuple(a.value, &flow.reply);
			has_reply = true;
		} else if (a.type == CTA_ZONE && !read_u16(a.value, &zone)) {
			err = ERR_PROTO;
		}
		if (err)
			return err;
	}
	if (!has_orig || !has_reply)
		return ERR_PROTO;
	/* A zone of one direction only stands in its tuple. */
	if (zone)
		flow.orig.zone = flow.reply.zone = zone;
	*out = flow;
	return 0;
}
