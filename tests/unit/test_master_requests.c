/* What a worker waits for from the master: answers that are late, wrong, missing, or come while somebody asks and cancels. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "master_requests.h"
#include "origin_lookups.h"
#include "role_messages.h"

#define MAX 8u
#define DEADLINE_MS 30u

struct question {
	uint64_t ticket;
	uint32_t what;
};

struct answer {
	uint64_t ticket;
	uint32_t what;
};

static struct loop *loop;
static struct ipc_channel *master;
static struct master_requests *requests;
static int master_end;

/* An asker, as the table copies it: a pointer to what is kept here. */
struct asker {
	uint64_t ticket;
	unsigned told, overdue;
	uint32_t what;
	int fd;
	uint64_t cancels; /* in the callback */
	bool asks_again;
};

static int ask_for(struct asker *asker, int fd);

static void answered(const void *data, const void *answer, int fd)
{
	struct asker *asker;
	memcpy(&asker, data, sizeof asker);
	asker->told++;
	asker->overdue += !answer;
	asker->what = answer ? ((const struct answer *)answer)->what : 0;
	asker->fd = fd;
	if (asker->cancels)
		master_requests_cancel(requests, asker->cancels);
	if (asker->asks_again) {
		asker->asks_again = false;
		assert_int_equal(ask_for(asker, -1), 0);
	}
	if (asker->overdue && master_requests_count(requests) == 0)
		loop_stop(loop);
}

static const struct master_request_kind kind = {
	.type = 77, .max = MAX, .asker_size = sizeof(struct asker *), .deadline_ms = DEADLINE_MS, .answered = answered
};

static int ask_for(struct asker *asker, int fd)
{
	struct question question = { .what = 5 };
	int err = master_requests_ask(requests, &question, sizeof question, fd, &asker);
	asker->ticket = err ? 0 : question.ticket;
	return err;
}

static void take(uint64_t ticket, uint32_t what, int fd)
{
	const struct answer answer = { ticket, what };
	master_requests_take(requests, ticket, &answer, fd);
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void ignore_message(void *ctx, struct ipc_message *msg)
{
	(void)ctx;
	(void)msg;
}

static void closed(void *ctx, int err)
{
	(void)ctx;
	(void)err;
	loop_stop(loop);
}

static int setup(void **state)
{
	int pair[2];
	(void)state;
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(ipc_pair(pair), 0);
	master_end = pair[1];
	assert_int_equal(ipc_channel_create(loop, pair[0], ignore_message, closed, NULL, &master), 0);
	return master_requests_create(loop, master, &kind, &requests);
}

static int teardown(void **state)
{
	(void)state;
	master_requests_destroy(&requests);
	assert_null(requests);
	master_requests_destroy(&requests);
	ipc_channel_destroy(&master);
	if (master_end >= 0)
		(void)close(master_end);
	loop_destroy(&loop);
	return 0;
}

static void test_question_and_answer(void **state)
{
	struct asker a = { .told = 0 };
	struct ipc_message msg;
	struct question question;
	(void)state;
	assert_int_equal(ask_for(&a, STDIN_FILENO), 0);
	assert_int_equal(ipc_receive_wait(master_end, 1000, &msg), 0);
	assert_int_equal(msg.type, 77);
	assert_int_equal(msg.len, sizeof question);
	assert_int_equal(msg.fd_count, 1);
	memcpy(&question, msg.payload, sizeof question);
	ipc_message_drop(&msg);
	assert_int_equal(question.ticket, a.ticket);
	assert_int_equal(question.what, 5);
	int fd = dup(STDIN_FILENO);
	take(a.ticket, 9, fd);
	assert_int_equal(a.told, 1);
	assert_int_equal(a.what, 9);
	assert_int_equal(a.fd, fd);
	assert_true(is_open(fd));
	(void)close(fd);
	assert_int_equal(master_requests_count(requests), 0);
}

/* A sibling that is taken over, or just slow: nobody else is told, and no descriptor stays. */
static void test_answers_nobody_waits_for(void **state)
{
	struct asker a = { .told = 0 }, b = { .told = 0 };
	(void)state;
	assert_int_equal(ask_for(&a, -1), 0);
	assert_int_equal(ask_for(&b, -1), 0);
	take(a.ticket, 1, -1);
	master_requests_cancel(requests, b.ticket);
	master_requests_cancel(requests, b.ticket);
	master_requests_cancel(requests, 0);
	const uint64_t wrong[] = { 0, a.ticket, b.ticket, b.ticket + 1, UINT64_MAX };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		int fd = dup(STDIN_FILENO);
		take(wrong[i], 2, fd);
		assert_false(is_open(fd));
		take(wrong[i], 2, -1);
	}
	assert_int_equal(a.told, 1);
	assert_int_equal(a.what, 1);
	assert_int_equal(b.told, 0);
	/* A ticket is never given again. */
	uint64_t last = b.ticket;
	assert_int_equal(ask_for(&b, -1), 0);
	assert_true(b.ticket > last);
}

