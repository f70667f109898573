/* bench_held ADDRESS IFACE COUNT ARRIVALS PROBES SECONDS: COUNT peers with addresses of their own (10/8, or a /48 each in fd00::/8), who connect to port 25
 * of ADDRESS, ARRIVALS of them a second, hear the greeting, say EHLO, and find the window closed: then they are held. Afterwards they ask PROBES times a second, one
 * after the other, for SECONDS whether it has opened. What they know of their connection is kept here, 5 bytes for each; raw sockets
 * speak for all of them.
 * Prints a line of JSON when they are held, and one at the end. */
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "packet.h"

#define PASSES 8
#define WINDOW 4u
#define PORT 40000u
#define WHOLE_LIMIT_S 120.0

enum state { NEW, OPEN, HELD };

static struct {
	struct endpoint to;
	struct sockaddr_storage sa;
	socklen_t sa_len;
	int raw, heard;
	uint32_t count;
	uint32_t *theirs;
	uint8_t *states;
	uint32_t held, answers;
} b;

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

/* Neighbours in time are in different networks. */
static void address_of(uint32_t i, struct addr *out)
{
	const uint8_t net[2] = { (uint8_t)(i >> 8), (uint8_t)i };
	*out = (struct addr){ .family = b.to.addr.family };
	if (out->family == ADDR_V4) {
		memcpy(out->bytes, (uint8_t[4]){ 10, net[0], net[1], (uint8_t)(i >> 16) }, 4);
		return;
	}
	memcpy(out->bytes, (uint8_t[16]){ 0xfd, 0, (uint8_t)(i >> 16), net[0], net[1], 1, [15] = 1 }, 16);
}

static bool number_of(const struct addr *a, uint32_t *out)
{
	const uint8_t *at = a->family == ADDR_V4 ? a->bytes + 1 : a->bytes + 3;
	if (a->family != b.to.addr.family || a->bytes[0] != (a->family == ADDR_V4 ? 10 : 0xfd))
		return false;
	*out = (uint32_t)(a->family == ADDR_V4 ? a->bytes[3] : a->bytes[2]) << 16 | (uint32_t)at[0] << 8 | at[1];
	return *out < b.count;
}

static uint32_t first_of(uint32_t i)
{
	return i * 2654435761u;
}

static void say(uint32_t i, uint8_t flags, uint32_t position, uint32_t heard, const char *payload)
{
	uint8_t packet[PACKET_ANSWER_CAP];
	struct packet_answer p = { .to = b.to, .from.port = PORT, .flags = flags, .seq = first_of(i) + position, .window = 64240,
				   .payload = span_of(payload) };
	address_of(i, &p.from.addr);
	if (flags & PACKET_ACK)
		p.ack = b.theirs[i] + 1 + heard;
	else
		p.mss = 1460;
	size_t len = packet_build(&p, packet);
	while (sendto(b.raw, packet, len, 0, (struct sockaddr *)&b.sa, b.sa_len) < 0 && errno == ENOBUFS) {
	}
}

static uint32_t greeting_len;

static void hear(const struct packet_tcp *p)
{
	uint32_t i;
	if (p->from.port != b.to.port || p->to.port != PORT || !number_of(&p->to.addr, &i))
		return;
	if (p->flags & PACKET_SYN) {
		if (b.states[i] != NEW || p->ack != first_of(i) + 1)
			return;
		b.theirs[i] = p->seq;
		b.states[i] = OPEN;
		say(i, PACKET_ACK, 1, 0, NULL);
	} else if (p->payload_bytes && b.states[i] == OPEN) {
		greeting_len = p->payload_bytes;
		say(i, PACKET_ACK | PACKET_PSH, 1, greeting_len, "EHLO");
	} else if (p->window == 0 && p->ack == first_of(i) + 1 + WINDOW) {
		b.answers += b.states[i] == HELD;
		b.held += b.states[i] == OPEN;
		b.states[i] = HELD;
	}
}

