/* The packet reader: whole, cut at every position, broken in every way that its lengths allow; and what is built reads back. */
#include "packet.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "err.h"

#define FLAGS_AT 13

/* A SYN from port 40000 to 25, sequence number 0x01020304, MSS 1460 and the options of Linux. */
static const uint8_t syn[40] = { 0x9c, 0x40, 0, 25, 1, 2, 3, 4, 0, 0, 0, 0, 0xa0, 2, 0xfa, 0xf0, 0, 0, 0, 0,
				 2,    4,    5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7 };
static const uint8_t v4_head[20] = { 0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 9, 198, 51, 100, 25 };
static const uint8_t v6_head[40] = { 0x60, 0, 0, 0, 0, 40, 6, 64, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
				     0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x25 };

struct wire {
	uint8_t bytes[2 * PACKET_HEAD_MAX];
	size_t len;
};

static void put(struct wire *w, const void *bytes, size_t len)
{
	if (len)
		memcpy(w->bytes + w->len, bytes, len);
	w->len += len;
}

static struct wire make_v4(void)
{
	struct wire w = { .len = 0 };
	put(&w, v4_head, sizeof v4_head);
	put(&w, syn, sizeof syn);
	return w;
}

/* Behind an IPv6 header, with extension headers in between. */
static struct wire make_v6(uint8_t first, const void *headers, size_t len)
{
	struct wire w = { .len = 0 };
	put(&w, v6_head, sizeof v6_head);
	w.bytes[6] = first;
	w.bytes[4] = (uint8_t)((len + sizeof syn) >> 8);
	w.bytes[5] = (uint8_t)(len + sizeof syn);
	put(&w, headers, len);
	put(&w, syn, sizeof syn);
	return w;
}

/* In memory of that size, so that a sanitizer sees a read beyond. */
static int read_front(const struct wire *w, size_t len, struct packet_tcp *out)
{
	char *exact = malloc(len ? len : 1);
	assert_non_null(exact);
	memcpy(exact, w->bytes, len);
	int err = packet_read((struct span){ exact, len }, out);
	free(exact);
	return err;
}

static void expect_syn(const struct wire *w, const char *from, const char *to)
{
	struct packet_tcp p;
	char text[ENDPOINT_TEXT_CAP];
	assert_int_equal(read_front(w, w->len, &p), 0);
	assert_string_equal(endpoint_format(&p.from, text), from);
	assert_string_equal(endpoint_format(&p.to, text), to);
	assert_int_equal(p.seq, 0x01020304);
	assert_int_equal(p.flags, PACKET_SYN);
	assert_int_equal(p.window, 64240);
	assert_int_equal(p.mss, 1460);
	assert_int_equal(p.payload_bytes, 0);
	assert_true(p.is_whole);
	/* Cut anywhere: said to be cut, or only options are lacking. */
	for (size_t len = 0; len < w->len; len++) {
		bool has_tcp = len >= w->len - 20;
		assert_int_equal(read_front(w, len, &p), has_tcp ? 0 : ERR_EOF);
		assert_false(has_tcp && p.is_whole);
	}
}

static void test_whole_and_cut(void **unused)
{
	(void)unused;
	struct wire w = make_v4();
	expect_syn(&w, "192.0.2.9:40000", "198.51.100.25:25");
	w = make_v6(6, NULL, 0);
	expect_syn(&w, "[2001:db8::9]:40000", "[2001:db8:1::25]:25");
}

static void test_v4_options(void **unused)
{
	(void)unused;
	static const uint8_t router_alert[4] = { 0x94, 4, 0, 0 };
	struct wire w = { .len = 0 };
	put(&w, v4_head, sizeof v4_head);
	put(&w, router_alert, sizeof router_alert);
	put(&w, syn, sizeof syn);
	w.bytes[0] = 0x46;
	w.bytes[3] = 64;
	expect_syn(&w, "192.0.2.9:40000", "198.51.100.25:25");
}

