/* The loop: order of tasks, timers that move, readiness, signals, jobs. */
#include "loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

/* What a test's callbacks share: events are noted as letters. */
struct world {
	struct loop *loop;
	char events[32];
	size_t count;
	struct loop_task task_a, task_b;
	struct loop_timer *timer;
	struct loop_io *io;
	int fd;
	uint64_t started_ms;
	pthread_t worker;
};

static void note(struct world *w, char event)
{
	assert_true(w->count + 1 < sizeof w->events);
	w->events[w->count++] = event;
}

static struct world open_world(void)
{
	struct world w = { .fd = -1 };
	assert_int_equal(loop_create(&w.loop), 0);
	w.started_ms = loop_now_ms(w.loop);
	return w;
}

static void close_world(struct world *w, const char *expected)
{
	loop_timer_destroy(&w->timer);
	assert_null(w->timer);
	loop_timer_destroy(&w->timer);
	loop_destroy(&w->loop);
	assert_null(w->loop);
	loop_destroy(&w->loop);
	assert_string_equal(w->events, expected);
}

static void task_b(void *ctx)
{
	struct world *w = ctx;
	note(w, 'b');
	loop_stop(w->loop);
}

static void task_a(void *ctx)
{
	struct world *w = ctx;
	note(w, 'a');
	if (w->count < 3)
		loop_task_post(w->loop, &w->task_a);
	else
		loop_task_post(w->loop, &w->task_b);
}

static void test_tasks(void **unused)
{
	(void)unused;
	struct world w = open_world();
	w.task_a = (struct loop_task){ .fn = task_a, .ctx = &w };
	w.task_b = (struct loop_task){ .fn = task_b, .ctx = &w };
	loop_task_post(w.loop, &w.task_a);
	loop_task_post(w.loop, &w.task_a);
	loop_task_post(w.loop, &w.task_b);
	loop_task_cancel(&w.task_b);
	loop_task_cancel(&w.task_b);
	loop_run(w.loop);
	close_world(&w, "aaab");
}

static void cancel_b(void *ctx)
{
	struct world *w = ctx;
	note(w, 'c');
	loop_task_cancel(&w->task_b);
	loop_stop(w->loop);
}

/* A task takes another out of the batch that is being run. */
static void test_cancel_in_batch(void **unused)
{
	(void)unused;
	struct world w = open_world();
	w.task_a = (struct loop_task){ .fn = cancel_b, .ctx = &w };
	w.task_b = (struct loop_task){ .fn = task_b, .ctx = &w };
	loop_task_post(w.loop, &w.task_a);
	loop_task_post(w.loop, &w.task_b);
	loop_run(w.loop);
	close_world(&w, "c");
}

static void timer_stops(void *ctx)
{
	struct world *w = ctx;
	note(w, 't');
	loop_stop(w->loop);
}

static void check_timer(struct world *w, uint64_t at_least_ms, uint64_t at_most_ms)
{
	loop_run(w->loop);
	uint64_t took_ms = loop_now_ms(w->loop) - w->started_ms;
	assert_in_range(took_ms, at_least_ms, at_most_ms);
	close_world(w, "t");
}

static void test_timer_moved_later(void **unused)
{
	(void)unused;
	struct world w = open_world();
	assert_int_equal(loop_timer_create(w.loop, timer_stops, &w, &w.timer), 0);
	loop_timer_start(w.timer, 5);
	loop_timer_start(w.timer, 30);
	loop_timer_start(w.timer, 60);
	check_timer(&w, 60, 5000);
}

static void test_timer_moved_earlier(void **unused)
{
	(void)unused;
	struct world w = open_world();
	assert_int_equal(loop_timer_create(w.loop, timer_stops, &w, &w.timer), 0);
	loop_timer_start(w.timer, 60000);
	loop_timer_start(w.timer, 20);
	check_timer(&w, 20, 5000);
}

static void test_timer_stopped(void **unused)
{
	(void)unused;
	struct world w = open_world();
	struct loop_timer *other;
	assert_int_equal(loop_timer_create(w.loop, timer_stops, &w, &other), 0);
	assert_int_equal(loop_timer_create(w.loop, timer_stops, &w, &w.timer), 0);
	loop_timer_start(other, 5);
	loop_timer_start(other, 10);
	loop_timer_stop(other);
	loop_timer_start(w.timer, 40);
	loop_run(w.loop);
	loop_timer_start(other, 0);
	loop_run(w.loop);
	loop_timer_destroy(&other);
	close_world(&w, "tt");
}

static void read_ready(void *ctx, unsigned events)
{
	struct world *w = ctx;
	char byte;
	if (events & LOOP_WRITE) {
		note(w, 'w');
		assert_int_equal(loop_io_want(w->io, LOOP_READ), 0);
	} else if (recv(w->fd, &byte, 1, 0) == 1) {
		note(w, byte);
	} else {
		note(w, 'e');
		/* Destroyed from inside its own call. */
		loop_io_destroy(&w->io);
		loop_stop(w->loop);
	}
}

static void test_io(void **unused)
{
	(void)unused;
	struct world w = open_world();
	int pair[2];
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	w.fd = pair[0];
	assert_int_equal(loop_io_create(w.loop, w.fd, read_ready, &w, &w.io), 0);
	assert_int_equal(loop_io_want(w.io, LOOP_WRITE), 0);
	assert_int_equal(send(pair[1], "xy", 2, 0), 2);
	close(pair[1]);
	loop_run(w.loop);
	assert_null(w.io);
	close_world(&w, "wxye");
	close(pair[0]);
}

static void signal_seen(void *ctx, int signum)
{
	struct world *w = ctx;
	assert_int_equal(signum, SIGUSR1);
	note(w, 's');
	loop_stop(w->loop);
}

static void test_signal(void **unused)
{
	(void)unused;
	struct world w = open_world();
	struct loop_signal *sig;
	assert_int_equal(loop_signal_create(w.loop, SIGUSR1, signal_seen, &w, &sig), 0);
	assert_int_equal(raise(SIGUSR1), 0);
	loop_run(w.loop);
	loop_signal_destroy(&sig);
	assert_null(sig);
	close_world(&w, "s");
}

static void work(void *ctx)
{
	struct world *w = ctx;
	w->worker = pthread_self();
}

static void work_done(void *ctx)
{
	struct world *w = ctx;
	assert_false(pthread_equal(w->worker, pthread_self()));
	note(w, 'd');
	loop_stop(w->loop);
}

static void test_job(void **unused)
{
	(void)unused;
	struct world w = open_world();
	assert_int_equal(loop_job_start(w.loop, work, work_done, &w), 0);
	assert_int_equal(w.count, 0);
	loop_run(w.loop);
	close_world(&w, "d");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tasks),
		cmocka_unit_test(test_cancel_in_batch),
		cmocka_unit_test(test_timer_moved_later),
		cmocka_unit_test(test_timer_moved_earlier),
		cmocka_unit_test(test_timer_stopped),
		cmocka_unit_test(test_io),
		cmocka_unit_test(test_signal),
		cmocka_unit_test(test_job),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
