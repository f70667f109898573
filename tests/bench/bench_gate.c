/* bench_gate: the parts of tests/bench/gate that have to be fast.
 *   bench_gate flood ADDRESS SECONDS              SYNs to port 25 of ADDRESS from ever new sources in 10/8 or 2001:db8:f::/48
 *   bench_gate bare QUEUE                         accepts whatever is in that queue and does nothing else, until it is ended
 *   bench_gate accept PORT                        a server that greets and closes, until it is ended; transparent, both families
 *   bench_gate connect ADDRESS PORT SECONDS N     N connections at a time, each until its greeting: how many, and how long until they were open
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nfqueue.h"
#include "packet.h"

#define BATCH 64
#define SAMPLES 2000000u

__attribute__((noreturn)) static void die(const char *what)
{
	perror(what);
	exit(1);
}

static double now(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t next_random(void)
{
	static uint64_t state = 88172645463325252u;
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* ---- flood */

static int flood(const char *to, double seconds)
{
	static uint8_t packets[BATCH][PACKET_ANSWER_CAP];
	struct mmsghdr headers[BATCH];
	struct iovec parts[BATCH];
	struct sockaddr_storage sa;
	struct packet_answer syn = { .flags = PACKET_SYN, .window = 64240, .mss = 1460, .to.port = 25 };
	if (addr_parse(span_of(to), &syn.to.addr))
		die(to);
	const bool is_v6 = syn.to.addr.family == ADDR_V6;
	const struct endpoint host = { .addr = syn.to.addr };
	socklen_t sa_len = endpoint_to_sockaddr(&host, &sa);
	int fd = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW);
	if (fd < 0)
		die("raw socket");
	(void)addr_parse(span_of(is_v6 ? "2001:db8:f::" : "10.0.0.0"), &syn.from.addr);
	uint64_t sent = 0;
	for (double end = now() + seconds; now() < end;) {
		for (int i = 0; i < BATCH; i++) {
			uint64_t r = next_random();
			syn.from.port = (uint16_t)(1024 + r % 60000);
			syn.seq = (uint32_t)(r >> 32);
			/* Some of the 65,536 sources that the rules may name, and 24 (48) random bits else. */
			memcpy(syn.from.addr.bytes + (is_v6 ? 10 : 1), &r, is_v6 ? 6 : 3);
			parts[i] = (struct iovec){ packets[i], packet_build(&syn, packets[i]) };
			headers[i].msg_hdr = (struct msghdr){ .msg_name = &sa, .msg_namelen = sa_len, .msg_iov = &parts[i], .msg_iovlen = 1 };
		}
		int count = sendmmsg(fd, headers, BATCH, 0);
		sent += count > 0 ? (uint64_t)count : 0;
	}
	printf("%llu\n", (unsigned long long)sent);
	return 0;
}

/* ---- the bare loop: no reading but of the id, which is in the first attribute */

static int bare(uint16_t number)
{
	enum { ID_AT = sizeof(struct nlmsghdr) + sizeof(struct nfgenmsg) + sizeof(struct nlattr) };
	static _Alignas(8) char messages[BATCH][PACKET_HEAD_MAX + 512];
	static _Alignas(8) char out[NFQUEUE_SETUP_CAP];
	const struct nfqueue_setup setup = { number, PACKET_HEAD_MAX, 8192, true };
	const struct nfqueue_verdict accept = { .action = NFQUEUE_ACCEPT };
	struct mmsghdr headers[BATCH];
	struct iovec parts[BATCH];
	struct nfqueue *queue = NULL;
	struct reason why;
	uint32_t id;
	if (nfqueue_open(&setup, &queue, &why)) {
		fprintf(stderr, "%s\n", why.text);
		return 1;
	}
	int fd = nfqueue_fd(queue);
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){ 0, 0 }, sizeof(struct timeval));
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ messages[i], sizeof messages[i] };
		headers[i].msg_hdr = (struct msghdr){ .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	(void)puts("ready");
	(void)fflush(stdout);
	for (;;) {
		int count = recvmmsg(fd, headers, BATCH, MSG_WAITFORONE, NULL);
		if (count <= 0)
			continue;
		if (headers[count - 1].msg_len < ID_AT + sizeof id)
			continue;
		memcpy(&id, messages[count - 1] + ID_AT, sizeof id);
		(void)send(fd, out, nfqueue_verdict_build(number, ntohl(id), &accept, out), 0);
	}
}

/* ---- connections */

static void linger_none(int fd)
{
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
}

