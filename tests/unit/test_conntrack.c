/* test_conntrack - messages of connection tracking, whole and cut anywhere; and, as root, the kernel's own answers in a network namespace of
 * the test's own. */
#include "conntrack.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct endpoint at(const char *text)
{
	struct endpoint e;
	assert_int_equal(endpoint_parse(span_of(text), &e), 0);
	return e;
}

static const char *text_of(const struct conntrack_tuple *t)
{
	static char text[4][2 * ENDPOINT_TEXT_CAP + 10];
	static unsigned turn;
	char src[ENDPOINT_TEXT_CAP], dst[ENDPOINT_TEXT_CAP];
	char *to = text[turn++ % 4];
	(void)snprintf(to, sizeof text[0], "%s > %s zone %u", endpoint_format(&t->src, src), endpoint_format(&t->dst, dst), t->zone);
	return to;
}

union message {
	char bytes[2048];
	struct nlmsghdr head;
};

static void put_tuple(struct nlmsghdr *m, uint16_t type, const char *src, const char *dst, uint8_t protocol, uint16_t zone)
{
	struct endpoint a = at(src), b = at(dst);
	bool v6 = a.addr.family == ADDR_V6;
	struct nlattr *whole = mnl_attr_nest_start(m, type), *part = mnl_attr_nest_start(m, CTA_TUPLE_IP);
	mnl_attr_put(m, v6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, v6 ? 16 : 4, a.addr.bytes);
	mnl_attr_put(m, v6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, v6 ? 16 : 4, b.addr.bytes);
	mnl_attr_nest_end(m, part);
	part = mnl_attr_nest_start(m, CTA_TUPLE_PROTO);
	mnl_attr_put_u8(m, CTA_PROTO_NUM, protocol);
	mnl_attr_put_u16(m, CTA_PROTO_SRC_PORT, htons(a.port));
	mnl_attr_put_u16(m, CTA_PROTO_DST_PORT, htons(b.port));
	mnl_attr_nest_end(m, part);
	if (zone)
		mnl_attr_put_u16(m, CTA_TUPLE_ZONE, htons(zone));
	mnl_attr_nest_end(m, whole);
}

static void begin(union message *m)
{
	memset(m, 0, sizeof *m);
	mnl_nlmsg_put_header(m->bytes);
	m->head.nlmsg_type = NFNL_SUBSYS_CTNETLINK << 8 | IPCTNL_MSG_CT_NEW;
	(void)mnl_nlmsg_put_extra_header(&m->head, sizeof(struct nfgenmsg));
}

static void reads_flows(void **state)
{
	union message m;
	struct conntrack_flow flow;
	(void)state;
	begin(&m);
	mnl_attr_put_u32(&m.head, CTA_MARK, 7);
	put_tuple(&m.head, CTA_TUPLE_ORIG, "192.0.2.10:4711", "203.0.113.25:25", IPPROTO_TCP, 0);
	put_tuple(&m.head, CTA_TUPLE_REPLY, "192.0.2.1:2525", "192.0.2.10:4711", IPPROTO_TCP, 0);
	mnl_attr_put_u16(&m.head, CTA_ZONE, htons(5));
	assert_int_equal(conntrack_message_read(&m.head, &flow), 0);
	assert_string_equal(text_of(&flow.orig), "192.0.2.10:4711 > 203.0.113.25:25 zone 5");
	assert_string_equal(text_of(&flow.reply), "192.0.2.1:2525 > 192.0.2.10:4711 zone 5");

	begin(&m);
	put_tuple(&m.head, CTA_TUPLE_ORIG, "[2001:db8::10]:4711", "[2001:db8::25]:25", IPPROTO_TCP, 9);
	put_tuple(&m.head, CTA_TUPLE_REPLY, "[2001:db8::1]:2525", "[2001:db8::10]:4711", IPPROTO_TCP, 0);
	assert_int_equal(conntrack_message_read(&m.head, &flow), 0);
	assert_string_equal(text_of(&flow.orig), "[2001:db8::10]:4711 > [2001:db8::25]:25 zone 9");
	assert_string_equal(text_of(&flow.reply), "[2001:db8::1]:2525 > [2001:db8::10]:4711 zone 0");

	begin(&m);
	put_tuple(&m.head, CTA_TUPLE_ORIG, "192.0.2.10:53", "203.0.113.25:53", IPPROTO_UDP, 0);
	put_tuple(&m.head, CTA_TUPLE_REPLY, "203.0.113.25:53", "192.0.2.10:53", IPPROTO_UDP, 0);
	assert_int_equal(conntrack_message_read(&m.head, &flow), ERR_UNSUPPORTED);
	m.head.nlmsg_type++;
	assert_int_equal(conntrack_message_read(&m.head, &flow), ERR_PROTO);
	begin(&m);
	put_tuple(&m.head, CTA_TUPLE_ORIG, "192.0.2.10:4711", "203.0.113.25:25", IPPROTO_TCP, 0);
	assert_int_equal(conntrack_message_read(&m.head, &flow), ERR_PROTO);
}