static void test_full(void **state)
{
	struct asker all[MAX] = { { .told = 0 } }, more = { .told = 0 };
	(void)state;
	for (size_t i = 0; i < MAX; i++)
		assert_int_equal(ask_for(&all[i], -1), 0);
	assert_int_equal(ask_for(&more, -1), ERR_BUSY);
	/* Out of their order: the last, the first, one between. */
	take(all[MAX - 1].ticket, 1, -1);
	take(all[0].ticket, 1, -1);
	take(all[3].ticket, 1, -1);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(ask_for(&more, -1), 0);
	assert_int_equal(ask_for(&more, -1), ERR_BUSY);
	for (size_t i = 0; i < MAX; i++)
		assert_int_equal(all[i].told, i == 0 || i == 3 || i == MAX - 1);
}

static void test_asks_and_cancels_in_the_callback(void **state)
{
	struct asker all[4] = { { .told = 0 } };
	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(ask_for(&all[i], -1), 0);
	const uint64_t first = all[0].ticket;
	all[0].cancels = all[1].ticket;
	all[0].asks_again = true;
	all[2].cancels = all[2].ticket; /* itself: has been told by then */
	take(first, 1, -1);
	take(first, 1, -1);
	take(all[1].ticket, 1, -1);
	take(all[2].ticket, 1, -1);
	assert_int_equal(all[0].told, 1);
	assert_int_equal(all[1].told, 0);
	assert_int_equal(all[2].told, 1);
	assert_int_equal(master_requests_count(requests), 2);
	/* All that is left goes at the deadline, which cancels as well. */
	all[3].cancels = all[0].ticket;
	loop_run(loop);
	assert_int_equal(all[3].overdue, 1);
	assert_int_equal(all[0].told, 1);
}

static void test_silent_master(void **state)
{
	struct asker a = { .asks_again = true }, b = { .told = 0 };
	(void)state;
	assert_int_equal(ask_for(&a, -1), 0);
	assert_int_equal(ask_for(&b, -1), 0);
	const uint64_t begin = loop_now_ms(loop);
	loop_run(loop);
	assert_int_equal(a.overdue, 2); /* and once for what it asked then */
	assert_int_equal(b.overdue, 1);
	assert_int_equal(a.fd, -1);
	assert_true(loop_now_ms(loop) - begin >= DEADLINE_MS);
	/* Late. */
	int fd = dup(STDIN_FILENO);
	take(b.ticket, 1, fd);
	assert_false(is_open(fd));
	assert_int_equal(b.told, 1);
}

static void test_master_that_hangs(void **state)
{
	struct asker a = { .told = 0 };
	(void)state;
	while (!ipc_channel_is_behind(master))
		assert_int_equal(ipc_channel_send(master, 1, NULL, 0, NULL, 0), 0);
	assert_int_equal(ask_for(&a, -1), ERR_BUSY);
	assert_int_equal(master_requests_count(requests), 0);
}

