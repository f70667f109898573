/* How ident is asked (rules/ident.c), and how its connections come from the master: ident_sockets.c in a worker, ident_broker.c in the master. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "err.h"
#include "ident.h"
#include "ident_broker.h"
#include "ident_sockets.h"
#include "log.h"

static struct loop *loop;
static struct loop_timer *guard;
static int listener;
static struct sockaddr_in listen_at;

static void overdue(void *ctx)
{
	(void)ctx;
	fail_msg("nothing happens any more");
}

static int setup(void **state)
{
	socklen_t len = sizeof listen_at;
	(void)state;
	log_setup("test", LOG_FORM_TERMINAL, LOG_LEVEL_ERR);
	listen_at = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&listen_at, len), 0);
	assert_int_equal(listen(listener, 16), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&listen_at, &len), 0);
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(loop_timer_create(loop, overdue, NULL, &guard), 0);
	loop_timer_start(guard, 10000);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_timer_destroy(&guard);
	loop_destroy(&loop);
	(void)close(listener);
	return 0;
}

/* Descriptors, so that a test sees which are lost. */
static int lowest_free_fd(void)
{
	int fd = dup(listener);
	(void)close(fd);
	return fd;
}

static struct addr loopback(void)
{
	return (struct addr){ ADDR_V4, { 127, 0, 0, 1 } };
}

/* ---- ident.c, with an opener of ours */

enum opener_does { OPENS, SAYS_NO, REFUSES_AT_ONCE, NEVER_ANSWERS, OPENS_NOWHERE };

struct opener {
	enum opener_does does;
	struct loop_task task;
	ident_opened_fn opened;
	void *opened_ctx;
	unsigned asked, cancelled;
	int hole; /* a listener whose queue is full: it does not answer */
	int filler[4];
};

static int connect_to(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(connect(fd, (const struct sockaddr *)sa, sizeof *sa) == 0 || errno == EINPROGRESS);
	return fd;
}

static int connect_nowhere(struct opener *o)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof sa;
	o->hole = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(o->hole, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(listen(o->hole, 0), 0);
	assert_int_equal(getsockname(o->hole, (struct sockaddr *)&sa, &len), 0);
	for (size_t i = 0; i < 4; i++)
		o->filler[i] = connect_to(&sa);
	return connect_to(&sa);
}

static void open_now(void *ctx)
{
	struct opener *o = ctx;
	o->opened(o->opened_ctx, o->does == OPENS ? connect_to(&listen_at) : o->does == OPENS_NOWHERE ? connect_nowhere(o) : -1);
}

static uint64_t fake_ask(void *ctx, ident_opened_fn opened, void *opened_ctx)
{
	struct opener *o = ctx;
	o->asked++;
	o->opened = opened;
	o->opened_ctx = opened_ctx;
	o->task = (struct loop_task){ .fn = open_now, .ctx = o };
	if (o->does != REFUSES_AT_ONCE && o->does != NEVER_ANSWERS)
		loop_task_post(loop, &o->task);
	return o->does == REFUSES_AT_ONCE ? 0 : 7;
}

static void fake_cancel(void *ctx, uint64_t ticket)
{
	struct opener *o = ctx;
	assert_int_equal(ticket, 7);
	loop_task_cancel(&o->task);
	o->cancelled++;
}

static const struct ident_opener fake_opener = { fake_ask, fake_cancel };

struct answer {
	unsigned count;
	enum ident_result result;
	char user[32];
};

static void answered(void *ctx, enum ident_result result, struct span user)
{
	struct answer *a = ctx;
	a->count++;
	a->result = result;
	assert_int_equal(span_to_cstr(user, a->user, sizeof a->user), 0);
	loop_stop(loop);
}

/* The client's ident server: one question, answered with what it is about. */
static void serve(void *ctx, unsigned events)
{
	static const char answer[] = "4000, 25 : USERID : UNIX : alice\r\n";
	char got[64] = { 0 };
	(void)ctx;
	(void)events;
	int fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(recv(fd, got, sizeof got - 1, 0), 10);
	assert_string_equal(got, "4000, 25\r\n");
	assert_int_equal(send(fd, answer, sizeof answer - 1, 0), sizeof answer - 1);
	(void)close(fd);
}

static struct ident_stats stats;
static uint64_t took_ms;

