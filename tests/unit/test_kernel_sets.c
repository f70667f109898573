/* The kernel's sets: their names and elements as text, the copy of them, and what nf_tables says of them. */
#include "kernel_sets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <linux/netfilter/nf_tables.h>
#include <stdio.h>
#include <string.h>

#include "err.h"
#include "heartbeat.h"
#include "nft_sets.h"
#include "nft_snapshot.h"
#include "set_text.h"

#define NOW 1700000000

static struct kernel_element element(const char *text, int64_t expires_at)
{
	struct kernel_element e;
	assert_int_equal(kernel_element_parse(span_of(text), &e), 0);
	e.expires_at = expires_at;
	return e;
}

static void same_text(const char *in, const char *out)
{
	char text[KERNEL_ELEMENT_TEXT_CAP];
	const struct kernel_element e = element(in, 0);
	assert_string_equal(kernel_element_format(&e, text), out);
}

static void test_elements(void **unused)
{
	static const char *const bad[] = { "", "x", "1.2.3", "1.2.3.4/33", "1.2.3.4/", "/8", "1.2.3.4-", "1.2.3.4-1.2.3.3", "1.2.3.4-::1", "::/129", "1.2.3.4 " };
	struct kernel_element e;
	(void)unused;
	same_text("192.0.2.1", "192.0.2.1");
	same_text("192.0.2.9/24", "192.0.2.0/24");
	same_text("0.0.0.0/0", "0.0.0.0/0");
	same_text("192.0.2.1/32", "192.0.2.1");
	same_text("192.0.2.4-192.0.2.7", "192.0.2.4/30");
	same_text("192.0.2.4-192.0.2.8", "192.0.2.4-192.0.2.8");
	same_text("255.255.255.255", "255.255.255.255");
	same_text("2001:db8::/32", "2001:db8::/32");
	same_text("::/0", "::/0");
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(kernel_element_parse(span_of(bad[i]), &e), ERR_SYNTAX);
	e = element("10.0.0.0/8", 0);
	assert_true(kernel_element_fits(&e, KSET_BLOCK_NET4));
	assert_false(kernel_element_fits(&e, KSET_BLOCK4));
	assert_false(kernel_element_fits(&e, KSET_BLOCK_NET6));
}

static void test_names(void **unused)
{
	enum kernel_set found;
	(void)unused;
	for (enum kernel_set set = 0; set < KSET_COUNT; set++) {
		assert_int_equal(kernel_set_find(span_of(kernel_set_name(set)), &found), 0);
		assert_int_equal(found, set);
	}
	assert_int_equal(kernel_set_find(SPAN_LIT("alive"), &found), ERR_NOTFOUND);
	assert_int_equal(kernel_set_of(KSET_BLOCK, ADDR_V6), KSET_BLOCK6);
	assert_int_equal(kernel_set_of(KSET_BLOCK_NET, ADDR_V4), KSET_BLOCK_NET4);
}

static void test_text(void **unused)
{
	static const char *const bad[] = { "block4", "block4 1.2.3.4", "block4 1.2.3.4 x", "block4 1.2.3.4 -1", "block4 1.2.3.0/24 0", "block6 1.2.3.4 0",
					   "nothing4 1.2.3.4 0", "block4 1.2.3.4 0 0", "block4  1.2.3.4 0", " block4 1.2.3.4 0" };
	char line[SET_TEXT_LINE_CAP];
	struct kernel_element e = element("2001:db8::/33", 1234567890), back;
	enum kernel_set set;
	(void)unused;
	size_t len = set_text_line(KSET_BLOCK_NET6, &e, line);
	assert_string_equal(line, "block_net6 2001:db8::/33 1234567890\n");
	assert_int_equal(set_text_parse((struct span){ line, len - 1 }, &set, &back), 0);
	assert_int_equal(set, KSET_BLOCK_NET6);
	assert_memory_equal(&back, &e, sizeof e);
	/* Cut anywhere it is another number, or nothing. */
	for (size_t cut = 0; cut + 11 < len; cut++)
		assert_int_not_equal(set_text_parse((struct span){ line, cut }, &set, &back), 0);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(set_text_parse(span_of(bad[i]), &set, &back), ERR_SYNTAX);
	assert_int_equal(set_text_parse(span_of(SET_TEXT_HEAD), &set, &back), ERR_NOTFOUND);
}

