#include "nft_batch.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <string.h>

#define BATCH_CAP (16u << 20)
/* The length of the attribute around them has 16 bits. */
#define ELEMENTS_A_MESSAGE 400u

static void append(struct nft_batch *b, const void *bytes, size_t len)
{
	static const char zeroes[NLMSG_ALIGNTO];
	if (!b->err)
		b->err = buf_append(&b->bytes, bytes, len);
	if (!b->err && len % NLMSG_ALIGNTO)
		b->err = buf_append(&b->bytes, zeroes, NLMSG_ALIGNTO - len % NLMSG_ALIGNTO);
}

static uint16_t type_of(uint16_t message)
{
	return (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | message);
}

struct frame {
	struct nlmsghdr header;
	struct nfgenmsg family;
};

/* A message ends where the next one begins, or the batch. */
static void close_message(struct nft_batch *b)
{
	struct nlmsghdr header;
	if (b->err || b->bytes.len == b->message)
		return;
	memcpy(&header, b->bytes.data + b->message, sizeof header);
	header.nlmsg_len = (uint32_t)(b->bytes.len - b->message);
	memcpy(b->bytes.data + b->message, &header, sizeof header);
}

static void open_message(struct nft_batch *b, uint16_t type, uint16_t flags, uint8_t family, uint16_t subsystem)
{
	const struct frame frame = {
		.header = { .nlmsg_type = type, .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags), .nlmsg_seq = b->seq++ },
		.family = { .nfgen_family = family, .version = NFNETLINK_V0, .res_id = htons(subsystem) },
	};
	close_message(b);
	b->message = b->bytes.len;
	append(b, &frame, sizeof frame);
}

void nft_batch_begin(struct nft_batch *b)
{
	buf_clear(&b->bytes);
	b->bytes.cap = BATCH_CAP;
	b->err = 0;
	b->seq = 0;
	b->message = 0;
	open_message(b, NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
}

void nft_batch_message(struct nft_batch *b, uint16_t type, uint16_t flags)
{
	open_message(b, type_of(type), flags, NFPROTO_INET, 0);
}

void nft_batch_put(struct nft_batch *b, uint16_t type, const void *bytes, size_t len)
{
	const struct nlattr head = { .nla_len = (uint16_t)(sizeof head + len), .nla_type = type };
	if (len > UINT16_MAX - sizeof head)
		b->err = b->err ? b->err : ERR_TOOLONG;
	append(b, &head, sizeof head);
	append(b, bytes, len);
}

void nft_batch_put_text(struct nft_batch *b, uint16_t type, const char *text)
{
	nft_batch_put(b, type, text, strlen(text) + 1);
}

void nft_batch_put_u32(struct nft_batch *b, uint16_t type, uint32_t value)
{
	const uint32_t travels = htobe32(value);
	nft_batch_put(b, type, &travels, sizeof travels);
}

void nft_batch_put_u64(struct nft_batch *b, uint16_t type, uint64_t value)
{
	const uint64_t travels = htobe64(value);
	nft_batch_put(b, type, &travels, sizeof travels);
}

size_t nft_batch_nest(struct nft_batch *b, uint16_t type)
{
	size_t at = b->bytes.len;
	nft_batch_put(b, type | NLA_F_NESTED, NULL, 0);
	return at;
}

void nft_batch_unnest(struct nft_batch *b, size_t nest)
{
	size_t len = b->bytes.len - nest;
	struct nlattr head;
	if (b->err)
		return;
	if (len > UINT16_MAX) {
		b->err = ERR_TOOLONG;
		return;
	}
	memcpy(&head, b->bytes.data + nest, sizeof head);
	head.nla_len = (uint16_t)len;
	memcpy(b->bytes.data + nest, &head, sizeof head);
}

static void open_elements(struct nft_elements *e)
{
	nft_batch_message(e->batch, e->message, e->message == NFT_MSG_NEWSETELEM ? NLM_F_CREATE : 0);
	nft_batch_put_text(e->batch, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
	nft_batch_put_text(e->batch, NFTA_SET_ELEM_LIST_SET, e->set);
	e->nest = nft_batch_nest(e->batch, NFTA_SET_ELEM_LIST_ELEMENTS);
}

void nft_elements_add(struct nft_batch *batch, const char *set, struct nft_elements *out)
{
	*out = (struct nft_elements){ .batch = batch, .message = NFT_MSG_NEWSETELEM, .set = set };
}

void nft_elements_delete(struct nft_batch *batch, const char *set, struct nft_elements *out)
{
	*out = (struct nft_elements){ .batch = batch, .message = NFT_MSG_DELSETELEM, .set = set };
}

void nft_elements_each(struct nft_elements *e, const void *key, size_t key_len, uint32_t flags, uint64_t timeout_ms)
{
	struct nft_batch *b = e->batch;
	if (e->count && e->count % ELEMENTS_A_MESSAGE == 0)
		nft_batch_unnest(b, e->nest);
	if (e->count++ % ELEMENTS_A_MESSAGE == 0)
		open_elements(e);
	size_t element = nft_batch_nest(b, NFTA_LIST_ELEM);
	size_t data = nft_batch_nest(b, NFTA_SET_ELEM_KEY);
	nft_batch_put(b, NFTA_DATA_VALUE, key, key_len);
	nft_batch_unnest(b, data);
	if (flags)
		nft_batch_put_u32(b, NFTA_SET_ELEM_FLAGS, flags);
	if (timeout_ms && e->message == NFT_MSG_NEWSETELEM)
		nft_batch_put_u64(b, NFTA_SET_ELEM_TIMEOUT, timeout_ms);
	nft_batch_unnest(b, element);
}

void nft_elements_end(struct nft_elements *e)
{
	if (e->count)
		nft_batch_unnest(e->batch, e->nest);
}

int nft_batch_end(struct nft_batch *b)
{
	open_message(b, NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	close_message(b);
	return b->err;
}

void nft_batch_free(struct nft_batch *b)
{
	buf_free(&b->bytes);
}

void nft_question_family(uint16_t type, uint8_t family_number, struct nft_question *out)
{
	memset(out, 0, sizeof *out);
	struct nlmsghdr *m = mnl_nlmsg_put_header(&out->header);
	m->nlmsg_type = type_of(type);
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	struct nfgenmsg *family = mnl_nlmsg_put_extra_header(m, sizeof *family);
	family->nfgen_family = family_number;
	family->version = NFNETLINK_V0;
}

void nft_question(uint16_t type, const char *set, struct nft_question *out)
{
	nft_question_family(type, NFPROTO_INET, out);
	/* The first two attributes of rules, sets and elements alike; of tables and chains everything in the family comes. */
	if (type == NFT_MSG_GETRULE || type == NFT_MSG_GETSET || set)
		mnl_attr_put_strz(&out->header, NFTA_SET_ELEM_LIST_TABLE, NFT_TABLE);
	if (set)
		mnl_attr_put_strz(&out->header, NFTA_SET_ELEM_LIST_SET, set);
}
