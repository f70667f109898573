/* The engine of the external checker (content/checker.c) with real commands: outcomes, the line, cancelling, time. */
#include "checker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check_args.h"
#include "check_children.h"
#include "check_place.h"
#include "log.h"

#define WIRE "Subject: x\r\n\r\ntext\r\n.\r\n"
#define ANSWERS_MAX 256

static struct loop *loop;
static struct loop_timer *guard;
static struct checker *checker;
static char place[64], program[80];
static int place_fd;
static struct checker_answer answers[ANSWERS_MAX];
static int changed_fds[ANSWERS_MAX];
static uint32_t owners[ANSWERS_MAX];
static size_t answered, wanted;

static void stop(void *ctx)
{
	(void)ctx;
	loop_stop(loop);
}

static void overdue(void *ctx)
{
	(void)ctx;
	fail_msg("nothing happens any more");
}

static void on_answer(void *ctx, uint32_t owner, const struct checker_answer *answer, int changed_fd)
{
	(void)ctx;
	assert_true(answered < ANSWERS_MAX);
	owners[answered] = owner;
	changed_fds[answered] = changed_fd;
	answers[answered++] = *answer;
	if (answered == wanted)
		loop_stop(loop);
}

static void on_idle(void *ctx)
{
	(void)ctx;
	if (wanted == 0)
		loop_stop(loop);
}

static struct checker_options options_of(uint64_t jobs, uint64_t timeout_ms)
{
	struct checker_options o = { .timeout_ms = timeout_ms, .jobs = jobs, .max_bytes = 100000 };
	(void)snprintf(o.command, sizeof o.command, "%s word", program);
	(void)snprintf(o.dir, sizeof o.dir, "%s", place);
	return o;
}

static void write_program(const char *script)
{
	FILE *file = fopen(program, "w");
	assert_non_null(file);
	assert_true(fprintf(file, "#!/bin/sh\n%s\n", script) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(chmod(program, 0755), 0);
}

static void begin(const char *script, uint64_t jobs, uint64_t timeout_ms)
{
	const struct checker_options options = options_of(jobs, timeout_ms);
	write_program(script);
	answered = wanted = 0;
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(loop_timer_create(loop, overdue, NULL, &guard), 0);
	loop_timer_start(guard, 60000);
	int children_fd = check_children_open_prepriv();
	assert_true(children_fd >= 0);
	assert_int_equal(checker_create(loop, place_fd, children_fd, &options, on_answer, on_idle, NULL, &checker), 0);
}

static int memory_of(const char *bytes, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);
	assert_int_equal(write(fd, bytes, len), len);
	return fd;
}

static void ask(uint32_t owner, uint64_t ticket)
{
	static const char packet[] = "192.0.2.10\0<a@b>\0<c@d>";
	checker_ask(checker, owner, ticket, sizeof WIRE - 1, memory_of(WIRE, sizeof WIRE - 1), memory_of(packet, sizeof packet));
}

static void run_until(size_t count)
{
	wanted = count;
	if (answered < count)
		loop_run(loop);
	assert_int_equal(answered, count);
}

/* Until nothing is left; then no file is left either. */
static void end(void)
{
	wanted = 0;
	if (!checker_is_idle(checker))
		loop_run(loop);
	assert_true(checker_is_idle(checker));
	checker_destroy(&checker);
	assert_null(checker);
	loop_timer_destroy(&guard);
	loop_destroy(&loop);
	assert_int_equal(rmdir(place), 0); /* empty */
	assert_int_equal(mkdir(place, 0700), 0);
	(void)close(place_fd);
	struct reason why;
	assert_int_equal(check_place_open(place, &place_fd, &why), 0);
	for (size_t i = 0; i < answered; i++)
		if (changed_fds[i] >= 0)
			(void)close(changed_fds[i]);
}

static void expect_one(const char *script, enum checker_result result, int code, const char *said)
{
	begin(script, 2, 30000);
	ask(3, 42);
	run_until(1);
	assert_int_equal(owners[0], 3);
	assert_int_equal(answers[0].ticket, 42);
	assert_int_equal(answers[0].result, result);
	assert_int_equal(answers[0].code, code);
	assert_string_equal(answers[0].said, said);
	assert_true((changed_fds[0] >= 0) == (answers[0].changed_len != 0));
	end();
}

