/* A worker's side of the external checker (proxy/checker_link.c, content_extcheck.c) against a checker that answers well, badly, late or not at all. */
#include "checker_link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check_args.h"
#include "check_file.h"
#include "content_check.h"
#include "log.h"
#include "rules.h"

#define WIRE "Received: x\r\nSubject: x\r\n\r\ntext\r\n.\r\n"
#define CHANGED "Received: x\r\nSubject: y\r\n\r\ntext\r\n.\r\n"

static struct session_host host; /* large */
static struct counter_slot counters;
static struct ipc_channel *checker, *to_master, *master;
static struct loop_timer *guard;
static unsigned lost; /* what the master was told */

/* What the checker does with a question. */
enum behaviour { ANSWERS, KEEPS_SILENT, DIES, TALKS_NONSENSE, ANSWERS_ANOTHER };
static enum behaviour behaviour;
static struct checker_answer answer;
static int answer_fd;
static unsigned asked, cancelled;

/* What became of the message. */
static struct content_verdict verdict;
static bool is_done, is_changed;

static void stop(void *ctx)
{
	(void)ctx;
	loop_stop(host.loop);
}

static void overdue(void *ctx)
{
	(void)ctx;
	fail_msg("nothing happens any more");
}

static void at_master(void *ctx, struct ipc_message *msg)
{
	(void)ctx;
	assert_int_equal(msg->type, ROLE_CHECKER_LOST);
	lost++;
}

static void channel_closed(void *ctx, int err)
{
	(void)ctx;
	(void)err;
}

/* The question is what it should be. */
static void look_at_question(struct ipc_message *msg)
{
	struct checker_question question;
	struct check_args args;
	char bytes[256];
	assert_int_equal(msg->len, sizeof question);
	assert_int_equal(msg->fd_count, 2);
	memcpy(&question, msg->payload, sizeof question);
	assert_int_equal(question.wire_len, sizeof WIRE - 1);
	assert_int_equal(pread(msg->fds[0], bytes, sizeof bytes, 0), sizeof WIRE - 1);
	assert_memory_equal(bytes, WIRE, sizeof WIRE - 1);
	ssize_t n = pread(msg->fds[1], bytes, sizeof bytes, 0);
	assert_true(n > 0);
	assert_int_equal(check_args_parse((struct span){ bytes, (size_t)n }, &args), 0);
	assert_string_equal(args.client, "192.0.2.10");
	assert_string_equal(args.sender, "<>");
	assert_string_equal(args.recipients[0], "<b@protected.example>");
	check_args_free(&args);
	answer.ticket = question.ticket;
}

static void at_checker(void *ctx, struct ipc_message *msg)
{
	(void)ctx;
	if (msg->type == CHECKER_CANCEL) {
		cancelled++;
		return;
	}
	asked++;
	look_at_question(msg);
	switch (behaviour) {
	case ANSWERS: (void)ipc_channel_send(checker, CHECKER_ANSWER, &answer, sizeof answer, &answer_fd, answer_fd >= 0 ? 1 : 0); break;
	case KEEPS_SILENT: loop_stop(host.loop); break;
	case DIES: ipc_channel_destroy(&checker); break;
	case TALKS_NONSENSE: (void)ipc_channel_send(checker, CHECKER_ANSWER, "x", 1, NULL, 0); break;
	case ANSWERS_ANOTHER:
		answer.ticket += 100;
		(void)ipc_channel_send(checker, CHECKER_ANSWER, &answer, sizeof answer, NULL, 0);
		answer.ticket -= 100;
		(void)ipc_channel_send(checker, CHECKER_ANSWER, &answer, sizeof answer, NULL, 0);
		break;
	}
}

static void join(void)
{
	int fds[2];
	assert_int_equal(ipc_pair(fds), 0);
	ipc_channel_destroy(&checker);
	assert_int_equal(ipc_channel_create(host.loop, fds[0], at_checker, channel_closed, NULL, &checker), 0);
	checker_link_take(host.checker, fds[1]);
}

