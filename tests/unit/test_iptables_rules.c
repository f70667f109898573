/* What iptables has in nf_tables, read: chains without rules, or without a jump to them, are found; and whatever the bytes are, nothing is read beyond. */
#include "iptables_rules.h"

#include <libmnl/libmnl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

union message {
	char bytes[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
	struct nlmsghdr head;
};

static void begin(union message *m, uint8_t type, uint8_t family)
{
	memset(m, 0, sizeof *m);
	mnl_nlmsg_put_header(m->bytes);
	m->head.nlmsg_type = NFNL_SUBSYS_NFTABLES << 8;
	m->head.nlmsg_type |= type;
	struct nfgenmsg *head = mnl_nlmsg_put_extra_header(&m->head, sizeof *head);
	head->nfgen_family = family;
}

static void chain(union message *m, uint8_t family, const char *table, const char *name)
{
	begin(m, NFT_MSG_NEWCHAIN, family);
	mnl_attr_put_strz(&m->head, NFTA_CHAIN_TABLE, table);
	mnl_attr_put_strz(&m->head, NFTA_CHAIN_NAME, name);
}

/* A match, and where it jumps to (NULL: nowhere). */
static void rule(union message *m, uint8_t family, const char *table, const char *in, const char *to)
{
	begin(m, NFT_MSG_NEWRULE, family);
	mnl_attr_put_strz(&m->head, NFTA_RULE_TABLE, table);
	mnl_attr_put_strz(&m->head, NFTA_RULE_CHAIN, in);
	struct nlattr *list = mnl_attr_nest_start(&m->head, NFTA_RULE_EXPRESSIONS), *one = mnl_attr_nest_start(&m->head, NFTA_LIST_ELEM);
	mnl_attr_put_strz(&m->head, NFTA_EXPR_NAME, "meta");
	mnl_attr_nest_end(&m->head, one);
	if (to) {
		one = mnl_attr_nest_start(&m->head, NFTA_LIST_ELEM);
		mnl_attr_put_strz(&m->head, NFTA_EXPR_NAME, "immediate");
		struct nlattr *data = mnl_attr_nest_start(&m->head, NFTA_EXPR_DATA), *value = mnl_attr_nest_start(&m->head, NFTA_IMMEDIATE_DATA);
		struct nlattr *verdict = mnl_attr_nest_start(&m->head, NFTA_DATA_VERDICT);
		mnl_attr_put_strz(&m->head, NFTA_VERDICT_CHAIN, to);
		mnl_attr_nest_end(&m->head, verdict);
		mnl_attr_nest_end(&m->head, value);
		mnl_attr_nest_end(&m->head, data);
		mnl_attr_nest_end(&m->head, one);
	}
	mnl_attr_nest_end(&m->head, list);
}

static void add_chain(struct iptables_rules *r, uint8_t family, const char *table, const char *name, const char *jump_from, bool has_rule)
{
	union message m;
	chain(&m, family, table, name);
	iptables_rules_take(r, &m.head);
	if (has_rule) {
		rule(&m, family, table, name, NULL);
		iptables_rules_take(r, &m.head);
	}
	if (jump_from) {
		rule(&m, family, table, jump_from, name);
		iptables_rules_take(r, &m.head);
	}
}

static void judges(void **state)
{
	static struct iptables_rules r;
	const struct iptables_chain *which;
	(void)state;
	memset(&r, 0, sizeof r);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V4, "wan", &which), IPTABLES_NONE);
	add_chain(&r, NFPROTO_IPV4, "nat", "POSTERN_wan", "PREROUTING", true);
	add_chain(&r, NFPROTO_IPV4, "raw", "POSTERNG_wan", "PREROUTING", true);
	add_chain(&r, NFPROTO_IPV4, "nat", "SOMEBODY", NULL, false);
	assert_int_equal(r.count, 2);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V4, "wan", &which), IPTABLES_WHOLE);
	assert_null(which);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V6, "wan", &which), IPTABLES_NONE);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V4, "wan.1", &which), IPTABLES_NONE);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V4, "an", &which), IPTABLES_NONE);
	/* A jump in another table is none. */
	add_chain(&r, NFPROTO_IPV4, "mangle", "POSTERNI_wan", NULL, true);
	add_chain(&r, NFPROTO_IPV6, "mangle", "POSTERNI_wan", "PREROUTING", true);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V4, "wan", &which), IPTABLES_BROKEN);
	assert_string_equal(which->name, "POSTERNI_wan");
	/* One that diverts is missing. */
	assert_int_equal(iptables_rules_judge(&r, ADDR_V6, "wan", &which), IPTABLES_BROKEN);
	assert_null(which);
	add_chain(&r, NFPROTO_IPV6, "mangle", "POSTERN_wan", "PREROUTING", false);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V6, "wan", &which), IPTABLES_BROKEN);
	assert_string_equal(which->name, "POSTERN_wan");
	/* Names of interfaces have dots, lines and large letters, too. */
	add_chain(&r, NFPROTO_IPV4, "nat", "POSTERN_Br_A0.100", "PREROUTING", true);
	assert_int_equal(iptables_rules_judge(&r, ADDR_V4, "Br_A0.100", &which), IPTABLES_WHOLE);
}

static void bears_many_and_long_ones(void **state)
{
	static struct iptables_rules r;
	char name[300];
	(void)state;
	memset(&r, 0, sizeof r);
	memset(name, 'N', sizeof name);
	memcpy(name, "POSTERN_", 8);
	name[sizeof name - 1] = '\0';
	add_chain(&r, NFPROTO_IPV4, "nat", name, "PREROUTING", true);
	assert_int_equal(r.count, 0);
	for (unsigned i = 0; i < 2 * IPTABLES_CHAINS_MAX; i++) {
		(void)snprintf(name, sizeof name, "POSTERN_i%u", i);
		add_chain(&r, NFPROTO_IPV4, "nat", name, "PREROUTING", true);
	}
	assert_int_equal(r.count, IPTABLES_CHAINS_MAX);
}

/* In a block of exactly that size; and every bit another one. */
static void bears_anything(void **state)
{
	static struct iptables_rules r;
	union message m;
	(void)state;
	for (int kind = 0; kind < 2; kind++) {
		memset(&r, 0, sizeof r);
		add_chain(&r, NFPROTO_IPV4, "nat", "POSTERN_wan", NULL, false);
		if (kind)
			rule(&m, NFPROTO_IPV4, "nat", "PREROUTING", "POSTERN_wan");
		else
			chain(&m, NFPROTO_IPV4, "nat", "POSTERN_lan");
		uint32_t len = m.head.nlmsg_len;
		for (uint32_t cut = sizeof m.head; cut < len; cut++) {
			struct nlmsghdr *copy = malloc(cut);
			assert_non_null(copy);
			memcpy(copy, m.bytes, cut);
			copy->nlmsg_len = cut;
			iptables_rules_take(&r, copy);
			free(copy);
			assert_false(r.chains[0].is_jumped_to);
		}
		for (uint32_t i = sizeof m.head; i < len; i++)
			for (unsigned change = 1; change < 256; change <<= 1) {
				struct nlmsghdr *copy = malloc(len);
				assert_non_null(copy);
				memcpy(copy, m.bytes, len);
				((char *)copy)[i] ^= (char)change;
				iptables_rules_take(&r, copy);
				free(copy);
			}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(judges), cmocka_unit_test(bears_many_and_long_ones), cmocka_unit_test(bears_anything) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
