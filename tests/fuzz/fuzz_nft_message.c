/* Messages of nf_tables and ipset: whatever the kernel, or bytes that pretend to be it, say is read within its bounds; what a snapshot keeps of it can
 * be written as a transaction; and a line of the sets' text reads back. */
#include "nft_message.h"

#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>
#include <string.h>

#include "err.h"
#include "ipset.h"
#include "iptables_rules.h"
#include "nft_sets.h"
#include "nft_snapshot.h"
#include "set_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define NOW 1700000000

struct world {
	struct set_table *table;
	struct nft_snapshot snapshot;
	size_t elements;
	struct iptables_rules iptables;
};

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void count_element(void *ctx, const struct nft_element *element)
{
	struct world *w = ctx;
	require(element->key_len > 0 && element->key_len <= sizeof element->key);
	w->elements++;
}

static void one_message(void *ctx, const struct nlmsghdr *message)
{
	struct world *w = ctx;
	struct nft_message m;
	nft_message_read(message, &m);
	require(m.name.len <= message->nlmsg_len && m.process.len <= message->nlmsg_len);
	nft_message_elements(message, count_element, w);
	iptables_rules_take(&w->iptables, message);
	require(w->iptables.count <= IPTABLES_CHAINS_MAX);
	require(nft_snapshot_keep(&w->snapshot, message) == 0);
	for (enum kernel_set set = 0; set < KSET_COUNT; set++) {
		struct nft_set_reader reader;
		nft_sets_read_begin(&reader, w->table, set, NOW);
		nft_sets_read(&reader, message);
		(void)nft_sets_read_end(&reader);
		require(ipset_read(w->table, set, NOW, message) == 0);
	}
}

static void write_back(const struct world *w)
{
	struct nft_batch batch = { .err = 0 };
	nft_batch_begin(&batch);
	nft_snapshot_write(&w->snapshot, &batch);
	if (nft_batch_end(&batch) == 0) {
		const struct nlmsghdr *first = (const void *)batch.bytes.data;
		require(first->nlmsg_type == NFNL_MSG_BATCH_BEGIN && first->nlmsg_len <= batch.bytes.len);
	}
	nft_batch_free(&batch);
}

static void check_texts(const struct world *w)
{
	struct set_entry entry;
	size_t cursor = 0;
	while (set_table_next(w->table, &cursor, &entry)) {
		char line[SET_TEXT_LINE_CAP];
		struct kernel_element back;
		enum kernel_set set = entry.set;
		size_t len = set_text_line(entry.set, &entry.element, line);
		require(len > 1 && len < sizeof line);
		require(set_text_parse((struct span){ line, len - 1 }, &set, &back) == 0);
		require(set == entry.set && addr_eq(&back.from, &entry.element.from) && addr_eq(&back.to, &entry.element.to));
		require(back.expires_at == entry.element.expires_at);
	}
}

static void check_line(struct span line)
{
	struct kernel_element element;
	enum kernel_set set;
	if (set_text_parse(line, &set, &element) == 0)
		require(kernel_element_fits(&element, set));
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static struct world w;
	memset(&w, 0, sizeof w);
	void *copy = malloc(size + 1);
	if (!copy || set_table_create(&w.table) != 0)
		abort();
	memcpy(copy, bytes, size);
	nft_messages_each((struct span){ copy, size }, one_message, &w);
	write_back(&w);
	check_texts(&w);
	check_line((struct span){ copy, size });
	nft_snapshot_free(&w.snapshot);
	set_table_destroy(&w.table);
	free(copy);
	return 0;
}