static struct kernel_element numbered(uint32_t n)
{
	struct kernel_element e = { .from = { .family = ADDR_V4, .bytes = { 10, (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n } } };
	e.to = e.from;
	return e;
}

static void test_table(void **unused)
{
	enum { MANY = 20000 };
	struct set_table *table;
	struct set_entry entry;
	size_t cursor = 0, met = 0;
	(void)unused;
	assert_int_equal(set_table_create(&table), 0);
	assert_false(set_table_next(table, &cursor, &entry));
	for (uint32_t i = 0; i < MANY; i++) {
		struct kernel_element e = numbered(i);
		e.expires_at = i % 2 ? NOW + i : 0;
		assert_int_equal(set_table_put(table, KSET_BLOCK4, &e, i % 3 == 0), 0);
		assert_int_equal(set_table_put(table, KSET_PASS4, &e, true), 0);
	}
	assert_int_equal(set_table_count(table, KSET_BLOCK4), MANY);
	/* Again: no second one, another time. */
	struct kernel_element e = numbered(7);
	e.expires_at = NOW + 99;
	assert_int_equal(set_table_put(table, KSET_BLOCK4, &e, true), 0);
	assert_int_equal(set_table_count(table, KSET_BLOCK4), MANY);
	assert_true(set_table_find(table, KSET_BLOCK4, &e, &entry));
	assert_int_equal(entry.element.expires_at, NOW + 99);
	assert_true(entry.is_in_kernel);
	while (set_table_next(table, &cursor, &entry))
		met += entry.set == KSET_BLOCK4;
	assert_int_equal(met, MANY);
	/* Of the odd ones those up to that second have expired, but for the one that was prolonged. */
	set_table_sweep(table, NOW + 10, 2 * MANY + 10);
	assert_int_equal(set_table_count(table, KSET_BLOCK4), MANY - 4);
	/* A listing takes away what the kernel had and has no more, and nothing else. */
	set_table_listing_begin(table, KSET_BLOCK4);
	e = numbered(0);
	assert_int_equal(set_table_put(table, KSET_BLOCK4, &e, true), 0);
	set_table_listing_end(table, KSET_BLOCK4);
	assert_true(set_table_find(table, KSET_BLOCK4, &e, &entry));
	e = numbered(12);
	assert_false(set_table_find(table, KSET_BLOCK4, &e, &entry));
	e = numbered(14);
	assert_true(set_table_find(table, KSET_BLOCK4, &e, &entry));
	assert_true(set_table_find(table, KSET_PASS4, &e, &entry));
	set_table_lost(table, KSET_PASS4);
	assert_true(set_table_find(table, KSET_PASS4, &e, &entry));
	assert_false(entry.is_in_kernel);
	assert_true(set_table_remove(table, KSET_PASS4, &e));
	assert_false(set_table_remove(table, KSET_PASS4, &e));
	set_table_destroy(&table);
	assert_null(table);
}

/* ---- messages: what we write ourselves has the form of what the kernel says */

struct messages {
	struct nft_batch batch;
	struct set_table *table;
	enum kernel_set set;
	struct nft_set_reader reader;
	size_t seen;
};

static void read_one(void *ctx, const struct nlmsghdr *message)
{
	struct messages *m = ctx;
	struct nft_message what;
	nft_message_read(message, &what);
	if (what.kind != NFT_ELEMENTS)
		return;
	m->seen++;
	assert_true(span_eq(what.name, span_of(kernel_set_name(m->set))));
	nft_sets_read(&m->reader, message);
}

static void write_and_read(enum kernel_set set, const char *const texts[], size_t count, uint64_t timeout_ms)
{
	struct messages m = { .set = set };
	struct nft_elements to;
	assert_int_equal(set_table_create(&m.table), 0);
	nft_batch_begin(&m.batch);
	nft_elements_add(&m.batch, kernel_set_name(set), &to);
	/* Backwards: the kernel tells of ranges in any order. */
	for (size_t i = count; i-- > 0;) {
		const struct kernel_element e = element(texts[i], 0);
		nft_sets_write(&to, &e, kernel_set_is_net(set), timeout_ms);
	}
	nft_elements_end(&to);
	assert_int_equal(nft_batch_end(&m.batch), 0);
	nft_sets_read_begin(&m.reader, m.table, set, NOW);
	nft_messages_each(buf_span(&m.batch.bytes), read_one, &m);
	assert_int_equal(nft_sets_read_end(&m.reader), 0);
	assert_int_equal(m.seen, 1);
	assert_int_equal(set_table_count(m.table, set), count);
	for (size_t i = 0; i < count; i++) {
		const struct kernel_element e = element(texts[i], 0);
		struct set_entry entry;
		assert_true(set_table_find(m.table, set, &e, &entry));
		assert_int_equal(entry.element.expires_at, timeout_ms ? NOW + (int64_t)timeout_ms / 1000 : 0);
	}
	nft_batch_free(&m.batch);
	set_table_destroy(&m.table);
}

static void test_elements_travel(void **unused)
{
	static const char *const four[] = { "192.0.2.1", "0.0.0.0", "255.255.255.255" };
	static const char *const six[] = { "2001:db8::1", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" };
	static const char *const nets[] = { "10.0.0.0/8", "11.0.0.0/8", "192.0.2.1", "192.0.2.7-192.0.2.9", "255.255.255.0/24" };
	static const char *const all[] = { "::/0" };
	(void)unused;
	write_and_read(KSET_BLOCK4, four, 3, 60000);
	write_and_read(KSET_PASS6, six, 3, 0);
	write_and_read(KSET_BLOCK_NET4, nets, 5, 3600000);
	write_and_read(KSET_BLOCK_NET6, all, 1, 0);
}

static void test_many_take_several_messages(void **unused)
{
	struct messages m = { .set = KSET_BLOCK4 };
	struct nft_elements to;
	(void)unused;
	assert_int_equal(set_table_create(&m.table), 0);
	nft_batch_begin(&m.batch);
	nft_elements_add(&m.batch, "block4", &to);
	for (uint32_t i = 0; i < 5000; i++) {
		const struct kernel_element e = numbered(i);
		nft_sets_write(&to, &e, false, 1000);
	}
	nft_elements_end(&to);
	assert_int_equal(nft_batch_end(&m.batch), 0);
	nft_sets_read_begin(&m.reader, m.table, m.set, NOW);
	nft_messages_each(buf_span(&m.batch.bytes), read_one, &m);
	assert_int_equal(nft_sets_read_end(&m.reader), 0);
	assert_true(m.seen > 1);
	assert_int_equal(set_table_count(m.table, KSET_BLOCK4), 5000);
	nft_batch_free(&m.batch);
	set_table_destroy(&m.table);
}

static void ignore(void *ctx, const struct nft_element *e)
{
	(void)ctx;
	assert_true(e->key_len > 0 && e->key_len <= NFT_KEY_CAP);
}

static void read_and_keep(void *ctx, const struct nlmsghdr *message)
{
	struct nft_message what;
	nft_message_read(message, &what);
	nft_message_elements(message, ignore, NULL);
	assert_int_equal(nft_snapshot_keep(ctx, message), 0);
}

static void test_cut_messages(void **unused)
{
	struct nft_batch batch = { .err = 0 };
	const struct heartbeat_iface ifaces[] = { { "wan", true, HEARTBEAT_CLOSED }, { "lan", false, HEARTBEAT_OPEN } };
	struct nlmsghdr header;
	char copy[4096] __attribute__((aligned(8)));
	(void)unused;
	nft_batch_begin(&batch);
	heartbeat_write(&batch, ifaces, 2, 5000);
	assert_int_equal(nft_batch_end(&batch), 0);
	assert_true(batch.bytes.len < sizeof copy);
	/* The first message behind the begin, cut everywhere, with a head that admits it and one that doesn't. */
	memcpy(&header, batch.bytes.data, sizeof header);
	size_t from = header.nlmsg_len;
	memcpy(&header, batch.bytes.data + from, sizeof header);
	size_t len = header.nlmsg_len;
	for (size_t cut = sizeof header; cut <= len; cut++) {
		struct nft_snapshot snapshot = { .has_alive = false };
		memcpy(copy, batch.bytes.data + from, len);
		nft_messages_each((struct span){ copy, cut }, read_and_keep, &snapshot);
		header.nlmsg_len = (uint32_t)cut;
		memcpy(copy, &header, sizeof header);
		nft_messages_each((struct span){ copy, cut }, read_and_keep, &snapshot);
		nft_snapshot_free(&snapshot);
	}
	nft_batch_free(&batch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_elements),		cmocka_unit_test(test_names),
		cmocka_unit_test(test_text),			cmocka_unit_test(test_table),
		cmocka_unit_test(test_elements_travel),		cmocka_unit_test(test_many_take_several_messages),
		cmocka_unit_test(test_cut_messages),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