static void test_outcomes(void **unused)
{
	(void)unused;
	expect_one("exit 0", CHECKER_ACCEPT, 0, "");
	expect_one("echo; echo ' first '; echo second; exit 1", CHECKER_REJECT, 1, "first");
	expect_one("echo err >&2; exit 17", CHECKER_RETRY, 17, "err");
	expect_one("kill -15 $$", CHECKER_KILLED, 15, "");
	expect_one("printf 'no line end'; exit 2", CHECKER_RETRY, 2, "no line end");
	expect_one("printf 'a\\0b\\n'; exit 2", CHECKER_RETRY, 2, "");
	expect_one("head -c 100000 /dev/zero | tr '\\0' x; exit 1", CHECKER_REJECT, 1,
		   "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		   "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	expect_one("[ \"$1\" = word ] && [ \"$4\" = -a ] && [ \"$5 $6 $7 $8 $9\" = '192.0.2.10 -f <a@b> -t 1' ] && [ \"${10}\" = '<c@d>' ]", CHECKER_ACCEPT, 0, "");
	expect_one("printf 'Subject: x\\n\\ntext\\n' | cmp - $3", CHECKER_ACCEPT, 0, "");
}

static void test_a_changed_message(void **unused)
{
	static const char expected[] = "Subject: x\r\n\r\ntext\r\nmore\r\n.\r\n";
	char text[64];
	(void)unused;
	begin("echo more >>$3", 2, 30000);
	ask(0, 1);
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_ACCEPT);
	assert_int_equal(answers[0].changed_len, sizeof expected - 1);
	assert_int_equal(pread(changed_fds[0], text, sizeof text, 0), sizeof expected - 1);
	assert_memory_equal(text, expected, sizeof expected - 1);
	end();
	/* Who refuses changes nothing. */
	begin("echo more >>$3; exit 1", 2, 30000);
	ask(0, 1);
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_REJECT);
	assert_int_equal(changed_fds[0], -1);
	end();
}

static void test_time(void **unused)
{
	(void)unused;
	begin("echo begun; sleep 1000 & wait", 2, 300);
	ask(0, 1);
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_TIMEOUT);
	assert_string_equal(answers[0].said, "begun");
	assert_true(answers[0].ms >= 290);
	end();
}

static void test_the_line(void **unused)
{
	size_t accepted = 0, busy = 0;
	(void)unused;
	begin("exit 0", 3, 30000);
	for (uint64_t i = 0; i < CHECKER_WAITING_MAX + 5; i++)
		ask((uint32_t)(i % 7), i);
	/* Nothing has run yet: what is beyond the line was answered at once. */
	assert_int_equal(answered, 5);
	run_until(CHECKER_WAITING_MAX + 5);
	for (size_t i = 0; i < answered; i++) {
		accepted += answers[i].result == CHECKER_ACCEPT;
		busy += answers[i].result == CHECKER_BUSY;
		assert_int_equal(owners[i], answers[i].ticket % 7);
	}
	assert_int_equal(accepted, CHECKER_WAITING_MAX);
	assert_int_equal(busy, 5);
	end();
}

static void test_who_waits_too_long(void **unused)
{
	(void)unused;
	begin("sleep 1000", 1, 300);
	ask(0, 1);
	ask(0, 2);
	run_until(2);
	assert_true((answers[0].result == CHECKER_BUSY) != (answers[1].result == CHECKER_BUSY));
	assert_true((answers[0].result == CHECKER_TIMEOUT) != (answers[1].result == CHECKER_TIMEOUT));
	end();
}

/* In the line, in a job, and while the command runs. */
static void test_cancelling(void **unused)
{
	(void)unused;
	begin("sleep 1000", 2, 30000);
	for (uint64_t i = 1; i <= 6; i++)
		ask((uint32_t)(i % 2), i);
	checker_cancel(checker, 0, 6);
	checker_cancel(checker, 0, 99);
	checker_cancel(checker, 1, 2); /* not his */
	assert_int_equal(answered, 0);
	struct loop_timer *timer;
	assert_int_equal(loop_timer_create(loop, stop, NULL, &timer), 0);
	loop_timer_start(timer, 200);
	loop_run(loop);
	checker_forget(checker, 0);
	loop_timer_start(timer, 200);
	loop_run(loop);
	assert_false(checker_is_idle(checker));
	checker_forget(checker, 1);
	loop_timer_destroy(&timer);
	wanted = 0;
	end();
	assert_int_equal(answered, 0);
}

static void test_questions_that_make_no_sense(void **unused)
{
	static const char packet[] = "192.0.2.10\0-a@b\0<c@d>";
	int fds[2];
	(void)unused;
	begin("exit 0", 2, 30000);
	checker_ask(checker, 0, 1, 10, -1, -1);
	assert_int_equal(pipe(fds), 0);
	checker_ask(checker, 0, 2, 10, fds[0], fds[1]);
	checker_ask(checker, 0, 3, sizeof WIRE - 1, memory_of(WIRE, sizeof WIRE - 1), memory_of(packet, sizeof packet));
	checker_ask(checker, 0, 4, sizeof WIRE - 1, memory_of(WIRE, sizeof WIRE - 1), memory_of("", 0));
	checker_ask(checker, 0, 5, 1u << 30, memory_of(WIRE, sizeof WIRE - 1), memory_of("192.0.2.10\0<a@b>\0<c@d>", 23));
	run_until(5);
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(answers[i].result, CHECKER_FAILED);
	end();
}