/* In a block of exactly that size; and every byte another one. */
static void bears_anything(void **state)
{
	union message m;
	struct conntrack_flow flow;
	(void)state;
	begin(&m);
	put_tuple(&m.head, CTA_TUPLE_ORIG, "192.0.2.10:4711", "203.0.113.25:25", IPPROTO_TCP, 5);
	put_tuple(&m.head, CTA_TUPLE_REPLY, "192.0.2.1:2525", "192.0.2.10:4711", IPPROTO_TCP, 5);
	uint32_t len = m.head.nlmsg_len;
	for (uint32_t cut = sizeof m.head; cut < len; cut++) {
		struct nlmsghdr *copy = malloc(cut);
		assert_non_null(copy);
		memcpy(copy, m.bytes, cut);
		copy->nlmsg_len = cut;
		assert_int_not_equal(conntrack_message_read(copy, &flow), 0);
		free(copy);
	}
	for (uint32_t i = sizeof m.head; i < len; i++) {
		for (unsigned change = 1; change < 256; change <<= 1) {
			struct nlmsghdr *copy = malloc(len);
			assert_non_null(copy);
			memcpy(copy, m.bytes, len);
			((char *)copy)[i] ^= (char)change;
			(void)conntrack_message_read(copy, &flow);
			free(copy);
		}
	}
}

static void asks_for_one_flow_only(void **state)
{
	const struct addr nobody = { .family = ADDR_NONE };
	union message m;
	struct conntrack_tuple tuple = { at("192.0.2.1:2525"), at("[2001:db8::10]:25"), 0 };
	(void)state;
	assert_int_equal(conntrack_question_build(CONNTRACK_DELETE, &tuple, true, m.bytes), ERR_INVAL);
	tuple = (struct conntrack_tuple){ .zone = 0 };
	assert_int_equal(conntrack_question_build(CONNTRACK_DELETE, &tuple, true, m.bytes), ERR_INVAL);
	assert_int_equal(conntrack_dump_build(ADDR_NONE, NULL, 25, m.bytes), ERR_INVAL);
	assert_int_equal(conntrack_dump_build(ADDR_V4, &nobody, 25, m.bytes), ERR_INVAL);
	tuple = (struct conntrack_tuple){ at("[2001:db8::1]:2525"), at("[2001:db8::10]:25"), 65535 };
	assert_int_equal(conntrack_question_build(CONNTRACK_DELETE, &tuple, false, m.bytes), 0);
	assert_true(m.head.nlmsg_len <= CONNTRACK_QUESTION_CAP);
}

/* ---- the kernel */

static const char rules[] = "table inet t {\n"
			    "chain raw { type filter hook output priority raw\n"
			    "ip saddr 127.0.0.5 ct zone set 5\n"
			    "ip daddr 127.0.0.5 ct zone set 5\n"
			    "ip saddr 127.0.0.6 ct original zone set 6\n"
			    "}\n"
			    "chain rawin { type filter hook prerouting priority raw\n"
			    "ip saddr 127.0.0.5 ct zone set 5\n"
			    "ip daddr 127.0.0.5 ct zone set 5\n"
			    "}\n"
			    "chain out { type nat hook output priority -100\n"
			    "ip daddr 127.1.0.0/16 tcp dport 25 redirect to :2525\n"
			    "ip6 daddr ::1 tcp dport 25 redirect to :2525\n"
			    "}\n"
			    "}\n";

static bool is_set_up;

/* A namespace with a loopback of its own; without the rights the tests that need it are skipped. */
static int set_up(void **state)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	(void)state;
	if (unshare(CLONE_NEWNET) != 0)
		return 0;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	if (fd >= 0)
		(void)close(fd);
	FILE *nft = is_up ? popen("nft -f - 2>/dev/null", "w") : NULL;
	if (nft)
		is_set_up = fwrite(rules, 1, sizeof rules - 1, nft) == sizeof rules - 1;
	is_set_up = nft && pclose(nft) == 0 && is_set_up;
	return 0;
}

