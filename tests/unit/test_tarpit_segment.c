/* The connection that nobody knows of: a peer's segments one after the other, and what it can't get out of it. */
#include "tarpit_segment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct siphash_key key = { 0x0706050403020100u, 0x0f0e0d0c0b0a0908u };

static struct packet_tcp make_syn(bool is_v6)
{
	struct packet_tcp p = { .flags = PACKET_SYN, .seq = 0xfffffffeu, .from.port = 40000, .to.port = 25 };
	(void)addr_parse(span_of(is_v6 ? "2001:db8::9" : "192.0.2.9"), &p.from.addr);
	(void)addr_parse(span_of(is_v6 ? "2001:db8::25" : "192.0.2.25"), &p.to.addr);
	return p;
}

/* A peer that has got the answer to its SYN. */
struct peer {
	struct packet_tcp base;
	uint32_t theirs; /* our first number */
};

static struct peer begin(bool is_v6)
{
	struct peer peer = { .base = make_syn(is_v6) };
	struct packet_answer a;
	assert_int_equal(tarpit_answer(&key, &peer.base, &a), TARPIT_SYN);
	assert_true(a.flags == (PACKET_SYN | PACKET_ACK) && a.ack == peer.base.seq + 1 && a.window == TARPIT_WINDOW && a.mss && !a.payload.len);
	assert_true(endpoint_eq(&a.from, &peer.base.to) && endpoint_eq(&a.to, &peer.base.from));
	peer.theirs = a.seq;
	return peer;
}

/* position: from the first byte that the peer says; heard: how much of ours it has. */
static enum tarpit_kind say(const struct peer *peer, int position, uint32_t bytes, uint32_t heard, struct packet_answer *a)
{
	struct packet_tcp p = peer->base;
	p.flags = PACKET_ACK;
	p.seq = peer->base.seq + 1 + (uint32_t)position;
	p.ack = peer->theirs + 1 + heard;
	p.payload_bytes = bytes;
	return tarpit_answer(&key, &p, a);
}

static void check_peer(bool is_v6)
{
	const struct peer peer = begin(is_v6);
	const uint32_t first = peer.base.seq + 1;
	struct packet_answer a;
	assert_int_equal(say(&peer, 0, 0, 0, &a), TARPIT_HELD);
	const uint32_t greeting = (uint32_t)a.payload.len;
	assert_true(a.seq == peer.theirs + 1 && a.ack == first && a.window == TARPIT_WINDOW && greeting > 4);
	assert_memory_equal(a.payload.ptr, "220 ", 4);
	/* The greeting is heard: nothing to say to that. */
	assert_int_equal(say(&peer, 0, 0, greeting, &a), TARPIT_NOTHING);
	/* Part of a command, more than fits, and the rest of it: taken up to the window. */
	assert_int_equal(say(&peer, 0, 3, greeting, &a), TARPIT_HELD);
	assert_true(a.seq == peer.theirs + 1 + greeting && a.ack == first + 3 && a.window == TARPIT_WINDOW - 3 && !a.payload.len);
	assert_int_equal(say(&peer, 0, 100, greeting, &a), TARPIT_HELD);
	assert_true(a.ack == first + TARPIT_WINDOW && a.window == 0);
	assert_int_equal(say(&peer, 3, 1, greeting, &a), TARPIT_HELD);
	assert_true(a.ack == first + TARPIT_WINDOW && a.window == 0);
	/* Is the window open?  As Linux asks, and as others do, with a byte. */
	assert_int_equal(say(&peer, TARPIT_WINDOW - 1, 0, greeting, &a), TARPIT_HELD);
	assert_true(a.ack == first + TARPIT_WINDOW && a.window == 0);
	assert_int_equal(say(&peer, TARPIT_WINDOW, 1, greeting, &a), TARPIT_HELD);
	assert_true(a.ack == first + TARPIT_WINDOW && a.window == 0);
	assert_int_equal(say(&peer, TARPIT_WINDOW, 0, greeting, &a), TARPIT_NOTHING);
	/* Is anybody there? */
	assert_int_equal(say(&peer, -1, 0, greeting, &a), TARPIT_HELD);
	assert_true(a.ack == first && a.window == TARPIT_WINDOW);
	/* Who talks without having heard the greeting hears no gap. */
	assert_int_equal(say(&peer, 0, 5, 0, &a), TARPIT_HELD);
	assert_true(a.seq == peer.theirs + 1 && a.ack == first + TARPIT_WINDOW);
}

static void test_peer(void **unused)
{
	(void)unused;
	check_peer(false);
	check_peer(true);
}

static void test_strangers(void **unused)
{
	const struct peer peer = begin(false);
	struct peer other = peer;
	struct packet_answer a;
	struct packet_tcp p;
	(void)unused;
	/* What we never answered, what lies beyond the window or the greeting. */
	other.theirs += 100;
	assert_int_equal(say(&other, 0, 1, 0, &a), TARPIT_NOTHING);
	assert_int_equal(say(&peer, (int)TARPIT_WINDOW + 1, 1, 0, &a), TARPIT_NOTHING);
	assert_int_equal(say(&peer, -2, 0, 0, &a), TARPIT_NOTHING);
	assert_int_equal(say(&peer, 0, 1, 1000, &a), TARPIT_NOTHING);
	other = peer;
	other.base.from.port++;
	assert_int_equal(say(&other, 0, 1, 0, &a), TARPIT_NOTHING);
	other = peer;
	other.base.to.addr.bytes[3]++;
	assert_int_equal(say(&other, 0, 1, 0, &a), TARPIT_NOTHING);
	/* An end is an end. */
	static const uint8_t flags[] = { PACKET_RST, PACKET_RST | PACKET_ACK, PACKET_FIN | PACKET_ACK, PACKET_SYN | PACKET_RST,
					 PACKET_SYN | PACKET_FIN, PACKET_SYN | PACKET_ACK, 0, PACKET_PSH };
	for (size_t i = 0; i < sizeof flags; i++) {
		p = peer.base;
		p.seq++;
		p.ack = peer.theirs + 1;
		p.flags = flags[i];
		assert_int_equal(tarpit_answer(&key, &p, &a), TARPIT_NOTHING);
	}
	/* Nobody can tell one answer from another. */
	other.base = make_syn(false);
	other.base.seq++;
	assert_int_equal(tarpit_answer(&key, &other.base, &a), TARPIT_SYN);
	assert_int_not_equal(a.seq, peer.theirs);
}

/* From the paper's appendix: bytes 0 to 14 under the key 0 to 15; and the first of the authors' reference vectors, for nothing. */
static void test_siphash(void **unused)
{
	uint8_t bytes[15];
	(void)unused;
	for (uint8_t i = 0; i < sizeof bytes; i++)
		bytes[i] = i;
	assert_true(siphash(&key, bytes, sizeof bytes) == 0xa129ca6149be45e5u);
	assert_true(siphash(&key, bytes, 0) == 0x726fdb47dd0e0e31u);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_peer), cmocka_unit_test(test_strangers), cmocka_unit_test(test_siphash) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