static void test_no_program(void **unused)
{
	(void)unused;
	begin("exit 0", 2, 30000);
	assert_int_equal(unlink(program), 0);
	ask(0, 1);
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_FAILED);
	assert_string_equal(answers[0].said, "the command can't be run: No such file or directory");
	end();
}

/* One argument of more than 128 KiB: execve() says E2BIG. */
static void test_too_long_an_argument(void **unused)
{
	struct buf packet = { 0 };
	struct buf path = { 0 };
	(void)unused;
	begin("exit 0", 2, 30000);
	assert_int_equal(buf_reserve(&path, 200000), 0);
	memset(path.data, 'x', 200000);
	path.len = 200000;
	assert_int_equal(check_args_begin(&packet, "192.0.2.10", SPAN_LIT("a@b")), 0);
	assert_int_equal(check_args_recipient(&packet, buf_span(&path)), 0);
	checker_ask(checker, 0, 1, sizeof WIRE - 1, memory_of(WIRE, sizeof WIRE - 1), memory_of(packet.data, packet.len));
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_FAILED);
	assert_string_equal(answers[0].said, "the command can't be run: Argument list too long");
	end();
	buf_free(&packet);
	buf_free(&path);
}

/* A process in a session of its own, whose parent is gone, ends with the command. */
static void test_strays(void **unused)
{
	char script[400], path[90], text[16];
	(void)unused;
	(void)snprintf(path, sizeof path, "%s.pid", program);
	(void)snprintf(script, sizeof script, "(setsid sh -c 'echo $$ >%s; exec sleep 1000' &) ; while ! [ -s %s ]; do sleep 0.02; done", path, path);
	begin(script, 2, 30000);
	ask(0, 1);
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_ACCEPT);
	FILE *file = fopen(path, "r");
	assert_non_null(file);
	assert_non_null(fgets(text, sizeof text, file));
	(void)fclose(file);
	(void)unlink(path);
	/* Killed, and waited for: each death is looked at by the loop. */
	struct loop_timer *timer;
	assert_int_equal(loop_timer_create(loop, stop, NULL, &timer), 0);
	for (unsigned tries = 0; tries < 500 && kill(atoi(text), 0) == 0; tries++) {
		loop_timer_start(timer, 20);
		loop_run(loop);
	}
	assert_int_equal(kill(atoi(text), 0), -1);
	loop_timer_destroy(&timer);
	end();
}

static void test_other_options(void **unused)
{
	(void)unused;
	begin("exit 0", 1, 30000);
	struct checker_options options = options_of(2, 30000);
	(void)snprintf(options.command, sizeof options.command, "/bin/sh %s.other", program);
	checker_set_options(checker, &options);
	ask(0, 1);
	run_until(1);
	assert_int_equal(answers[0].result, CHECKER_RETRY); /* sh finds no such file: 127 */
	end();
}

static int setup(void **unused)
{
	struct reason why;
	(void)unused;
	log_setup("test", LOG_FORM_TERMINAL, (enum log_level)0);
	strcpy(place, "/tmp/postern-checker-XXXXXX");
	assert_non_null(mkdtemp(place));
	(void)snprintf(program, sizeof program, "%s.sh", place);
	assert_int_equal(check_place_open(place, &place_fd, &why), 0);
	return 0;
}

static int teardown(void **unused)
{
	(void)unused;
	(void)unlink(program);
	return rmdir(place);
}

/* Of a session process that is not itself any more. */
static void test_a_message_larger_than_any(void **unused)
{
	static const char packet[] = "192.0.2.10\0<a@b>\0<c@d>";
	const int wire_fd = memfd_create("test", MFD_CLOEXEC);
	(void)unused;
	begin("exit 0", 1, 20000);
	assert_int_equal(ftruncate(wire_fd, 1 << 22), 0);
	checker_ask(checker, 0, 1, 1 << 22, wire_fd, memory_of(packet, sizeof packet));
	ask(0, 2);
	run_until(2);
	assert_int_equal(answers[0].ticket, 1);
	assert_int_equal(answers[0].result, CHECKER_FAILED);
	assert_string_equal(answers[0].said, "the session's message is larger than any");
	assert_int_equal(answers[1].result, CHECKER_ACCEPT);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_outcomes),
		cmocka_unit_test(test_a_changed_message),
		cmocka_unit_test(test_time),
		cmocka_unit_test(test_the_line),
		cmocka_unit_test(test_who_waits_too_long),
		cmocka_unit_test(test_cancelling),
		cmocka_unit_test(test_questions_that_make_no_sense),
		cmocka_unit_test(test_no_program),
		cmocka_unit_test(test_too_long_an_argument),
		cmocka_unit_test(test_strays),
		cmocka_unit_test(test_other_options),
		cmocka_unit_test(test_a_message_larger_than_any),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
