/* The resolver against name servers on loopback that do what no real one can be made to do: hold answers back, cut them, forge them.
 * What real ones do is in tests/e2e/test_dns_facts.py.  The first label of a name says what happens to a question for it. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "dns_shares.h"
#include "loop.h"
#include "resolver.h"

#define HELD_MAX 64
#define ASKED_MAX 5000
#define PACKET_MAX 2048

/* A question that waits for server_release. */
struct held {
	struct sockaddr_in from;
	unsigned char bytes[PACKET_MAX];
	size_t len;
};

struct server {
	struct loop *loop;
	int udp, tcp, conn;
	uint16_t port;
	struct loop_io *udp_io, *tcp_io, *conn_io;
	uint8_t last_octet; /* of the address it answers with */
	bool has_port[UINT16_MAX + 1]; /* did a question come from there? */
	unsigned ports;
	unsigned questions, tcp_questions, edns_bytes; /* what the last question said it can take; 0: nothing (RFC 6891) */
	struct held held[HELD_MAX];
	size_t held_count;
};

struct world {
	struct loop *loop;
	struct loop_timer *limit;
	struct resolver *resolver;
	struct server a, b;
	struct addr client; /* for whom is asked */
	size_t wanted, got; /* answers: the loop runs until it has them */
};

/* Who asked, and what it was told. */
struct asker {
	struct world *world;
	uint64_t id;
	unsigned answers;
	enum dns_status status;
	uint8_t last_octet;
	size_t records;
	char why[64];
};

/* ---- the servers */

static size_t question_len(const unsigned char *bytes, size_t len)
{
	size_t at = 12;
	while (at < len && bytes[at])
		at += bytes[at] + 1u;
	return at + 5;
}

static bool is_label(const unsigned char *bytes, const char *label)
{
	return bytes[12] >= strlen(label) && memcmp(bytes + 13, label, strlen(label)) == 0;
}

/* The answer to a question: one A record with the last octet, or as the label says. */
static size_t make_answer(const unsigned char *query, size_t len, uint8_t last_octet, bool is_tcp, unsigned char out[PACKET_MAX])
{
	static const unsigned char record[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0 };
	size_t at = question_len(query, len);
	memcpy(out, query, at);
	memcpy(out + 2, "\x81\x80\0\1\0\0\0\0\0\0", 10);
	if (is_label(query, "nxdomain"))
		out[3] |= 3;
	else if (is_label(query, "servfail"))
		out[3] |= 2;
	else if (is_label(query, "cut") && !is_tcp)
		out[2] |= 2;
	else {
		for (unsigned i = 0; i < (is_label(query, "cut") ? 100u : 1u); i++) {
			memcpy(out + at, record, sizeof record);
			out[at + sizeof record] = (unsigned char)(last_octet + i);
			at += sizeof record + 1;
			out[7]++;
		}
	}
	return at;
}

static void send_udp(int fd, const struct held *to, const unsigned char *bytes, size_t len)
{
	(void)sendto(fd, bytes, len, 0, (const struct sockaddr *)&to->from, sizeof to->from);
}

/* Answers that an attacker would send: another id, another socket, another question, no question. */
static void send_forgeries(const struct server *s, const struct held *q)
{
	unsigned char out[PACKET_MAX];
	size_t len = make_answer(q->bytes, q->len, 66, false, out);
	for (unsigned i = 1; i < 200; i++) {
		out[1] ^= (unsigned char)i;
		send_udp(s->udp, q, out, len);
		out[1] ^= (unsigned char)i;
	}
	int other = socket(AF_INET, SOCK_DGRAM, 0);
	assert_true(other >= 0);
	send_udp(other, q, out, len);
	(void)close(other);
	out[14] ^= 1;
	send_udp(s->udp, q, out, len);
	out[14] ^= 1;
	send_udp(s->udp, q, out, 12);
	send_udp(s->udp, q, out, 3);
}

static void answer(struct server *s, const struct held *q)
{
	unsigned char out[PACKET_MAX];
	send_udp(s->udp, q, out, make_answer(q->bytes, q->len, s->last_octet, false, out));
}