static struct answer run(struct opener *o, uint64_t timeout_ms)
{
	const int defer_s = 5;
	struct loop_io *io;
	struct ident *ident = NULL;
	struct answer answer = { .count = 0 };
	const struct ident_question question = { loopback(), 4000, 25, timeout_ms, o ? &fake_opener : NULL, o, &stats };
	uint64_t begun = loop_now_ms(loop);
	stats = (struct ident_stats){ 0 };
	/* Whoever is accepted has asked already. */
	assert_int_equal(setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_s, sizeof defer_s), 0);
	assert_int_equal(loop_io_create(loop, listener, serve, NULL, &io), 0);
	assert_int_equal(loop_io_want(io, LOOP_READ), 0);
	assert_int_equal(ident_start(loop, &question, answered, &answer, &ident), 0);
	assert_int_equal(answer.count, 0);
	loop_run(loop);
	took_ms = loop_now_ms(loop) - begun;
	ident_cancel(&ident);
	loop_io_destroy(&io);
	assert_int_equal(answer.count, 1);
	return answer;
}

static void test_on_the_openers_connection(void **state)
{
	struct opener o = { .does = OPENS };
	int fd = lowest_free_fd();
	(void)state;
	struct answer a = run(&o, 5000);
	assert_int_equal(a.result, IDENT_USER);
	assert_string_equal(a.user, "alice");
	assert_int_equal(stats.queries, 1);
	assert_int_equal(stats.from_own_address, 0);
	assert_int_equal(o.cancelled, 0);
	assert_int_equal(lowest_free_fd(), fd);
}

/* Nobody listens on port 113 of this host, which refuses. */
static void test_from_our_own_address(void **state)
{
	static const enum opener_does ways[] = { SAYS_NO, REFUSES_AT_ONCE };
	int fd = lowest_free_fd();
	(void)state;
	assert_int_equal(run(NULL, 5000).result, IDENT_NOBODY);
	assert_int_equal(stats.from_own_address, 1);
	for (size_t i = 0; i < 2; i++) {
		struct opener o = { .does = ways[i] };
		assert_int_equal(run(&o, 5000).result, IDENT_NOBODY);
		assert_int_equal(o.asked, 1);
		assert_int_equal(o.cancelled, 0);
		assert_int_equal(stats.queries, 1);
		assert_int_equal(stats.from_own_address, 1);
		assert_int_equal(stats.lost, 0);
		assert_in_range(took_ms, 0, 1000);
	}
	assert_int_equal(lowest_free_fd(), fd);
}

static void test_an_opener_that_never_answers(void **state)
{
	struct opener o = { .does = NEVER_ANSWERS };
	(void)state;
	assert_int_equal(run(&o, 400).result, IDENT_NOBODY);
	assert_in_range(took_ms, 190, 390);
	assert_int_equal(o.cancelled, 1);
	assert_int_equal(stats.from_own_address, 1);
	assert_int_equal(stats.lost, 0);
}

static void test_a_connection_that_leads_nowhere(void **state)
{
	struct opener o = { .does = OPENS_NOWHERE };
	int fd = lowest_free_fd();
	(void)state;
	assert_int_equal(run(&o, 400).result, IDENT_NOBODY);
	assert_in_range(took_ms, 190, 390);
	assert_int_equal(o.cancelled, 0);
	assert_int_equal(stats.from_own_address, 1);
	assert_int_equal(stats.lost, 1);
	(void)close(o.hole);
	for (size_t i = 0; i < 4; i++)
		(void)close(o.filler[i]);
	assert_int_equal(lowest_free_fd(), fd);
}

static void test_cancelled_while_it_is_opened(void **state)
{
	struct opener o = { .does = OPENS };
	struct ident *ident = NULL;
	struct answer answer = { .count = 0 };
	const struct ident_question question = { loopback(), 4000, 25, 5000, &fake_opener, &o, &stats };
	(void)state;
	assert_int_equal(ident_start(loop, &question, answered, &answer, &ident), 0);
	ident_cancel(&ident);
	assert_null(ident);
	assert_int_equal(o.cancelled, 1);
	assert_int_equal(answer.count, 0);
}

/* ---- a worker's side */

static struct master_requests *sockets;
static struct ipc_channel *master;
static int master_end;
static unsigned opened_count;
static int opened_fd;

static void ignore_message(void *ctx, struct ipc_message *msg)
{
	(void)ctx;
	(void)msg;
}

static void ignore_closed(void *ctx, int err)
{
	(void)ctx;
	(void)err;
}

static void opened(void *ctx, int fd)
{
	assert_ptr_equal(ctx, &opened_count);
	opened_count++;
	opened_fd = fd;
}

static int setup_sockets(void **state)
{
	int pair[2];
	(void)setup(state);
	assert_int_equal(ipc_pair(pair), 0);
	master_end = pair[1];
	opened_count = 0;
	assert_int_equal(ipc_channel_create(loop, pair[0], ignore_message, ignore_closed, NULL, &master), 0);
	return ident_sockets_create(loop, master, &sockets);
}