static int setup(void **unused)
{
	int fds[2];
	(void)unused;
	log_setup("test", LOG_FORM_TERMINAL, (enum log_level)0);
	memset(&host, 0, sizeof host);
	memset(&counters, 0, sizeof counters);
	conf_defaults(&host.conf.conf);
	strcpy(host.conf.conf.check_command, "/bin/true");
	host.counters = &counters;
	assert_int_equal(loop_create(&host.loop), 0);
	assert_int_equal(loop_timer_create(host.loop, overdue, NULL, &guard), 0);
	loop_timer_start(guard, 20000);
	assert_int_equal(ipc_pair(fds), 0);
	assert_int_equal(ipc_channel_create(host.loop, fds[0], at_master, channel_closed, NULL, &master), 0);
	assert_int_equal(ipc_channel_create(host.loop, fds[1], at_master, channel_closed, NULL, &to_master), 0);
	assert_int_equal(checker_link_create(host.loop, to_master, &host.checker), 0);
	join();
	answer = (struct checker_answer){ .result = CHECKER_ACCEPT };
	answer_fd = -1;
	behaviour = ANSWERS;
	asked = cancelled = lost = 0;
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	assert_int_equal(counters.values[COUNTER_EXTCHECKS], 0);
	checker_link_destroy(&host.checker);
	ipc_channel_destroy(&checker);
	ipc_channel_destroy(&to_master);
	ipc_channel_destroy(&master);
	loop_timer_destroy(&guard);
	loop_destroy(&host.loop);
	if (answer_fd >= 0)
		(void)close(answer_fd);
	return 0;
}

static void checked(void *ctx, const struct content_result *result)
{
	(void)ctx;
	verdict = *result->verdict;
	is_changed = result->changed != NULL;
	if (is_changed) {
		char bytes[256];
		assert_int_equal(pread(result->changed->fd, bytes, sizeof bytes, 0), sizeof CHANGED - 1);
		assert_memory_equal(bytes, CHANGED, sizeof CHANGED - 1);
		assert_int_equal(result->changed->len, sizeof CHANGED - 1);
	}
	is_done = true;
	loop_stop(host.loop);
}

static struct content_check *start(void)
{
	static const struct content_image image = { .memory = { WIRE, sizeof WIRE - 1 }, .fd = -1, .len = sizeof WIRE - 1, .own_len = 13 };
	static struct spool_recipient recipient;
	static struct spool_envelope envelope;
	struct content_check *check = NULL;
	recipient = (struct spool_recipient){ .path = SPAN_LIT("b@protected.example") };
	envelope = (struct spool_envelope){ .from = SPAN_LIT(""), .recipients = &recipient, .recipient_count = 1 };
	assert_int_equal(addr_parse(SPAN_LIT("192.0.2.10"), &envelope.client.addr), 0);
	is_done = is_changed = false;
	assert_int_equal(content_check_create(&host, 1, NEED_EXTCHK, &check), 0);
	content_check_run(check, &image, &envelope, checked, NULL);
	return check;
}

static void run(unsigned code)
{
	struct content_check *check = start();
	loop_run(host.loop);
	assert_true(is_done);
	assert_int_equal(verdict.outcome == CONTENT_PASS ? 250 : verdict.code, code);
	content_check_destroy(&check);
}

static void test_each_result(void **unused)
{
	static const unsigned codes[CHECKER_RESULT_COUNT] = { 250, 552, 451, 451, 451, 451, 451 };
	(void)unused;
	for (int result = 0; result < CHECKER_RESULT_COUNT; result++) {
		answer.result = result;
		strcpy(answer.said, "because \"so\"\x1b[0m");
		run(codes[result]);
		assert_non_null(strstr(verdict.why, checker_result_name((enum checker_result)result)));
	}
	assert_int_equal(counters.values[COUNTER_EXTCHECK_ACCEPTED], 1);
	assert_int_equal(counters.values[COUNTER_EXTCHECK_REJECTED], 1);
	assert_int_equal(counters.values[COUNTER_EXTCHECK_FAILED], 2);
	assert_int_equal(lost, 0);
}

static void test_odd_answers(void **unused)
{
	(void)unused;
	answer.result = CHECKER_RESULT_COUNT;
	run(451);
	answer.result = -1;
	run(451);
	answer.result = CHECKER_REJECT;
	memset(answer.said, 'x', sizeof answer.said); /* without its end */
	run(552);
	answer.result = CHECKER_ACCEPT;
	answer.changed_len = 100; /* and no descriptor */
	run(451);
	answer.changed_len = 0;
	behaviour = ANSWERS_ANOTHER;
	run(250);
}

static void give(const char *bytes, size_t len, unsigned seals)
{
	if (answer_fd >= 0)
		(void)close(answer_fd);
	answer_fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(write(answer_fd, bytes, len), len);
	assert_int_equal(fcntl(answer_fd, F_ADD_SEALS, seals), 0);
	answer.changed_len = len;
}