static void udp_ready(void *ctx, unsigned events)
{
	struct server *s = ctx;
	struct held q;
	socklen_t from_len = sizeof q.from;
	(void)events;
	ssize_t n;
	while ((n = recvfrom(s->udp, q.bytes, sizeof q.bytes, MSG_DONTWAIT, (struct sockaddr *)&q.from, &from_len)) > 16) {
		q.len = (size_t)n;
		s->questions++;
		s->ports += !s->has_port[ntohs(q.from.sin_port)];
		s->has_port[ntohs(q.from.sin_port)] = true;
		const unsigned char *opt = q.bytes + question_len(q.bytes, q.len);
		s->edns_bytes = q.bytes[11] == 1 && opt + 5 <= q.bytes + q.len && opt[2] == 41 ? opt[3] * 256u + opt[4] : 0;
		if (is_label(q.bytes, "hold") && s->held_count < HELD_MAX)
			s->held[s->held_count++] = q;
		if (is_label(q.bytes, "hold") || is_label(q.bytes, "drop"))
			continue;
		if (is_label(q.bytes, "forged"))
			send_forgeries(s, &q);
		answer(s, &q);
	}
}

/* One question a connection, which a client of ours sends in one piece. */
static void conn_ready(void *ctx, unsigned events)
{
	struct server *s = ctx;
	unsigned char in[PACKET_MAX], out[PACKET_MAX + 2];
	(void)events;
	ssize_t n = recv(s->conn, in, sizeof in, MSG_DONTWAIT);
	if (n > 18) {
		s->tcp_questions++;
		size_t len = make_answer(in + 2, (size_t)n - 2, s->last_octet, true, out + 2);
		out[0] = (unsigned char)(len >> 8);
		out[1] = (unsigned char)len;
		assert_int_equal(send(s->conn, out, len + 2, MSG_NOSIGNAL), len + 2);
	}
	loop_io_destroy(&s->conn_io);
	(void)close(s->conn);
}

static void tcp_ready(void *ctx, unsigned events)
{
	struct server *s = ctx;
	(void)events;
	if (s->conn_io)
		return;
	s->conn = accept(s->tcp, NULL, NULL);
	assert_true(s->conn >= 0);
	assert_int_equal(loop_io_create(s->loop, s->conn, conn_ready, s, &s->conn_io), 0);
	assert_int_equal(loop_io_want(s->conn_io, LOOP_READ), 0);
}

/* One port for both.  False: TCP has it taken. */
static bool bind_both(struct server *s)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	s->udp = socket(AF_INET, SOCK_DGRAM, 0);
	s->tcp = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->udp, (struct sockaddr *)&at, len), 0);
	assert_int_equal(getsockname(s->udp, (struct sockaddr *)&at, &len), 0);
	s->port = ntohs(at.sin_port);
	if (bind(s->tcp, (struct sockaddr *)&at, len) == 0 && listen(s->tcp, 8) == 0)
		return true;
	(void)close(s->udp);
	(void)close(s->tcp);
	return false;
}

static void server_open(struct server *s, struct loop *loop, uint8_t last_octet)
{
	int bytes = 4 << 20;
	*s = (struct server){ .loop = loop, .last_octet = last_octet };
	for (int tries = 0; !bind_both(s); tries++)
		assert_true(tries < 100);
	(void)setsockopt(s->udp, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof bytes);
	assert_int_equal(loop_io_create(loop, s->udp, udp_ready, s, &s->udp_io), 0);
	assert_int_equal(loop_io_create(loop, s->tcp, tcp_ready, s, &s->tcp_io), 0);
	assert_int_equal(loop_io_want(s->udp_io, LOOP_READ), 0);
	assert_int_equal(loop_io_want(s->tcp_io, LOOP_READ), 0);
}

static void server_release(struct server *s)
{
	for (size_t i = 0; i < s->held_count; i++)
		answer(s, &s->held[i]);
	s->held_count = 0;
}

static void server_close(struct server *s)
{
	loop_io_destroy(&s->udp_io);
	loop_io_destroy(&s->tcp_io);
	if (s->conn_io)
		(void)close(s->conn);
	loop_io_destroy(&s->conn_io);
	(void)close(s->udp);
	(void)close(s->tcp);
}

/* ---- asking */

static struct name_servers at(const struct server *first, const struct server *second)
{
	struct name_servers out = { .count = 0 };
	const struct server *both[] = { first, second };
	for (size_t i = 0; i < 2; i++)
		if (both[i])
			out.list[out.count++] = (struct endpoint){ { ADDR_V4, { 127, 0, 0, 1 } }, both[i]->port };
	return out;
}

static void limit_reached(void *ctx)
{
	loop_stop(((struct world *)ctx)->loop);
}