static int socket_at(const char *address)
{
	struct endpoint e = at(address);
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(&e, &sa);
	const int on = 1;
	int fd = socket(e.addr.family == ADDR_V6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (e.addr.family == ADDR_V6)
		(void)setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, sizeof on);
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
	return fd;
}

struct connection {
	int client_fd, fd;
	struct endpoint local, client;
};

static struct endpoint name_of(int fd, int (*get)(int, struct sockaddr *, socklen_t *))
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	struct endpoint e;
	assert_int_equal(get(fd, (struct sockaddr *)&sa, &len), 0);
	assert_int_equal(endpoint_from_sockaddr((struct sockaddr *)&sa, &e), 0);
	return e;
}

static int get_sock(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getsockname(fd, sa, len);
}

static int get_peer(int fd, struct sockaddr *sa, socklen_t *len)
{
	return getpeername(fd, sa, len);
}

static struct connection connect_to(int listener, const char *from, const char *to)
{
	struct endpoint e = at(to);
	struct sockaddr_storage sa;
	socklen_t len = endpoint_to_sockaddr(&e, &sa);
	struct connection c = { .client_fd = socket_at(from) };
	assert_int_equal(connect(c.client_fd, (struct sockaddr *)&sa, len), 0);
	c.fd = accept(listener, NULL, NULL);
	assert_true(c.fd >= 0);
	c.local = name_of(c.fd, get_sock);
	c.client = name_of(c.fd, get_peer);
	return c;
}

static void part(struct connection *c)
{
	(void)close(c->client_fd);
	(void)close(c->fd);
}

static void the_kernel_knows_the_destination(void **state)
{
	static const struct {
		const char *listener, *from, *to;
		uint16_t zone, other_zone;
	} cases[] = {
		{ "0.0.0.0:2525", "127.0.0.1:0", "127.1.0.1:25", 0, 1 },
		{ "[::]:2525", "[::1]:0", "[::1]:25", 0, 1 },
		{ "0.0.0.0:2525", "127.0.0.5:0", "127.1.0.1:25", 5, 0 },
		/* Of one direction: the answers are in none. */
		{ "0.0.0.0:2525", "127.0.0.6:0", "127.1.0.1:25", 0, 6 },
	};
	struct nfnl *nl = NULL;
	char text[ENDPOINT_TEXT_CAP];
	(void)state;
	if (!is_set_up)
		skip();
	assert_int_equal(nfnl_open(&nl, NULL), 0);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct endpoint original = { .port = 1 };
		int listener = socket_at(cases[i].listener);
		assert_int_equal(listen(listener, 5), 0);
		struct connection c = connect_to(listener, cases[i].from, cases[i].to);
		assert_int_equal(conntrack_original(nl, cases[i].other_zone, &c.local, &c.client, &original), ERR_NOTFOUND);
		assert_int_equal(original.port, 1);
		assert_int_equal(conntrack_original(nl, cases[i].zone, &c.local, &c.client, &original), 0);
		assert_string_equal(endpoint_format(&original, text), cases[i].to);
		assert_int_equal(conntrack_forget(nl, cases[i].other_zone, &c.local, &c.client), ERR_NOTFOUND);
		assert_int_equal(conntrack_forget(nl, cases[i].zone, &c.local, &c.client), 0);
		assert_int_equal(conntrack_original(nl, cases[i].zone, &c.local, &c.client, &original), ERR_NOTFOUND);
		assert_int_equal(conntrack_forget(nl, cases[i].zone, &c.local, &c.client), ERR_NOTFOUND);
		part(&c);
		(void)close(listener);
	}
	nfnl_close(&nl);
}

static int forget_range(struct nfnl *nl, const struct addr *from, const struct addr *to, unsigned *count)
{
	const struct kernel_element range = { .from = *from, .to = *to };
	const struct conntrack_clients clients = { .ranges = &range, .count = 1 };
	return conntrack_forget_clients(nl, &clients, 25, count);
}