static int serve(uint16_t port)
{
	int epoll = epoll_create1(0);
	for (int f = 0; f < 2; f++) {
		int family = f ? AF_INET6 : AF_INET, on = 1;
		int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		struct endpoint local = { .addr = { .family = f ? ADDR_V6 : ADDR_V4 }, .port = port };
		struct sockaddr_storage sa;
		socklen_t len = endpoint_to_sockaddr(&local, &sa);
		(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
		if (f)
			(void)setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, sizeof on);
		if (setsockopt(fd, f ? SOL_IPV6 : SOL_IP, f ? IPV6_TRANSPARENT : IP_TRANSPARENT, &on, sizeof on) != 0)
			die("transparent");
		if (bind(fd, (struct sockaddr *)&sa, len) != 0 || listen(fd, 4096) != 0)
			die("listen");
		struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };
		(void)epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
	}
	for (;;) {
		struct epoll_event event;
		if (epoll_wait(epoll, &event, 1, -1) != 1)
			continue;
		for (int fd; (fd = accept4(event.data.fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
			(void)send(fd, "220 x\r\n", 7, MSG_NOSIGNAL);
			(void)close(fd);
		}
	}
}

struct attempt {
	int fd;
	bool is_open;
	double began;
};

static float *samples;
static size_t sample_count;

static void begin(int epoll, struct attempt *a, size_t index, const struct sockaddr_storage *sa, socklen_t len)
{
	a->fd = socket(sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (a->fd < 0)
		die("socket");
	linger_none(a->fd);
	a->is_open = false;
	a->began = now();
	if (connect(a->fd, (const struct sockaddr *)sa, len) != 0 && errno != EINPROGRESS)
		die("connect");
	struct epoll_event event = { .events = EPOLLOUT, .data.u64 = index };
	(void)epoll_ctl(epoll, EPOLL_CTL_ADD, a->fd, &event);
}

/* True when it has its greeting. */
static bool step(int epoll, struct attempt *a, size_t index)
{
	char greeting[64];
	if (!a->is_open) {
		int error = 0;
		socklen_t len = sizeof error;
		(void)getsockopt(a->fd, SOL_SOCKET, SO_ERROR, &error, &len);
		if (error) {
			errno = error;
			die("connect");
		}
		if (sample_count < SAMPLES)
			samples[sample_count++] = (float)((now() - a->began) * 1e6);
		a->is_open = true;
		struct epoll_event event = { .events = EPOLLIN, .data.u64 = index };
		(void)epoll_ctl(epoll, EPOLL_CTL_MOD, a->fd, &event);
		return false;
	}
	return recv(a->fd, greeting, sizeof greeting, 0) != -1;
}

static int compare(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return x < y ? -1 : x > y;
}

static int run_connects(const char *to, uint16_t port, double seconds, size_t n)
{
	static struct attempt attempts[1024];
	struct endpoint target = { .port = port };
	struct sockaddr_storage sa;
	uint64_t done = 0;
	samples = calloc(SAMPLES, sizeof *samples);
	if (!samples || addr_parse(span_of(to), &target.addr) || n == 0 || n > 1024)
		die(to);
	socklen_t len = endpoint_to_sockaddr(&target, &sa);
	int epoll = epoll_create1(0);
	for (size_t i = 0; i < n; i++)
		begin(epoll, &attempts[i], i, &sa, len);
	double start = now();
	while (now() < start + seconds) {
		struct epoll_event events[64];
		int count = epoll_wait(epoll, events, 64, 1000);
		for (int e = 0; e < count; e++) {
			size_t i = (size_t)events[e].data.u64;
			if (!step(epoll, &attempts[i], i))
				continue;
			done++;
			(void)close(attempts[i].fd);
			begin(epoll, &attempts[i], i, &sa, len);
		}
	}
	double took = now() - start;
	qsort(samples, sample_count, sizeof *samples, compare);
	printf("{\"per_second\": %.0f, \"p50_us\": %.1f, \"p99_us\": %.1f, \"count\": %llu}\n", (double)done / took,
	       sample_count ? (double)samples[sample_count / 2] : 0, sample_count ? (double)samples[sample_count * 99 / 100] : 0,
	       (unsigned long long)done);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "flood") == 0)
		return flood(argv[2], atof(argv[3]));
	if (argc == 3 && strcmp(argv[1], "bare") == 0)
		return bare((uint16_t)atoi(argv[2]));
	if (argc == 3 && strcmp(argv[1], "accept") == 0)
		return serve((uint16_t)atoi(argv[2]));
	if (argc == 6 && strcmp(argv[1], "connect") == 0)
		return run_connects(argv[2], (uint16_t)atoi(argv[3]), atof(argv[4]), (size_t)atoi(argv[5]));
	fprintf(stderr, "see the top of tests/bench/bench_gate.c\n");
	return 2;
}