static void open_world(struct world *w)
{
	*w = (struct world){ .wanted = 0 };
	assert_int_equal(loop_create(&w->loop), 0);
	assert_int_equal(loop_timer_create(w->loop, limit_reached, w, &w->limit), 0);
	server_open(&w->a, w->loop, 1);
	server_open(&w->b, w->loop, 2);
	struct name_servers servers = at(&w->a, NULL);
	assert_int_equal(resolver_create_prepriv(&w->resolver), 0);
	assert_int_equal(resolver_start(w->resolver, w->loop, &servers), 0);
}

static void close_world(struct world *w)
{
	resolver_destroy(&w->resolver);
	assert_null(w->resolver);
	resolver_destroy(&w->resolver);
	server_close(&w->a);
	server_close(&w->b);
	loop_timer_destroy(&w->limit);
	loop_destroy(&w->loop);
}

static void answered(void *ctx, uint64_t id, const struct dns_answer *a)
{
	struct asker *asker = ctx;
	assert_true(id == asker->id);
	asker->answers++;
	asker->status = a->status;
	asker->records = a->count;
	asker->last_octet = a->status == DNS_FOUND ? a->records[0].addr.bytes[3] : 0;
	(void)snprintf(asker->why, sizeof asker->why, "%s", a->why);
	if (++asker->world->got == asker->world->wanted)
		loop_stop(asker->world->loop);
}

static void ask_type(struct world *w, struct asker *asker, const char *name, enum dns_type type)
{
	*asker = (struct asker){ .world = w };
	asker->id = dns_ask(resolver_source(w->resolver), &w->client, span_of(name), type, answered, asker);
	assert_true(asker->id != 0);
	assert_int_equal(asker->answers, 0); /* never at once */
}

static void ask(struct world *w, struct asker *asker, const char *name)
{
	ask_type(w, asker, name, DNS_A);
}

static void cancel(struct world *w, const struct asker *asker)
{
	dns_cancel(resolver_source(w->resolver), asker->id);
}

/* Until so many more answers have come; false: not within the time. */
static bool run_until(struct world *w, size_t answers, uint64_t limit_ms)
{
	w->got = 0;
	w->wanted = answers;
	loop_timer_start(w->limit, limit_ms);
	loop_run(w->loop);
	loop_timer_stop(w->limit);
	return w->got >= answers;
}

/* A little while in which nothing is expected. */
static void run_for(struct world *w, uint64_t ms)
{
	assert_false(run_until(w, SIZE_MAX, ms));
}

/* ---- the tests */

static void test_one_query_for_all_who_wait(void **state)
{
	struct world w;
	struct asker a[5], other;
	(void)state;
	open_world(&w);
	for (size_t i = 0; i < 5; i++)
		ask(&w, &a[i], i % 2 ? "HOLD.example" : "hold.example");
	ask_type(&w, &other, "hold.example", DNS_AAAA);
	run_for(&w, 100);
	assert_int_equal(w.a.questions, 2);
	assert_int_equal(w.a.edns_bytes, 1232);
	server_release(&w.a);
	assert_true(run_until(&w, 6, 5000));
	for (size_t i = 0; i < 5; i++) {
		assert_int_equal(a[i].answers, 1);
		assert_int_equal(a[i].status, DNS_FOUND);
		assert_int_equal(a[i].last_octet, 1);
	}
	assert_int_equal(resolver_stats(w.resolver)->queries, 2);
	assert_int_equal(resolver_stats(w.resolver)->hits, 4);
	close_world(&w);
}