static void the_kernel_forgets_a_client(void **state)
{
	static const char *const froms[] = { "127.0.0.1:0", "127.0.0.5:0", "127.0.0.6:0", "127.0.0.7:0" };
	static const unsigned kept[] = { 3, 2, 1, 300 };
	static struct connection connections[400];
	struct nfnl *nl = NULL;
	unsigned count = 0, made = 0;
	(void)state;
	if (!is_set_up)
		skip();
	assert_int_equal(nfnl_open(&nl, NULL), 0);
	int listener = socket_at("0.0.0.0:2525"), other = socket_at("0.0.0.0:2626");
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(listen(other, 5), 0);
	for (size_t i = 0; i < sizeof froms / sizeof froms[0]; i++)
		for (unsigned k = 0; k < kept[i]; k++)
			connections[made++] = connect_to(listener, froms[i], "127.1.0.1:25");
	int listener6 = socket_at("[::]:2525");
	struct endpoint from6 = at("[::1]:0");
	assert_int_equal(listen(listener6, 5), 0);
	struct connection six[2] = { connect_to(listener6, "[::1]:0", "[::1]:25"), connect_to(listener6, "[::1]:0", "[::1]:25") };
	assert_int_equal(forget_range(nl, &from6.addr, &from6.addr, &count), 0);
	assert_int_equal(count, 2);
	part(&six[0]);
	part(&six[1]);
	(void)close(listener6);
	/* To another port, and of somebody else: they stay. */
	struct connection aside = connect_to(other, froms[0], "127.1.0.1:2626");
	for (size_t i = 0; i < sizeof froms / sizeof froms[0]; i++) {
		struct endpoint from = at(froms[i]);
		assert_int_equal(forget_range(nl, &from.addr, &from.addr, &count), 0);
		assert_int_equal(count, kept[i]);
		assert_int_equal(forget_range(nl, &from.addr, &from.addr, &count), 0);
		assert_int_equal(count, 0);
	}
	assert_int_equal(conntrack_forget(nl, 0, &aside.local, &aside.client), 0);
	part(&aside);
	while (made > 0)
		part(&connections[--made]);
	(void)close(listener);
	(void)close(other);
	nfnl_close(&nl);
}

static bool is_six(void *ctx, const struct addr *client)
{
	(void)ctx;
	return client->family == ADDR_V4 && client->bytes[3] == 6;
}

static struct kernel_element range_of(const char *text)
{
	struct kernel_element e;
	assert_int_equal(kernel_element_parse(span_of(text), &e), 0);
	return e;
}

/* Networks within each other and aside, of both families, in one walk; but not who is spared, nor who is at the edge. */
static void the_kernel_forgets_networks(void **state)
{
	static const char *const froms[] = { "127.0.0.3:0", "127.0.0.4:0", "127.0.0.6:0", "127.0.0.7:0", "127.0.0.8:0", "127.0.0.20:0", "127.0.0.21:0" };
	struct kernel_element ranges[] = { range_of("127.0.0.20"), range_of("::1"), range_of("127.0.0.4/30"), range_of("127.0.0.5"), range_of("10.0.0.0/8") };
	struct conntrack_clients clients = { ranges, sizeof ranges / sizeof ranges[0], is_six, NULL };
	struct connection connections[8];
	struct nfnl *nl = NULL;
	unsigned count = 0;
	(void)state;
	if (!is_set_up)
		skip();
	assert_int_equal(nfnl_open(&nl, NULL), 0);
	int listener = socket_at("0.0.0.0:2525"), listener6 = socket_at("[::]:2525");
	assert_int_equal(listen(listener, 5), 0);
	assert_int_equal(listen(listener6, 5), 0);
	for (size_t i = 0; i < 7; i++)
		connections[i] = connect_to(listener, froms[i], "127.1.0.1:25");
	connections[7] = connect_to(listener6, "[::1]:0", "[::1]:25");
	conntrack_clients_sort(ranges, clients.count);
	assert_int_equal(conntrack_forget_clients(nl, &clients, 25, &count), 0);
	assert_int_equal(count, 4);
	conntrack_clients_sort(ranges, clients.count);
	assert_int_equal(conntrack_forget_clients(nl, &clients, 25, &count), 0);
	assert_int_equal(count, 0);
	for (size_t i = 0; i < 8; i++) {
		bool is_kept = i == 0 || i == 2 || i == 4 || i == 6;
		assert_int_equal(conntrack_forget(nl, 0, &connections[i].local, &connections[i].client), is_kept ? 0 : ERR_NOTFOUND);
		part(&connections[i]);
	}
	(void)close(listener);
	(void)close(listener6);
	nfnl_close(&nl);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(reads_flows), cmocka_unit_test(bears_anything), cmocka_unit_test(asks_for_one_flow_only),
					    cmocka_unit_test(the_kernel_knows_the_destination), cmocka_unit_test(the_kernel_forgets_a_client),
					    cmocka_unit_test(the_kernel_forgets_networks) };
	return cmocka_run_group_tests(tests, set_up, NULL);
}
