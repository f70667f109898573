/* Reply slots: whatever the order in which replies become ready, they leave in the order of their commands. */
#include "session_reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SLOTS 6

struct world {
	struct loop *loop;
	struct buf out;
	struct reply_queue q;
	unsigned ready_calls;
};

static void on_ready(void *ctx)
{
	struct world *w = ctx;
	w->ready_calls++;
	if (reply_queue_is_empty(&w->q))
		loop_stop(w->loop);
}

static void open_world(struct world *w)
{
	*w = (struct world){ .out = { .cap = 65536 } };
	assert_int_equal(loop_create(&w->loop), 0);
	reply_queue_init(&w->q, w->loop, &w->out, on_ready, w);
}

static void close_world(struct world *w)
{
	reply_queue_free(&w->q);
	buf_free(&w->out);
	loop_destroy(&w->loop);
}

static void assert_out(const struct world *w, const char *expected)
{
	assert_int_equal(w->out.len, strlen(expected));
	if (w->out.len)
		assert_memory_equal(w->out.data, expected, w->out.len);
}

static void fill(struct world *w, struct reply_slot *slot, const char *text)
{
	assert_int_equal(reply_queue_fill(&w->q, slot, span_of(text), false, 0), 0);
}

static void at_once_when_nobody_waits(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	fill(&w, NULL, "1");
	fill(&w, NULL, "2");
	assert_out(&w, "12");
	assert_true(reply_queue_is_empty(&w.q));
	close_world(&w);
}

/* Every order of filling, with answers to later commands in between. */
static void every_order(void **state)
{
	(void)state;
	for (unsigned code = 0; code < 720; code++) {
		struct world w;
		struct reply_slot *slots[SLOTS];
		unsigned left[SLOTS], rest = code;
		open_world(&w);
		for (unsigned i = 0; i < SLOTS; i++) {
			slots[i] = reply_queue_reserve(&w.q);
			assert_non_null(slots[i]);
			fill(&w, NULL, "-");
			left[i] = i;
		}
		for (unsigned count = SLOTS; count > 0; count--) {
			unsigned pick = rest % count;
			rest /= count;
			char text[2] = { (char)('a' + left[pick]), '\0' };
			fill(&w, slots[left[pick]], text);
			memmove(&left[pick], &left[pick + 1], (count - pick - 1) * sizeof left[0]);
			/* What is out so far is a beginning of the whole. */
			assert_memory_equal(w.out.data ? w.out.data : "", "a-b-c-d-e-f-", w.out.len);
		}
		assert_out(&w, "a-b-c-d-e-f-");
		assert_true(reply_queue_is_empty(&w.q));
		assert_int_equal(w.q.count, 0);
		close_world(&w);
	}
}

static void nothing_follows_the_last_reply(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	struct reply_slot *first = reply_queue_reserve(&w.q);
	assert_int_equal(reply_queue_fill(&w.q, NULL, SPAN_LIT("bye"), true, 0), 0);
	fill(&w, NULL, "after");
	assert_false(w.q.closes);
	fill(&w, first, "first ");
	assert_true(w.q.closes);
	fill(&w, NULL, "never");
	assert_out(&w, "first bye");
	close_world(&w);
}

static void held_replies_hold_back_what_follows(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	assert_int_equal(reply_queue_fill(&w.q, NULL, SPAN_LIT("slow "), false, 30), 0);
	fill(&w, NULL, "next ");
	assert_int_equal(reply_queue_fill(&w.q, NULL, SPAN_LIT("soon "), false, 1), 0);
	fill(&w, NULL, "last");
	assert_out(&w, "");
	loop_run(w.loop);
	assert_out(&w, "slow next soon last");
	assert_int_equal(w.ready_calls, 2);
	close_world(&w);
}

/* A session may die with replies that wait and timers that run. */
static void freed_in_the_middle(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	(void)reply_queue_reserve(&w.q);
	fill(&w, NULL, "queued");
	assert_int_equal(reply_queue_fill(&w.q, NULL, SPAN_LIT("held"), true, 100000), 0);
	reply_queue_free(&w.q);
	assert_true(reply_queue_is_empty(&w.q));
	assert_out(&w, "");
	close_world(&w);
}

static void full_output_is_an_error(void **state)
{
	struct world w;
	(void)state;
	open_world(&w);
	w.out.cap = 4;
	fill(&w, NULL, "1234");
	assert_int_not_equal(reply_queue_fill(&w.q, NULL, SPAN_LIT("5"), false, 0), 0);
	struct reply_slot *slot = reply_queue_reserve(&w.q);
	assert_int_not_equal(reply_queue_fill(&w.q, slot, SPAN_LIT("6"), false, 0), 0);
	assert_out(&w, "1234");
	close_world(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(at_once_when_nobody_waits),	     cmocka_unit_test(every_order),
		cmocka_unit_test(nothing_follows_the_last_reply),    cmocka_unit_test(held_replies_hold_back_what_follows),
		cmocka_unit_test(freed_in_the_middle),		     cmocka_unit_test(full_output_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
