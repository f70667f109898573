#include "nft_snapshot.h"

#include <linux/netfilter/nf_tables.h>
#include <string.h>

#include "nft_message.h"

/* No table of ours comes near it. */
#define PART_CAP (8u << 20)
#define TRIES 3

/* Attributes that make a thing, in the order of their numbers; the others tell of one that is there: handles, counts, positions. */
static const uint16_t table_attrs[] = { NFTA_TABLE_NAME, NFTA_TABLE_FLAGS, NFTA_TABLE_USERDATA, 0 };
static const uint16_t chain_attrs[] = { NFTA_CHAIN_TABLE, NFTA_CHAIN_NAME, NFTA_CHAIN_HOOK, NFTA_CHAIN_POLICY, NFTA_CHAIN_TYPE, NFTA_CHAIN_FLAGS,
					NFTA_CHAIN_USERDATA, 0 };
static const uint16_t set_attrs[] = { NFTA_SET_TABLE,  NFTA_SET_NAME,	    NFTA_SET_FLAGS,    NFTA_SET_KEY_TYPE, NFTA_SET_KEY_LEN,
				      NFTA_SET_DATA_TYPE, NFTA_SET_DATA_LEN, NFTA_SET_POLICY,   NFTA_SET_DESC,     NFTA_SET_TIMEOUT,
				      NFTA_SET_GC_INTERVAL, NFTA_SET_USERDATA, NFTA_SET_OBJ_TYPE, NFTA_SET_EXPR,     NFTA_SET_EXPRESSIONS, 0 };
static const uint16_t element_attrs[] = { NFTA_SET_ELEM_LIST_TABLE, NFTA_SET_ELEM_LIST_SET, NFTA_SET_ELEM_LIST_ELEMENTS, 0 };
static const uint16_t rule_attrs[] = { NFTA_RULE_TABLE, NFTA_RULE_CHAIN, NFTA_RULE_EXPRESSIONS, NFTA_RULE_COMPAT, NFTA_RULE_USERDATA, 0 };

static int append(struct buf *to, const struct nlmsghdr *m)
{
	static const char zeroes[NLMSG_ALIGNTO];
	to->cap = PART_CAP;
	int err = buf_append(to, m, m->nlmsg_len);
	return err || m->nlmsg_len % NLMSG_ALIGNTO == 0 ? err : buf_append(to, zeroes, NLMSG_ALIGNTO - m->nlmsg_len % NLMSG_ALIGNTO);
}

/* KSET_COUNT: none of those. */
static enum kernel_set managed_set(struct span name)
{
	enum kernel_set set = KSET_COUNT;
	(void)kernel_set_find(name, &set);
	return set;
}

int nft_snapshot_keep(struct nft_snapshot *s, const struct nlmsghdr *message)
{
	struct nft_message m;
	nft_message_read(message, &m);
	if (m.is_deletion)
		return 0;
	switch (m.kind) {
	case NFT_TABLE_ITSELF: return append(&s->table, message);
	case NFT_CHAIN: return append(&s->chains, message);
	case NFT_RULE: return append(&s->rules, message);
	case NFT_ELEMENTS: return append(&s->elements, message);
	case NFT_SET:
		if (managed_set(m.name) < KSET_COUNT)
			s->has_set[managed_set(m.name)] = true;
		else if (span_eq(m.name, SPAN_LIT("alive")))
			s->has_alive = true;
		return append(&s->sets, message);
	case NFT_OTHER:
	case NFT_GENERATION: break;
	}
	return 0;
}

static int keep(void *ctx, const struct nlmsghdr *message)
{
	return nft_snapshot_keep(ctx, message);
}

static int ask(struct nfnl *nl, uint16_t type, const char *set, struct nft_snapshot *s)
{
	struct nft_question question;
	nft_question(type, set, &question);
	return nfnl_ask(nl, &question.header, keep, s);
}

struct element_asker {
	struct nfnl *nl;
	struct nft_snapshot *s;
	int err;
};

static void ask_elements(void *ctx, const struct nlmsghdr *message)
{
	struct element_asker *asker = ctx;
	struct nft_message m;
	char name[64];
	nft_message_read(message, &m);
	if (asker->err || managed_set(m.name) < KSET_COUNT || span_eq(m.name, SPAN_LIT("alive")) || span_to_cstr(m.name, name, sizeof name))
		return;
	asker->err = ask(asker->nl, NFT_MSG_GETSETELEM, name, asker->s);
}

