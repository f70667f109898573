/* NFQUEUE: its messages as the kernel writes them, cut anywhere; and the real thing, in a network namespace of this process's own. */
#include "nfqueue.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "packet.h"

/* ---- messages */

struct wire {
	_Alignas(8) char bytes[512];
	size_t len;
};

static void begin(struct wire *w, uint16_t type)
{
	struct nlmsghdr nlh = { .nlmsg_type = type };
	struct nfgenmsg nfg = { .nfgen_family = AF_INET };
	memcpy(w->bytes, &nlh, sizeof nlh);
	memcpy(w->bytes + sizeof nlh, &nfg, sizeof nfg);
	w->len = sizeof nlh + sizeof nfg;
}

static void put(struct wire *w, uint16_t type, const void *value, size_t len)
{
	struct nlattr attr = { .nla_len = (uint16_t)(sizeof attr + len), .nla_type = type };
	memcpy(w->bytes + w->len, &attr, sizeof attr);
	memcpy(w->bytes + w->len + sizeof attr, value, len);
	w->len += (sizeof attr + len + 3) & ~(size_t)3;
}

static void finish(struct wire *w)
{
	uint32_t len = (uint32_t)w->len;
	memcpy(w->bytes, &len, sizeof len);
}

static struct wire make_packet(void)
{
	struct wire w = { .len = 0 };
	const struct nfqnl_msg_packet_hdr head = { .packet_id = htonl(7) };
	const uint32_t mark = htonl(0x10), ifindex = htonl(3);
	begin(&w, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET);
	put(&w, NFQA_PACKET_HDR, &head, sizeof head);
	put(&w, NFQA_MARK, &mark, sizeof mark);
	put(&w, NFQA_IFINDEX_INDEV, &ifindex, sizeof ifindex);
	put(&w, NFQA_PAYLOAD, "payload", 7);
	finish(&w);
	return w;
}

static enum nfqueue_message read_front(const struct wire *w, size_t len, struct nfqueue_packet *packet, int *errnum)
{
	/* Of exactly that size, so that a sanitizer sees a read beyond; the head lies in it, and is looked at before it goes. */
	char *exact = malloc(len ? len : 1);
	assert_non_null(exact);
	memcpy(exact, w->bytes, len);
	enum nfqueue_message kind = nfqueue_message_read((struct span){ exact, len }, packet, errnum);
	if (kind == NFQUEUE_PACKET)
		assert_true(span_eq(packet->head, SPAN_LIT("payload")) || packet->head.len == 0);
	free(exact);
	return kind;
}

static void test_read_packet(void **unused)
{
	struct wire w = make_packet();
	struct nfqueue_packet packet = { 0 };
	int errnum = -1;
	(void)unused;
	assert_int_equal(read_front(&w, w.len, &packet, &errnum), NFQUEUE_PACKET);
	assert_true(packet.id == 7 && packet.mark == 0x10 && packet.ifindex == 3 && packet.head.len == 7);
	for (size_t len = 0; len < w.len; len++)
		assert_int_equal(read_front(&w, len, &packet, &errnum), NFQUEUE_OTHER);
	/* A message that says it is shorter than its attributes. */
	for (uint32_t len = 0; len < w.len; len++) {
		memcpy(w.bytes, &len, sizeof len);
		(void)read_front(&w, w.len, &packet, &errnum);
	}
	begin(&w, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET);
	put(&w, NFQA_MARK, "\0\0", 2);
	finish(&w);
	assert_int_equal(read_front(&w, w.len, &packet, &errnum), NFQUEUE_OTHER);
	begin(&w, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET);
	finish(&w);
	assert_int_equal(read_front(&w, w.len, &packet, &errnum), NFQUEUE_OTHER);
}

static void test_read_ack(void **unused)
{
	struct wire w = { .len = 0 };
	struct nfqueue_packet packet;
	struct nlmsghdr nlh = { .nlmsg_type = NLMSG_ERROR, .nlmsg_len = sizeof nlh + sizeof(struct nlmsgerr) };
	struct nlmsgerr answer = { .error = -EPERM };
	int errnum = -1;
	(void)unused;
	memcpy(w.bytes, &nlh, sizeof nlh);
	memcpy(w.bytes + sizeof nlh, &answer, sizeof answer);
	w.len = nlh.nlmsg_len;
	assert_int_equal(read_front(&w, w.len, &packet, &errnum), NFQUEUE_ACK);
	assert_int_equal(errnum, EPERM);
	answer.error = 0;
	memcpy(w.bytes + sizeof nlh, &answer, sizeof answer);
	assert_int_equal(read_front(&w, w.len, &packet, &errnum), NFQUEUE_ACK);
	assert_int_equal(errnum, 0);
	answer.error = 5; /* not a thing that the kernel says */
	memcpy(w.bytes + sizeof nlh, &answer, sizeof answer);
	assert_int_equal(read_front(&w, w.len, &packet, &errnum), NFQUEUE_ACK);
	assert_int_equal(errnum, EIO);
	for (size_t len = 0; len < w.len; len++)
		assert_int_equal(read_front(&w, len, &packet, &errnum), NFQUEUE_OTHER);
}