static void test_dead_master(void **state)
{
	struct asker a = { .told = 0 }, b = { .told = 0 };
	(void)state;
	assert_int_equal(ask_for(&a, -1), 0);
	(void)close(master_end);
	master_end = -1;
	loop_run(loop);
	assert_int_not_equal(ask_for(&b, -1), 0);
	assert_int_equal(master_requests_count(requests), 1);
	loop_run(loop);
	assert_int_equal(a.overdue, 1);
	assert_int_equal(b.told, 0);
}

/* ---- origin_lookups.h: with descriptors of its own, and text from the master */

static struct {
	unsigned calls;
	int fd, err;
	struct origdst where;
	char why[sizeof((struct reason *)0)->text + 1];
} placed;

static void place(void *ctx, int fd, int err, const struct origdst *where, const char *why)
{
	assert_ptr_equal(ctx, &placed);
	placed.calls++;
	placed.fd = fd;
	placed.err = err;
	placed.where = *where;
	(void)strncpy(placed.why, why, sizeof placed.why - 1);
}

static void test_origins(void **state)
{
	struct master_requests *lookups;
	const struct origdst where = { .client = { { ADDR_V4, { 192, 0, 2, 1 } }, 4000 }, .mark = 6 };
	struct role_origin said = { .ticket = 1, .original = { { ADDR_V4, { 192, 0, 2, 9 } }, 25 } };
	int fd = dup(STDIN_FILENO), other = dup(STDIN_FILENO), strangers = dup(STDIN_FILENO);
	(void)state;
	assert_int_equal(origin_lookups_create(loop, master, &lookups), 0);
	assert_int_equal(origin_lookups_add(lookups, fd, 0, &where, place, &placed), 0);
	assert_int_equal(origin_lookups_add(lookups, other, 0, &where, place, &placed), 0);
	assert_int_equal(origin_lookups_add(lookups, strangers, 0, &where, place, &said), 0);
	master_requests_take(lookups, said.ticket, &said, -1);
	assert_int_equal(placed.calls, 1);
	assert_int_equal(placed.fd, fd);
	assert_int_equal(placed.err, 0);
	assert_true(endpoint_eq(&placed.where.original, &said.original));
	assert_true(endpoint_eq(&placed.where.client, &where.client));
	assert_int_equal(placed.where.mark, 6);
	/* A text without an end, and a refusal that names a place all the same. */
	assert_int_equal(origin_lookups_add(lookups, fd, 0, &where, place, &placed), 0);
	memset(said.why.text, 'x', sizeof said.why.text);
	said.ticket = 4;
	said.err = ERR_REFUSED;
	master_requests_take(lookups, said.ticket, &said, -1);
	assert_int_equal(placed.err, ERR_REFUSED);
	assert_int_equal(placed.where.original.addr.family, ADDR_NONE);
	assert_int_equal(strlen(placed.why), sizeof said.why.text - 1);
	/* A listener that goes takes its own with it, no others. */
	origin_lookups_drop(lookups, &placed);
	assert_int_equal(placed.calls, 2);
	assert_false(is_open(other));
	assert_true(is_open(fd) && is_open(strangers));
	assert_int_equal(master_requests_count(lookups), 1);
	origin_lookups_drop(lookups, &said);
	assert_false(is_open(strangers));
	(void)close(fd);
	master_requests_destroy(&lookups);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_question_and_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_answers_nobody_waits_for, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_asks_and_cancels_in_the_callback, setup, teardown),
		cmocka_unit_test_setup_teardown(test_silent_master, setup, teardown),
		cmocka_unit_test_setup_teardown(test_master_that_hangs, setup, teardown),
		cmocka_unit_test_setup_teardown(test_dead_master, setup, teardown),
		cmocka_unit_test_setup_teardown(test_origins, setup, teardown),
	};
	return cmocka_run_group_tests_name("master_requests", tests, NULL, NULL);
}