/* At most a thousand: there is also something to be said. */
static void listen_for(int wait_ms)
{
	struct pollfd ready = { .fd = b.heard, .events = POLLIN };
	char bytes[256];
	struct sockaddr_ll from;
	if (poll(&ready, 1, wait_ms) != 1)
		return;
	for (int n = 0; n < 1000; n++) {
		struct packet_tcp p;
		socklen_t from_len = sizeof from;
		ssize_t len = recvfrom(b.heard, bytes, sizeof bytes, MSG_DONTWAIT, (struct sockaddr *)&from, &from_len);
		if (len < 0)
			return;
		if (from.sll_pkttype != PACKET_OUTGOING && packet_read((struct span){ bytes, (size_t)len }, &p) == 0)
			hear(&p);
	}
}

static void open_sockets(const char *to, const char *iface)
{
	const int room = 256 << 20;
	if (addr_parse(span_of(to), &b.to.addr))
		die(to);
	b.to.port = 25;
	const bool is_v6 = b.to.addr.family == ADDR_V6;
	const struct endpoint host = { .addr = b.to.addr };
	b.sa_len = endpoint_to_sockaddr(&host, &b.sa);
	b.raw = socket(is_v6 ? AF_INET6 : AF_INET, SOCK_RAW, IPPROTO_RAW);
	const struct sockaddr_ll at = { .sll_family = AF_PACKET, .sll_protocol = htons(is_v6 ? ETH_P_IPV6 : ETH_P_IP), .sll_ifindex = (int)if_nametoindex(iface) };
	b.heard = socket(AF_PACKET, SOCK_DGRAM, at.sll_protocol);
	if (b.raw < 0 || b.heard < 0 || bind(b.heard, (const struct sockaddr *)&at, sizeof at) != 0)
		die("sockets");
	(void)setsockopt(b.heard, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
}

static void hold(double per_second)
{
	uint32_t said = 0;
	double start = now();
	for (int pass = 0; pass < PASSES && b.held < b.count && now() < start + WHOLE_LIMIT_S; pass++) {
		for (uint32_t i = 0; i < b.count && now() < start + WHOLE_LIMIT_S; i++) {
			while (said > (now() - start) * per_second)
				listen_for(1);
			said += b.states[i] != HELD;
			if (b.states[i] == NEW)
				say(i, PACKET_SYN, 0, 0, NULL);
			/* Somewhere on the way a segment was lost: a client would repeat it. */
			if (b.states[i] == OPEN && pass)
				say(i, PACKET_ACK | PACKET_PSH, 1, greeting_len, "EHLO");
			if (i % 32 == 0)
				listen_for(0);
		}
		for (double quiet = now() + 1; now() < quiet && b.held < b.count;)
			listen_for(50);
	}
	printf("{\"held\": %u, \"seconds\": %.2f}\n", b.held, now() - start);
	(void)fflush(stdout);
}

static void ask(double per_second, double seconds)
{
	uint32_t asked = 0, i = 0;
	double start = now();
	b.answers = 0;
	while (now() < start + seconds && b.held) {
		for (; asked < (now() - start) * per_second; i = i + 1 == b.count ? 0 : i + 1) {
			if (b.states[i] != HELD)
				continue;
			say(i, PACKET_ACK, WINDOW, greeting_len, NULL);
			asked++;
		}
		listen_for(1);
	}
	for (double end = now() + 1; now() < end;)
		listen_for(50);
	printf("{\"asked\": %u, \"answered\": %u}\n", asked, b.answers);
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: bench_held ADDRESS IFACE COUNT ARRIVALS PROBES SECONDS\n");
		return 2;
	}
	open_sockets(argv[1], argv[2]);
	b.count = (uint32_t)atol(argv[3]);
	b.theirs = calloc(b.count, sizeof *b.theirs);
	b.states = calloc(b.count, 1);
	if (!b.theirs || !b.states || b.count > 1u << 24)
		die("memory");
	hold(atof(argv[4]));
	ask(atof(argv[5]), atof(argv[6]));
	return 0;
}
