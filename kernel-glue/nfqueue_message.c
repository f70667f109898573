#include "nfqueue_message.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <string.h>

/* Cut as it was announced: a message may be longer than its buffer. */
static bool is_message(struct span bytes, const struct nlmsghdr *nlh)
{
	return bytes.len >= sizeof *nlh && nlh->nlmsg_len >= sizeof *nlh && nlh->nlmsg_len <= bytes.len;
}

static enum nfqueue_message read_ack(const struct nlmsghdr *nlh, int *errnum_out)
{
	struct nlmsgerr answer;
	if (nlh->nlmsg_len < sizeof *nlh + sizeof answer)
		return NFQUEUE_OTHER;
	memcpy(&answer, mnl_nlmsg_get_payload(nlh), sizeof answer);
	*errnum_out = answer.error <= 0 && answer.error > -4096 ? -answer.error : EIO;
	return NFQUEUE_ACK;
}

static bool read_u32(const struct nlattr *attr, uint32_t *out)
{
	if (mnl_attr_get_payload_len(attr) < sizeof *out)
		return false;
	memcpy(out, mnl_attr_get_payload(attr), sizeof *out);
	*out = ntohl(*out);
	return true;
}

static bool read_attribute(const struct nlattr *attr, struct nfqueue_packet *out)
{
	switch (mnl_attr_get_type(attr)) {
	case NFQA_PACKET_HDR: return read_u32(attr, &out->id); /* the id is its first member */
	case NFQA_MARK: return read_u32(attr, &out->mark);
	case NFQA_IFINDEX_INDEV: return read_u32(attr, &out->ifindex);
	case NFQA_PAYLOAD: out->head = (struct span){ mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr) }; return true;
	default: return true;
	}
}

enum nfqueue_message nfqueue_message_read(struct span bytes, struct nfqueue_packet *packet_out, int *errnum_out)
{
	const struct nlmsghdr *nlh = (const void *)bytes.ptr;
	const struct nlattr *attr;
	struct nfqueue_packet packet = { 0 };
	bool has_id = false;
	if (!is_message(bytes, nlh))
		return NFQUEUE_OTHER;
	if (nlh->nlmsg_type == NLMSG_ERROR)
		return read_ack(nlh, errnum_out);
	if (nlh->nlmsg_type != (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET) || nlh->nlmsg_len < sizeof *nlh + sizeof(struct nfgenmsg))
		return NFQUEUE_OTHER;
	const char *end = mnl_nlmsg_get_payload_tail(nlh);
	for (attr = mnl_nlmsg_get_payload_offset(nlh, sizeof(struct nfgenmsg)); mnl_attr_ok(attr, (int)(end - (const char *)attr));
	     attr = mnl_attr_next(attr)) {
		if (!read_attribute(attr, &packet))
			return NFQUEUE_OTHER;
		has_id = has_id || mnl_attr_get_type(attr) == NFQA_PACKET_HDR;
	}
	if (!has_id)
		return NFQUEUE_OTHER;
	*packet_out = packet;
	return NFQUEUE_PACKET;
}

static struct nlmsghdr *begin(void *out, uint16_t number, unsigned type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(out);
	nlh->nlmsg_type = (uint16_t)(NFNL_SUBSYS_QUEUE << 8 | type);
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	struct nfgenmsg *nfg = mnl_nlmsg_put_extra_header(nlh, sizeof *nfg);
	nfg->nfgen_family = AF_UNSPEC;
	nfg->version = NFNETLINK_V0;
	nfg->res_id = htons(number);
	return nlh;
}

size_t nfqueue_setup_build(const struct nfqueue_setup *setup, void *out)
{
	struct nlmsghdr *nlh = begin(out, setup->number, NFQNL_MSG_CONFIG, NLM_F_ACK);
	const struct nfqnl_msg_config_cmd bind = { .command = NFQNL_CFG_CMD_BIND, .pf = htons(AF_UNSPEC) };
	const struct nfqnl_msg_config_params params = { .copy_range = htonl(setup->copy_bytes), .copy_mode = NFQNL_COPY_PACKET };
	/* GSO: a segment that is to be cut later comes whole, and its checksum need not be made for us. */
	const uint32_t flags = NFQA_CFG_F_GSO | (setup->is_fail_open ? NFQA_CFG_F_FAIL_OPEN : 0);
	mnl_attr_put(nlh, NFQA_CFG_CMD, sizeof bind, &bind);
	mnl_attr_put(nlh, NFQA_CFG_PARAMS, sizeof params, &params);
	mnl_attr_put_u32(nlh, NFQA_CFG_QUEUE_MAXLEN, htonl(setup->length));
	mnl_attr_put_u32(nlh, NFQA_CFG_FLAGS, htonl(flags));
	mnl_attr_put_u32(nlh, NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
	return nlh->nlmsg_len;
}

size_t nfqueue_verdict_build(uint16_t number, uint32_t up_to_id, const struct nfqueue_verdict *verdict, void *out)
{
	struct nlmsghdr *nlh = begin(out, number, NFQNL_MSG_VERDICT_BATCH, 0);
	const struct nfqnl_msg_verdict_hdr head = { .verdict = htonl(verdict->action == NFQUEUE_ACCEPT ? NF_ACCEPT : NF_DROP), .id = htonl(up_to_id) };
	mnl_attr_put(nlh, NFQA_VERDICT_HDR, sizeof head, &head);
	if (verdict->sets_mark)
		mnl_attr_put_u32(nlh, NFQA_MARK, htonl(verdict->mark));
	return nlh->nlmsg_len;
}