static void test_v6_headers(void **unused)
{
	(void)unused;
	static const uint8_t hop_dst[] = { 60, 0, 5, 2, 0, 0, 1, 0, 6, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t atomic[] = { 6, 0, 0, 0, 1, 2, 3, 4 };
	static const uint8_t routing_done[] = { 6, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	static const uint8_t auth[] = { 6, 4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
	struct wire w = make_v6(0, hop_dst, sizeof hop_dst);
	expect_syn(&w, "[2001:db8::9]:40000", "[2001:db8:1::25]:25");
	w = make_v6(44, atomic, sizeof atomic);
	expect_syn(&w, "[2001:db8::9]:40000", "[2001:db8:1::25]:25");
	w = make_v6(43, routing_done, sizeof routing_done);
	expect_syn(&w, "[2001:db8::9]:40000", "[2001:db8:1::25]:25");
	w = make_v6(51, auth, sizeof auth);
	expect_syn(&w, "[2001:db8::9]:40000", "[2001:db8:1::25]:25");
}

static void expect_err(const struct wire *w, int err)
{
	struct packet_tcp p;
	assert_int_equal(read_front(w, w->len, &p), err);
}

static void test_v6_headers_refused(void **unused)
{
	(void)unused;
	static const uint8_t later_fragment[] = { 6, 0, 0, 8, 1, 2, 3, 4 }, first_fragment[] = { 6, 0, 0, 1, 1, 2, 3, 4 };
	static const uint8_t routing[] = { 6, 0, 4, 1, 0, 0, 0, 0 }, esp[] = { 6, 0, 0, 0, 0, 0, 0, 0 }, late_hop[] = { 0, 0, 0, 0, 0, 0, 0, 0, 6, 0 };
	static const uint8_t too_long[] = { 6, 200, 0, 0, 0, 0, 0, 0 };
	uint8_t many[(PACKET_HEADERS_MAX + 1) * 8] = { 0 };
	struct wire w = make_v6(44, later_fragment, sizeof later_fragment);
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v6(44, first_fragment, sizeof first_fragment);
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v6(43, routing, sizeof routing);
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v6(50, esp, sizeof esp);
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v6(59, NULL, 0);
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v6(60, late_hop, sizeof late_hop);
	expect_err(&w, ERR_PROTO);
	w = make_v6(60, too_long, sizeof too_long);
	expect_err(&w, ERR_PROTO);
	for (size_t i = 0; i < sizeof many; i += 8)
		many[i] = i + 8 < sizeof many ? 60 : 6;
	w = make_v6(60, many, sizeof many - 8);
	expect_err(&w, ERR_PROTO); /* the chain does not say that TCP follows: the SYN is taken for one more header */
	many[sizeof many - 16] = 6;
	w = make_v6(60, many, sizeof many - 8);
	expect_syn(&w, "[2001:db8::9]:40000", "[2001:db8:1::25]:25");
	many[sizeof many - 16] = 60;
	w = make_v6(60, many, sizeof many);
	expect_err(&w, ERR_TOOLONG);
}

static void test_contradictions(void **unused)
{
	(void)unused;
	struct wire w = make_v4();
	w.bytes[0] = 0x44; /* a header shorter than a header */
	expect_err(&w, ERR_PROTO);
	w = make_v4();
	w.bytes[0] = 0x55;
	expect_err(&w, ERR_PROTO);
	w = make_v4();
	w.bytes[3] = 19; /* a total length without the header */
	expect_err(&w, ERR_PROTO);
	w.bytes[3] = 39; /* or without TCP's */
	expect_err(&w, ERR_PROTO);
	w.bytes[3] = 59; /* or with less of it than it says of itself */
	expect_err(&w, ERR_PROTO);
	w = make_v4();
	w.bytes[6] = 0x20; /* more fragments */
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v4();
	w.bytes[9] = 17;
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v4();
	w.bytes[20 + 12] = 0x40; /* TCP data offset below its header */
	expect_err(&w, ERR_PROTO);
	w = make_v6(6, NULL, 0);
	w.bytes[4] = w.bytes[5] = 0;
	expect_err(&w, ERR_UNSUPPORTED);
	w = make_v6(6, NULL, 0);
	memcpy(w.bytes + 8, (const uint8_t[16]){ [10] = 0xff, 0xff, 192, 0, 2, 1 }, 16);
	expect_err(&w, ERR_PROTO);
}

static void test_tcp_options(void **unused)
{
	(void)unused;
	struct packet_tcp p;
	struct wire w = make_v4();
	uint8_t *options = w.bytes + 40;
	options[1] = 0; /* a length of nothing: would be read for ever */
	assert_int_equal(read_front(&w, w.len, &p), 0);
	assert_true(!p.is_whole && p.mss == 0);
	options[1] = 200;
	assert_int_equal(read_front(&w, w.len, &p), 0);
	assert_false(p.is_whole);
	options[0] = 0; /* what stands behind the end counts for nothing */
	assert_int_equal(read_front(&w, w.len, &p), 0);
	assert_true(p.is_whole && p.mss == 0);
	memset(options, 1, 20);
	assert_int_equal(read_front(&w, w.len, &p), 0);
	assert_true(p.is_whole);
}

/* The Internet checksum over pseudo header and segment comes out as nothing. */
static void expect_sums(const uint8_t *wire, size_t len, size_t ip_len)
{
	const size_t tcp_len = len - ip_len, addrs = ip_len == 20 ? 8 : 32;
	uint32_t sum = 6 + (uint32_t)tcp_len;
	for (size_t i = 0; i < addrs; i += 2)
		sum += (uint32_t)wire[ip_len - addrs + i] << 8 | wire[ip_len - addrs + i + 1];
	for (size_t i = 0; i < tcp_len; i += 2)
		sum += (uint32_t)wire[ip_len + i] << 8 | (i + 1 < tcp_len ? wire[ip_len + i + 1] : 0u);
	assert_int_equal(((sum & 0xffff) + (sum >> 16)) % 0xffff, 0);
	sum = 0;
	for (size_t i = 0; ip_len == 20 && i < 20; i += 2)
		sum += (uint32_t)wire[i] << 8 | wire[i + 1];
	assert_int_equal(((sum & 0xffff) + (sum >> 16)) % 0xffff, 0);
}

static void check_build(struct wire w, size_t ip_len)
{
	struct packet_tcp asked, back;
	struct packet_answer answer;
	uint8_t wire[PACKET_ANSWER_CAP];
	assert_int_equal(packet_read((struct span){ (const char *)w.bytes, w.len }, &asked), 0);
	assert_true(packet_refusal(&asked, &answer));
	size_t len = packet_build(&answer, wire);
	expect_sums(wire, len, ip_len);
	assert_int_equal(packet_read((struct span){ (const char *)wire, len }, &back), 0);
	assert_int_equal(back.flags, PACKET_RST | PACKET_ACK);
	assert_int_equal(back.ack, 0x01020305);
	assert_int_equal(back.seq, 0);
	assert_true(endpoint_eq(&back.from, &asked.to) && endpoint_eq(&back.to, &asked.from));
	assert_false(packet_refusal(&back, &answer));
	answer = (struct packet_answer){ asked.to, asked.from, 7, asked.seq + 1, PACKET_SYN | PACKET_ACK, 5, 536, SPAN_LIT("220 ok\r\n!") };
	len = packet_build(&answer, wire);
	expect_sums(wire, len, ip_len);
	assert_int_equal(packet_read((struct span){ (const char *)wire, len }, &back), 0);
	assert_true(back.mss == 536 && back.payload_bytes == 9 && back.window == 5 && back.seq == 7 && back.flags == (PACKET_SYN | PACKET_ACK));
	/* An answer to what acknowledges takes its sequence number from there. */
	w.bytes[ip_len + FLAGS_AT] = PACKET_ACK;
	w.bytes[ip_len + 11] = 9;
	assert_int_equal(packet_read((struct span){ (const char *)w.bytes, w.len }, &asked), 0);
	assert_true(packet_refusal(&asked, &answer));
	assert_true(answer.flags == PACKET_RST && answer.seq == 9);
}

static void test_build(void **unused)
{
	(void)unused;
	check_build(make_v4(), 20);
	check_build(make_v6(6, NULL, 0), 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whole_and_cut),	   cmocka_unit_test(test_v4_options),
		cmocka_unit_test(test_v6_headers),	   cmocka_unit_test(test_v6_headers_refused),
		cmocka_unit_test(test_contradictions),	   cmocka_unit_test(test_tcp_options),
		cmocka_unit_test(test_build),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