static void test_changed_messages(void **unused)
{
	(void)unused;
	give(CHANGED, sizeof CHANGED - 1, CHECK_FILE_SEALS);
	run(250);
	assert_true(is_changed);
	assert_int_equal(counters.values[COUNTER_EXTCHECK_CHANGED], 1);
	/* Who refuses changes nothing. */
	answer.result = CHECKER_REJECT;
	run(552);
	assert_false(is_changed);
	answer.result = CHECKER_ACCEPT;
	answer.changed_len++;
	run(451);
	answer.changed_len = UINT64_MAX;
	run(451);
	give(CHANGED, sizeof CHANGED - 1, F_SEAL_WRITE); /* it could still get shorter */
	run(451);
	give("x\r\n.\r\nMAIL FROM:<a@b>\r\n.\r\n", 27, CHECK_FILE_SEALS); /* two messages */
	run(451);
	give("x\n.\n.\r\n", 7, CHECK_FILE_SEALS);
	run(451);
	/* No memory file at all. */
	(void)close(answer_fd);
	answer_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	run(451);
	assert_int_equal(counters.values[COUNTER_EXTCHECK_CHANGED], 1);
}

static void test_no_checker(void **unused)
{
	(void)unused;
	behaviour = DIES;
	run(451);
	assert_string_equal(verdict.why, "external check: failed: the checker has died");
	run(451); /* asks nobody */
	assert_int_equal(asked, 1);
	/* A new one. */
	behaviour = ANSWERS;
	join();
	run(250);
	behaviour = TALKS_NONSENSE;
	run(451);
	behaviour = ANSWERS;
	join();
	run(250);
	assert_int_equal(lost, 2);
}

static void test_a_new_channel_ends_old_questions(void **unused)
{
	struct content_check *check;
	(void)unused;
	behaviour = KEEPS_SILENT;
	check = start();
	loop_run(host.loop);
	assert_false(is_done);
	assert_int_equal(counters.values[COUNTER_EXTCHECKS], 1);
	join();
	loop_run(host.loop);
	assert_true(is_done);
	assert_int_equal(verdict.code, 451);
	content_check_destroy(&check);
}

static void test_cancelling(void **unused)
{
	struct content_check *check, *other;
	struct loop_timer *timer;
	(void)unused;
	behaviour = KEEPS_SILENT;
	check = start();
	loop_run(host.loop);
	content_check_destroy(&check);
	/* While a job looks at what came back. */
	behaviour = ANSWERS;
	give(CHANGED, sizeof CHANGED - 1, CHECK_FILE_SEALS);
	other = start();
	assert_int_equal(loop_timer_create(host.loop, stop, NULL, &timer), 0);
	while (asked < 2) {
		loop_timer_start(timer, 1);
		loop_run(host.loop);
	}
	content_check_destroy(&other);
	loop_timer_start(timer, 50);
	loop_run(host.loop);
	assert_true(cancelled >= 1);
	loop_timer_destroy(&timer);
}

static void on_answer(void *ctx, const struct checker_answer *got, int changed_fd)
{
	struct checker_answer *out = ctx;
	*out = *got;
	assert_int_equal(changed_fd, -1);
	loop_stop(host.loop);
}

static void test_no_answer_in_time(void **unused)
{
	static const char packet[] = "192.0.2.10\0<>\0<b@protected.example>";
	struct checker_asked *question = NULL;
	struct checker_answer got = { .result = -1 };
	int wire_fd = memfd_create("test", MFD_CLOEXEC), args_fd = memfd_create("test", MFD_CLOEXEC);
	(void)unused;
	assert_int_equal(write(wire_fd, WIRE, sizeof WIRE - 1), sizeof WIRE - 1);
	assert_int_equal(write(args_fd, packet, sizeof packet), sizeof packet);
	behaviour = KEEPS_SILENT;
	assert_int_equal(checker_link_ask(host.checker, sizeof WIRE - 1, wire_fd, args_fd, 50, on_answer, &got, &question), 0);
	(void)close(wire_fd);
	(void)close(args_fd);
	while (got.result < 0)
		loop_run(host.loop);
	assert_int_equal(got.result, CHECKER_FAILED);
	/* The checker is told, and what it answers later is nobody's. */
	while (!cancelled) {
		struct loop_timer *timer;
		assert_int_equal(loop_timer_create(host.loop, stop, NULL, &timer), 0);
		loop_timer_start(timer, 1);
		loop_run(host.loop);
		loop_timer_destroy(&timer);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_each_result), TEST(test_odd_answers), TEST(test_changed_messages), TEST(test_no_checker),
		TEST(test_a_new_channel_ends_old_questions), TEST(test_cancelling), TEST(test_no_answer_in_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