static int teardown_sockets(void **state)
{
	master_requests_destroy(&sockets);
	ipc_channel_destroy(&master);
	(void)close(master_end);
	return teardown(state);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void test_a_ticket_is_answered_once(void **state)
{
	struct ipc_message msg;
	struct role_ident_wanted wanted;
	(void)state;
	uint64_t ticket = ident_sockets_ask(sockets, listener, 3, opened, &opened_count);
	assert_int_not_equal(ticket, 0);
	assert_int_equal(ipc_receive_wait(master_end, 1000, &msg), 0);
	assert_int_equal(msg.type, ROLE_NEED_IDENT);
	assert_int_equal(msg.len, sizeof wanted);
	assert_int_equal(msg.fd_count, 1);
	memcpy(&wanted, msg.payload, sizeof wanted);
	assert_int_equal(wanted.ticket, ticket);
	assert_int_equal(wanted.listen_index, 3);
	ipc_message_drop(&msg);

	struct role_ident answer = { .ticket = ticket };
	int fd = dup(listener);
	master_requests_take(sockets, answer.ticket, &answer, fd);
	assert_int_equal(opened_count, 1);
	assert_int_equal(opened_fd, fd);
	(void)close(fd);
	/* Again, one that nobody asked for, and none at all: closed. */
	for (answer.ticket = 0; answer.ticket < 3; answer.ticket++) {
		fd = dup(listener);
		master_requests_take(sockets, answer.ticket, &answer, fd);
		assert_false(is_open(fd));
	}
	assert_int_equal(opened_count, 1);
}

static void test_a_cancelled_ticket_closes_what_comes(void **state)
{
	(void)state;
	uint64_t ticket = ident_sockets_ask(sockets, listener, 0, opened, &opened_count);
	master_requests_cancel(sockets, ticket);
	master_requests_cancel(sockets, ticket);
	master_requests_cancel(sockets, 0);
	const struct role_ident answer = { .ticket = ticket };
	int fd = dup(listener);
	master_requests_take(sockets, answer.ticket, &answer, fd);
	assert_false(is_open(fd));
	assert_int_equal(opened_count, 0);
	/* A refusal. */
	const struct role_ident refusal = { .ticket = ident_sockets_ask(sockets, listener, 0, opened, &opened_count), .err = ERR_AGAIN };
	master_requests_take(sockets, refusal.ticket, &refusal, -1);
	assert_int_equal(opened_count, 1);
	assert_int_equal(opened_fd, -1);
}

/* A master that hangs gets no more than its socket takes, and no more than so many questions. */
static void test_bounds_of_a_worker(void **state)
{
	unsigned out = 0;
	uint64_t ticket, last = 0;
	(void)state;
	while (out <= IDENT_SOCKETS_MAX && (ticket = ident_sockets_ask(sockets, listener, 0, opened, &opened_count)) != 0) {
		last = ticket;
		out++;
	}
	assert_in_range(out, 10, IDENT_SOCKETS_MAX);
	while (!ipc_channel_is_behind(master))
		(void)ipc_channel_send(master, ROLE_FORWARDER_LOST, NULL, 0, NULL, 0);
	master_requests_cancel(sockets, last);
	assert_int_equal(ident_sockets_ask(sockets, listener, 0, opened, &opened_count), 0);
	ipc_channel_destroy(&master);
}

/* ---- the master's side */

static struct ident_broker broker;
static struct conf conf;

/* Both ends of a connection, as a worker and its client have them. */
static void connect_pair(int *client_out, int *session_out)
{
	*client_out = connect_to(&listen_at);
	*session_out = accept(listener, NULL, NULL);
	assert_true(*session_out >= 0);
}

static int setup_broker(void **state)
{
	conf_defaults(&conf);
	conf.listen_count = 1;
	conf.listen[0] = (struct conf_listen){ .mode = LISTEN_DIRECT, .port = 25 };
	memset(&broker, 0, sizeof broker);
	return setup(state);
}

static int ask_broker(int fd, uint64_t listen_index, uint64_t now_ms, int *err_out)
{
	const struct role_ident_wanted wanted = { .ticket = 99, .listen_index = listen_index };
	struct role_ident answer = { .ticket = 0 };
	int got = ident_broker_answer(&broker, &conf, 0, now_ms, &wanted, fd, &answer);
	assert_int_equal(answer.ticket, 99);
	assert_true((answer.err == 0) == (got >= 0));
	*err_out = (int)answer.err;
	return got;
}

static int refused_by_broker(int fd, uint64_t listen_index)
{
	int err;
	assert_int_equal(ask_broker(fd, listen_index, 1000000, &err), -1);
	return err;
}

/* What a worker that is taken over could show instead of a client's connection. */
static void test_the_broker_believes_nothing(void **state)
{
	int client, session, err, pair[2];
	int free_fd = lowest_free_fd();
	(void)state;
	connect_pair(&client, &session);
	assert_int_equal(refused_by_broker(session, 1), ERR_PROTO);
	assert_int_equal(refused_by_broker(session, UINT64_MAX), ERR_PROTO);
	assert_int_equal(refused_by_broker(-1, 0), ERR_UNSUPPORTED);
	assert_true(refused_by_broker(listener, 0) < 0);
	assert_true(refused_by_broker(STDERR_FILENO, 0) < 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(refused_by_broker(pair[0], 0) < 0);
	(void)close(pair[0]);
	(void)close(pair[1]);
	/* Nothing diverts what a host sends to itself, and both ends are 127.0.0.1. */
	assert_int_equal(refused_by_broker(session, 0), ERR_INVAL);
	conf.listen[0].mode = LISTEN_REDIRECT;
	err = refused_by_broker(session, 0);
	assert_true(err == ERR_REFUSED || err == ERR_UNSUPPORTED);
	conf.listen[0].mode = LISTEN_DIRECT;
	conf.ident_timeout_s = 0;
	assert_int_equal(refused_by_broker(session, 0), ERR_UNSUPPORTED);
	(void)close(client);
	(void)close(session);
	assert_int_equal(lowest_free_fd(), free_fd);
	assert_false(broker.has_complained);
}

/* A connection from 127.0.0.2 to 127.0.0.1: the one back goes from .1 to port 113 of .2. */
static void test_the_broker_turns_a_connection_round(void **state)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1) };
	socklen_t len = sizeof sa;
	uint32_t mark = 0;
	int err, client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	(void)state;
	assert_int_equal(bind(client, (struct sockaddr *)&sa, len), 0);
	assert_int_equal(connect(client, (struct sockaddr *)&listen_at, sizeof listen_at), 0);
	int session = accept(listener, NULL, NULL);
	static const enum listen_mode modes[] = { LISTEN_DIRECT, LISTEN_TPROXY };
	for (size_t i = 0; i < 2; i++) {
		conf.listen[0].mode = modes[i];
		int fd = ask_broker(session, 0, 1000000, &err);
		if (geteuid() != 0) {
			assert_int_equal(err, ERR_PERM);
			assert_true(broker.has_complained);
			continue;
		}
		/* Port 113 of 127.0.0.2 refuses at once, or will: the connection has an end already, and its other is known. */
		if (fd < 0) {
			assert_int_equal(err, ERR_REFUSED);
			continue;
		}
		len = sizeof sa;
		assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
		assert_int_equal(ntohl(sa.sin_addr.s_addr), INADDR_LOOPBACK);
		len = sizeof mark;
		assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_MARK, &mark, &len), 0);
		assert_int_equal(mark, CONF_OWN_MARK);
		assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
		assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		(void)close(fd);
	}
	(void)close(client);
	(void)close(session);
}