static void test_build(void **unused)
{
	_Alignas(8) char out[NFQUEUE_SETUP_CAP];
	const struct nfqueue_verdict plain = { .action = NFQUEUE_DROP }, marked = { .action = NFQUEUE_ACCEPT, .sets_mark = true, .mark = 5 };
	struct nlmsghdr nlh;
	(void)unused;
	assert_in_range(nfqueue_setup_build(&(struct nfqueue_setup){ 2525, 128, 1024, true }, out), sizeof nlh, NFQUEUE_SETUP_CAP);
	assert_in_range(nfqueue_verdict_build(2525, 9, &plain, out), sizeof nlh, NFQUEUE_VERDICT_CAP);
	size_t len = nfqueue_verdict_build(2525, 9, &marked, out);
	assert_in_range(len, sizeof nlh, NFQUEUE_VERDICT_CAP);
	memcpy(&nlh, out, sizeof nlh);
	assert_int_equal(nlh.nlmsg_len, len);
	assert_int_equal(nlh.nlmsg_type, NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_VERDICT_BATCH);
}

/* ---- the kernel */

#define QUEUE 25

static bool has_namespace;

static int enter_namespace(void **unused)
{
	(void)unused;
	has_namespace = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 &&
			system("ip link set lo up && iptables -w -A OUTPUT -p tcp --syn -j NFQUEUE --queue-num 25 --queue-bypass >/dev/null 2>&1 && "
			       "ip6tables -w -A OUTPUT -p tcp --syn -j NFQUEUE --queue-num 25 --queue-bypass >/dev/null 2>&1") == 0;
	return 0;
}

struct seen {
	unsigned count;
	struct packet_tcp last;
};

/* Port 9 is dropped. */
static struct nfqueue_verdict judge(void *ctx, const struct nfqueue_packet *packet)
{
	struct seen *seen = ctx;
	assert_int_equal(packet_read(packet->head, &seen->last), 0);
	seen->count++;
	return (struct nfqueue_verdict){ .action = seen->last.to.port == 9 ? NFQUEUE_DROP : NFQUEUE_ACCEPT, .sets_mark = true, .mark = 5 };
}

static int start_connecting(int family, uint16_t port)
{
	struct endpoint to = { .port = port };
	struct sockaddr_storage sa;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_true(fd >= 0);
	assert_int_equal(addr_parse(span_of(family == AF_INET ? "127.0.0.1" : "::1"), &to.addr), 0);
	socklen_t len = endpoint_to_sockaddr(&to, &sa);
	assert_true(connect(fd, (struct sockaddr *)&sa, len) != 0);
	return fd;
}

static void judge_until(struct nfqueue *q, struct seen *seen, unsigned count)
{
	for (int tries = 0; seen->count < count && tries < 50; tries++) {
		struct pollfd p = { .fd = nfqueue_fd(q), .events = POLLIN };
		(void)poll(&p, 1, 100);
		assert_int_equal(nfqueue_run(q, judge, seen), 0);
	}
	assert_in_range(seen->count, count, 100);
}

static void check_family(int family)
{
	const struct nfqueue_setup setup = { .number = QUEUE, .copy_bytes = PACKET_HEAD_MAX, .length = 64, .is_fail_open = true };
	struct nfqueue *q = NULL, *second = NULL;
	struct nfqueue_counts counts;
	struct seen seen = { 0 };
	struct reason why;
	char byte;
	assert_int_equal(nfqueue_counts_read(QUEUE, &counts), ERR_NOTFOUND);
	assert_int_equal(nfqueue_open(&setup, &q, &why), 0);
	assert_int_equal(nfqueue_open(&setup, &second, &why), ERR_BUSY);
	assert_non_null(strstr(why.text, "taken"));
	assert_int_equal(nfqueue_run(q, judge, &seen), 0); /* nothing there yet */
	/* Nobody listens: an accepted SYN is refused at once, a dropped one is not answered. */
	int dropped = start_connecting(family, 9), refused = start_connecting(family, 8);
	assert_int_equal(nfqueue_counts_read(QUEUE, &counts), 0);
	assert_int_equal(counts.waiting, 2);
	judge_until(q, &seen, 2);
	assert_int_equal(seen.last.to.port, 8);
	assert_int_equal(seen.last.flags & (PACKET_SYN | PACKET_ACK), PACKET_SYN);
	struct pollfd p = { .fd = refused, .events = POLLOUT };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(recv(refused, &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNREFUSED);
	p.fd = dropped;
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(nfqueue_counts_read(QUEUE, &counts), 0);
	assert_true(counts.waiting == 0 && counts.queued >= 2 && counts.dropped_full == 0);
	nfqueue_close(&q);
	assert_null(q);
	nfqueue_close(&q);
	close(dropped);
	close(refused);
}

static void test_kernel(void **unused)
{
	(void)unused;
	if (!has_namespace)
		skip();
	check_family(AF_INET);
	check_family(AF_INET6);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_read_packet), cmocka_unit_test(test_read_ack), cmocka_unit_test(test_build),
					    cmocka_unit_test_setup(test_kernel, enter_namespace) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