static int take(struct nfnl *nl, struct nft_snapshot *s)
{
	int err = ask(nl, NFT_MSG_GETTABLE, NULL, s);
	if (err || !s->table.len)
		return err ? err : ERR_NOTFOUND;
	err = ask(nl, NFT_MSG_GETCHAIN, NULL, s);
	if (!err)
		err = ask(nl, NFT_MSG_GETSET, NULL, s);
	struct element_asker asker = { nl, s, err };
	if (!err)
		nft_messages_each(buf_span(&s->sets), ask_elements, &asker);
	return asker.err ? asker.err : ask(nl, NFT_MSG_GETRULE, NULL, s);
}

int nft_snapshot_take(struct nfnl *nl, struct nft_snapshot *snapshot)
{
	int err = ERR_AGAIN;
	for (int i = 0; err == ERR_AGAIN && i < TRIES; i++) {
		struct nft_snapshot new = { .has_alive = false };
		err = take(nl, &new);
		if (err && err != ERR_NOTFOUND) {
			nft_snapshot_free(&new);
			continue;
		}
		nft_snapshot_free(snapshot);
		*snapshot = new;
	}
	return err;
}

bool nft_snapshot_has_chains(const struct nft_snapshot *s)
{
	return s->chains.len > 0;
}

struct search {
	struct span name, key;
	bool is_found;
};

static void compare_name(void *ctx, const struct nlmsghdr *message)
{
	struct search *search = ctx;
	struct nft_message m;
	nft_message_read(message, &m);
	search->is_found = search->is_found || span_eq(m.name, search->name);
}

bool nft_snapshot_has_chain(const struct nft_snapshot *s, struct span name)
{
	struct search search = { .name = name };
	nft_messages_each(buf_span(&s->chains), compare_name, &search);
	return search.is_found;
}

static void compare_key(void *ctx, const struct nft_element *element)
{
	struct search *search = ctx;
	search->is_found = search->is_found || span_eq((struct span){ (const char *)element->key, element->key_len }, search->key);
}

static void compare_element(void *ctx, const struct nlmsghdr *message)
{
	struct search *search = ctx;
	struct nft_message m;
	nft_message_read(message, &m);
	if (span_eq(m.name, search->name))
		nft_message_elements(message, compare_key, search);
}

bool nft_snapshot_has_element(const struct nft_snapshot *s, struct span set, struct span key)
{
	struct search search = { .name = set, .key = key };
	nft_messages_each(buf_span(&s->elements), compare_element, &search);
	return search.is_found;
}

/* ---- writing */

struct writer {
	struct nft_batch *batch;
	uint16_t message, flags;
	const uint16_t *attrs;
	uint32_t set_id;
};

static bool is_listed(const uint16_t *attrs, uint16_t type)
{
	while (*attrs && *attrs != type)
		attrs++;
	return *attrs != 0;
}

static void write_one(void *ctx, const struct nlmsghdr *message)
{
	struct writer *w = ctx;
	struct span rest = nft_message_attrs(message);
	struct nft_attr a;
	nft_batch_message(w->batch, w->message, w->flags);
	while (nft_attr_next(&rest, &a)) {
		struct nlattr head;
		if (!is_listed(w->attrs, a.type))
			continue;
		/* With the flags of its type. */
		memcpy(&head, a.whole.ptr, sizeof head);
		nft_batch_put(w->batch, head.nla_type, a.value.ptr, a.value.len);
	}
	if (w->message == NFT_MSG_NEWSET)
		nft_batch_put_u32(w->batch, NFTA_SET_ID, ++w->set_id);
}

void nft_snapshot_write(const struct nft_snapshot *s, struct nft_batch *batch)
{
	const struct {
		const struct buf *messages;
		struct writer writer;
	} parts[] = {
		{ &s->table, { batch, NFT_MSG_NEWTABLE, NLM_F_CREATE, table_attrs, 0 } },
		{ &s->chains, { batch, NFT_MSG_NEWCHAIN, NLM_F_CREATE, chain_attrs, 0 } },
		{ &s->sets, { batch, NFT_MSG_NEWSET, NLM_F_CREATE, set_attrs, 0 } },
		{ &s->elements, { batch, NFT_MSG_NEWSETELEM, NLM_F_CREATE, element_attrs, 0 } },
		{ &s->rules, { batch, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, rule_attrs, 0 } },
	};
	for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
		struct writer writer = parts[i].writer;
		nft_messages_each(buf_span(parts[i].messages), write_one, &writer);
	}
}

void nft_snapshot_free(struct nft_snapshot *s)
{
	buf_free(&s->table);
	buf_free(&s->chains);
	buf_free(&s->sets);
	buf_free(&s->elements);
	buf_free(&s->rules);
}