static unsigned served(int fd, uint64_t now_ms)
{
	int err = ERR_INVAL;
	unsigned count = 0;
	while (err == ERR_INVAL && count < 100000) {
		assert_int_equal(ask_broker(fd, 0, now_ms, &err), -1);
		count += err == ERR_INVAL;
	}
	assert_int_equal(err, ERR_AGAIN);
	return count;
}

static void test_the_rate_of_a_worker(void **state)
{
	int client, session;
	(void)state;
	connect_pair(&client, &session);
	assert_int_equal(served(session, 1000000), IDENT_BROKER_RATE);
	assert_int_equal(served(session, 1000000), 0);
	assert_int_equal(served(session, 1000010), IDENT_BROKER_RATE / 100);
	assert_int_equal(served(session, 1000500), IDENT_BROKER_RATE * 49 / 100);
	assert_int_equal(served(session, 9000000), IDENT_BROKER_RATE);
	(void)close(client);
	(void)close(session);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_on_the_openers_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(test_from_our_own_address, setup, teardown),
		cmocka_unit_test_setup_teardown(test_an_opener_that_never_answers, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_connection_that_leads_nowhere, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cancelled_while_it_is_opened, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_ticket_is_answered_once, setup_sockets, teardown_sockets),
		cmocka_unit_test_setup_teardown(test_a_cancelled_ticket_closes_what_comes, setup_sockets, teardown_sockets),
		cmocka_unit_test_setup_teardown(test_bounds_of_a_worker, setup_sockets, teardown_sockets),
		cmocka_unit_test_setup_teardown(test_the_broker_believes_nothing, setup_broker, teardown),
		cmocka_unit_test_setup_teardown(test_the_broker_turns_a_connection_round, setup_broker, teardown),
		cmocka_unit_test_setup_teardown(test_the_rate_of_a_worker, setup_broker, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