static void test_cancel(void **state)
{
	struct world w;
	struct asker a[3], late;
	(void)state;
	open_world(&w);
	for (size_t i = 0; i < 3; i++)
		ask(&w, &a[i], "hold.example");
	run_for(&w, 50);
	cancel(&w, &a[1]);
	cancel(&w, &a[1]);
	server_release(&w.a);
	assert_true(run_until(&w, 2, 5000));
	run_for(&w, 20);
	assert_int_equal(a[0].answers + a[2].answers, 2);
	assert_int_equal(a[1].answers, 0);
	/* The last one goes, too: its question goes on, and the answer is kept. */
	ask(&w, &a[0], "hold.two.example");
	run_for(&w, 50);
	cancel(&w, &a[0]);
	server_release(&w.a);
	run_for(&w, 50);
	ask(&w, &late, "hold.two.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(late.last_octet, 1);
	assert_int_equal(w.a.questions, 2);
	assert_int_equal(a[0].answers, 0);
	/* One whose answer is ready, but not told. */
	ask(&w, &a[0], "hold.two.example");
	cancel(&w, &a[0]);
	run_for(&w, 20);
	assert_int_equal(a[0].answers, 0);
	/* An id is never used again: an old one drops nobody. */
	const struct asker old = a[0];
	ask(&w, &a[1], "hold.two.example");
	cancel(&w, &old);
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(a[1].answers, 1);
	close_world(&w);
}

/* One that drops another whose turn comes in the same batch, and asks again. */
struct meddler {
	struct asker self, *victim;
	struct asker again;
};

static void meddle(void *ctx, uint64_t id, const struct dns_answer *a)
{
	struct meddler *m = ctx;
	cancel(m->self.world, m->victim);
	ask(m->self.world, &m->again, "plain.example");
	answered(&m->self, id, a);
}

static void test_callback_that_asks_and_cancels(void **state)
{
	struct world w;
	struct asker first, victim;
	struct meddler m;
	(void)state;
	open_world(&w);
	ask(&w, &first, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	m = (struct meddler){ .self = { .world = &w }, .victim = &victim };
	m.self.id = dns_ask(resolver_source(w.resolver), &w.client, SPAN_LIT("plain.example"), DNS_A, meddle, &m);
	ask(&w, &victim, "plain.example");
	assert_true(run_until(&w, 2, 5000));
	run_for(&w, 20);
	assert_int_equal(m.self.answers, 1);
	assert_int_equal(m.again.answers, 1);
	assert_int_equal(victim.answers, 0);
	close_world(&w);
}

static void test_share_of_queries(void **state)
{
	/* He may ask while his questions are less than an eighth of the room that is left. */
	enum { SHARE = RESOLVER_IN_FLIGHT_MAX / (DNS_SHARE_PART + 1) + 1, MANY = SHARE + 100 };
	static struct asker many[MANY], joins, other;
	struct world w;
	char name[64];
	(void)state;
	open_world(&w);
	w.client = (struct addr){ ADDR_V6, { 0x20, 1, [15] = 1 } };
	for (unsigned i = 0; i < MANY; i++) {
		(void)snprintf(name, sizeof name, "drop.n%u.example", i);
		w.client.bytes[15] = (uint8_t)i; /* it does not help him to have a whole /64 */
		ask(&w, &many[i], name);
	}
	assert_true(run_until(&w, MANY - SHARE, 5000));
	for (unsigned i = 0; i < MANY; i++)
		assert_int_equal(many[i].answers, i >= SHARE);
	assert_int_equal(many[SHARE].status, DNS_FAILED);
	assert_string_equal(many[SHARE].why, "too many questions for this client at once");
	assert_int_equal(resolver_stats(w.resolver)->queries, SHARE);
	assert_int_equal(resolver_stats(w.resolver)->refused, MANY - SHARE);
	/* Another client, and questions of our own, don't notice; and what somebody asks already costs nobody anything. */
	ask(&w, &joins, "drop.n7.example");
	w.client = (struct addr){ ADDR_V6, { 0x20, 1, [7] = 1 } };
	ask(&w, &other, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(other.last_octet, 1);
	w.client = (struct addr){ .family = ADDR_NONE };
	ask(&w, &other, "ours.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(other.last_octet, 1);
	/* Nobody to ask any more: all of them are told, and there is room again. */
	const struct name_servers none = { .count = 0 }, b = at(&w.b, NULL);
	assert_int_equal(resolver_set_servers(w.resolver, &none), 0);
	assert_true(run_until(&w, SHARE + 1, 5000));
	assert_int_equal(joins.status, DNS_FAILED);
	assert_string_equal(many[0].why, "no resolver");
	assert_int_equal(resolver_set_servers(w.resolver, &b), 0);
	w.client = (struct addr){ ADDR_V6, { 0x20, 1 } };
	ask(&w, &other, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(other.last_octet, 2);
	/* Ended with questions under way: nobody is told. */
	for (unsigned i = 0; i < 100; i++)
		ask(&w, &many[i], i % 2 ? "drop.example" : "hold.example");
	run_for(&w, 20);
	close_world(&w);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(many[i].answers, 0);
}

/* Many clients, each with senders behind two hundred names that nobody answers for: what else comes is still answered. */
static void test_many_clients_with_dead_servers(void **state)
{
	enum { CLIENTS = 25 };
	static struct asker dead[CLIENTS][200], lives[20];
	struct world w;
	char name[64];
	(void)state;
	open_world(&w);
	for (unsigned i = 0; i < CLIENTS; i++) {
		w.client = (struct addr){ ADDR_V4, { 192, 0, 2, (uint8_t)i } };
		for (unsigned k = 0; k < 200; k++) {
			(void)snprintf(name, sizeof name, "drop.n%u.c%u.example", k, i);
			ask(&w, &dead[i][k], name);
		}
	}
	run_for(&w, 100);
	w.client = (struct addr){ ADDR_V4, { 198, 51, 100, 1 } };
	for (unsigned i = 0; i < 20; i++) {
		(void)snprintf(name, sizeof name, "n%u.example", i);
		ask(&w, &lives[i], name);
	}
	assert_true(run_until(&w, 20, 5000));
	for (unsigned i = 0; i < 20; i++)
		assert_int_equal(lives[i].status, DNS_FOUND);
	close_world(&w);
}

/* Who forges answers must not have the same port before him for as long as there are questions. */
static void test_busy_resolver_changes_ports(void **state)
{
	static struct asker many[200], held;
	struct world w;
	char name[64];
	(void)state;
	open_world(&w);
	ask(&w, &held, "hold.example");
	for (unsigned round = 1; round <= 3; round++) {
		for (unsigned i = 0; i < 200; i++) {
			(void)snprintf(name, sizeof name, "n%u.r%u.example", i, round);
			ask(&w, &many[i], name);
		}
		assert_true(run_until(&w, 200, 5000));
		/* One of the three is kept by the question that is held; chance may give a port twice, hardly more of them. */
		assert_in_range(w.a.ports, 2 * round, 3 * round);
	}
	/* And after a while, however few they are. */
	unsigned before = w.a.ports;
	run_for(&w, 1100);
	ask(&w, &many[0], "late.example");
	assert_true(run_until(&w, 1, 5000));
	assert_true(w.a.ports > before);
	server_release(&w.a);
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(held.status, DNS_FOUND);
	close_world(&w);
}

static void test_other_servers_while_queries_run(void **state)
{
	struct world w;
	struct asker waits, known, joins;
	(void)state;
	open_world(&w);
	ask(&w, &known, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(known.last_octet, 1);
	ask(&w, &waits, "hold.example");
	run_for(&w, 50);
	const struct name_servers b = at(&w.b, NULL), same = at(&w.a, NULL);
	assert_int_equal(resolver_set_servers(w.resolver, &same), 0);
	ask(&w, &known, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(w.a.questions, 2); /* the same servers: nothing is forgotten, nothing asked again */
	assert_int_equal(resolver_set_servers(w.resolver, &b), 0);
	ask(&w, &joins, "hold.example");
	ask(&w, &known, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(known.last_octet, 2); /* the other server may know better */
	server_release(&w.a);                  /* too late */
	run_for(&w, 50);
	assert_int_equal(waits.answers, 0);
	server_release(&w.b);
	assert_true(run_until(&w, 2, 5000));
	assert_int_equal(waits.last_octet, 2);
	assert_int_equal(joins.last_octet, 2);
	assert_int_equal(w.b.questions, 2);
	close_world(&w);
}

/* What was said is not asked again while it is good: yes, no, and trouble, which is good for a few seconds. */
static void test_cache(void **state)
{
	static const struct {
		const char *name;
		enum dns_status status;
	} cases[] = { { "plain.example", DNS_FOUND }, { "nxdomain.example", DNS_NO_NAME }, { "servfail.example", DNS_FAILED } };
	struct world w;
	struct asker a;
	(void)state;
	open_world(&w);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		ask(&w, &a, cases[i].name);
		assert_true(run_until(&w, 1, 15000));
		assert_int_equal(a.status, cases[i].status);
		const unsigned before = w.a.questions;
		for (unsigned k = 0; k < 10; k++) {
			ask(&w, &a, cases[i].name);
			assert_true(run_until(&w, 1, 1000));
			assert_int_equal(a.status, cases[i].status);
		}
		assert_int_equal(w.a.questions, before);
	}
	assert_non_null(strstr(a.why, "SERVFAIL"));
	assert_int_equal(resolver_stats(w.resolver)->failures, 1);
	assert_int_equal(resolver_stats(w.resolver)->hits, 30);
	size_t entries, bytes;
	resolver_cached(w.resolver, &entries, &bytes);
	assert_int_equal(entries, 3);
	assert_true(bytes > 3 * sizeof "plain.example");
	/* What is no name is never asked for. */
	const unsigned before = w.a.questions;
	ask(&w, &a, "not a name.example");
	assert_true(run_until(&w, 1, 1000));
	assert_int_equal(a.status, DNS_NO_NAME);
	assert_int_equal(w.a.questions, before);
	close_world(&w);
}

static void test_cut_answer_comes_over_tcp(void **state)
{
	struct world w;
	struct asker a[2];
	(void)state;
	open_world(&w);
	ask(&w, &a[0], "cut.example");
	ask(&w, &a[1], "cut.example");
	assert_true(run_until(&w, 2, 5000));
	assert_int_equal(w.a.questions, 1);
	assert_int_equal(w.a.tcp_questions, 1);
	assert_int_equal(a[1].records, 100);
	close_world(&w);
}

static void test_forged_answers(void **state)
{
	struct world w;
	struct asker a;
	(void)state;
	open_world(&w);
	ask(&w, &a, "forged.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(a.status, DNS_FOUND);
	assert_int_equal(a.last_octet, 1);
	close_world(&w);
}

static void test_second_server(void **state)
{
	struct world w;
	struct asker a;
	(void)state;
	open_world(&w);
	/* The first one's port is closed: an ICMP error, not a time-out. */
	struct server gone = w.a;
	server_close(&w.a);
	server_open(&w.a, w.loop, 1);
	const struct name_servers servers = at(&gone, &w.b);
	assert_int_equal(resolver_set_servers(w.resolver, &servers), 0);
	ask(&w, &a, "plain.example");
	assert_true(run_until(&w, 1, 5000));
	assert_int_equal(a.last_octet, 2);
	close_world(&w);
}

/* Real time, more than twenty seconds of it: only where POSTERN_TEST_ROUNDS asks for the long tests. */
static void test_deadline(void **state)
{
	struct world w;
	struct asker a, joins, late;
	(void)state;
	if (!getenv("POSTERN_TEST_ROUNDS"))
		skip();
	open_world(&w);
	/* Tries at two servers, each round twice as long as the one before, would last longer than the deadline. */
	const struct name_servers servers = { .count = 3, .list = { at(&w.a, NULL).list[0], at(&w.b, NULL).list[0], { { ADDR_V4, { 127, 0, 0, 9 } }, w.a.port } } };
	assert_int_equal(resolver_set_servers(w.resolver, &servers), 0);
	int mute = socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in ninth = { .sin_family = AF_INET, .sin_port = htons(w.a.port), .sin_addr.s_addr = htonl(0x7f000009) };
	assert_int_equal(bind(mute, (struct sockaddr *)&ninth, sizeof ninth), 0);
	const uint64_t begin = loop_now_ms(w.loop);
	ask(&w, &a, "hold.example");
	run_for(&w, 10000);
	ask(&w, &joins, "hold.example");
	assert_true(run_until(&w, 2, 15000));
	const uint64_t took = loop_now_ms(w.loop) - begin;
	assert_true(took >= RESOLVER_DEADLINE_MS - 50 && took < RESOLVER_DEADLINE_MS + 1000);
	assert_int_equal(a.status, DNS_FAILED);
	assert_string_equal(a.why, "time-out");
	assert_int_equal(joins.status, DNS_FAILED);
	/* The answer comes all the same: the cache has it instead of the failure. */
	const unsigned before = w.a.questions + w.b.questions;
	server_release(&w.a);
	server_release(&w.b);
	run_for(&w, 100);
	ask(&w, &late, "hold.example");
	assert_true(run_until(&w, 1, 1000));
	assert_int_equal(late.status, DNS_FOUND);
	assert_int_equal(w.a.questions + w.b.questions, before);
	(void)close(mute);
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_query_for_all_who_wait),
		cmocka_unit_test(test_cancel),
		cmocka_unit_test(test_callback_that_asks_and_cancels),
		cmocka_unit_test(test_share_of_queries),
		cmocka_unit_test(test_many_clients_with_dead_servers),
		cmocka_unit_test(test_busy_resolver_changes_ports),
		cmocka_unit_test(test_other_servers_while_queries_run),
		cmocka_unit_test(test_cache),
		cmocka_unit_test(test_cut_answer_comes_over_tcp),
		cmocka_unit_test(test_forged_answers),
		cmocka_unit_test(test_second_server),
		cmocka_unit_test(test_deadline),
	};
	return cmocka_run_group_tests_name("resolver", tests, NULL, NULL);
}
