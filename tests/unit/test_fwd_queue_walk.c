/* A walk reads messages some time before it hands them out: what was tried or settled in between is no longer what the filter took. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "queue_walk.h"
#include "spool_fixture.h"

#define MESSAGES 4

struct scene {
	struct spool_fixture spool;
	struct forwarder f;
	struct queue_walk *walk;
	struct fwd_message *messages[MESSAGES];
	bool was_full;
	unsigned handed_out, changed;
	enum spool_outcome settled[2];
};

static void add_message(struct scene *scene, size_t index, struct spool_id_source *ids)
{
	struct buf lines = { 0 };
	struct fwd_message *m;
	const struct spool_status status = { .time = 1700000000, .attempt = 2, .next_time = 32503680000, .text = SPAN_LIT("451 later") };
	assert_int_equal(spool_envelope_encode(sample_envelope(2), &lines), 0);
	const struct spool_queue_source source = { .record.id = spool_id_next(ids), .envelope = buf_span(&lines), .body_bytes = SPAN_LIT("x\r\n.\r\n"),
						   .status = &status, .status_count = 1 };
	assert_int_equal(spool_queue_create(&scene->spool.dirs, SPOOL_IN_QUEUE, &source), 0);
	assert_int_equal(fwd_table_add(&scene->f.messages, &source.record.id, &m), 0);
	m->state = FWD_WAITING;
	m->attempts = 2;
	m->recipients = 2;
	scene->messages[index] = m;
	buf_free(&lines);
}

static void go_on(void *ctx)
{
	struct scene *scene = ctx;
	queue_walk_go_on(scene->walk);
}

/* No room at first: all have been read by then.  Two are tried before there is. */
static bool hand_out(void *ctx, struct fwd_message *m, const struct attempt *a)
{
	static struct loop_task task;
	struct scene *scene = ctx;
	(void)a;
	if (!scene->was_full) {
		scene->was_full = true;
		scene->messages[1]->attempts++;
		scene->messages[1]->recipients = 1;
		scene->messages[2]->outcomes = scene->settled;
		scene->messages[2]->outcome_count = 2;
		task = (struct loop_task){ .fn = go_on, .ctx = scene };
		loop_task_post(scene->f.loop, &task);
		return false;
	}
	assert_true(m == scene->messages[0] || m == scene->messages[3]);
	scene->handed_out++;
	return true;
}

static void changed(void *ctx, struct fwd_message *m)
{
	struct scene *scene = ctx;
	assert_true(m == scene->messages[1] || m == scene->messages[2]);
	scene->changed++;
}

static void end(void *ctx, int err)
{
	struct scene *scene = ctx;
	assert_int_equal(err, 0);
	loop_stop(scene->f.loop);
}

static void what_was_tried_meanwhile(void **state)
{
	struct scene scene = { .handed_out = 0 };
	struct queue_filter filter;
	struct spool_id_source ids;
	struct reason why;
	(void)state;
	spool_fixture_make(&scene.spool);
	assert_int_equal(loop_create(&scene.f.loop), 0);
	scene.f.in.dirs = scene.spool.dirs;
	spool_id_source_init(&ids, SPOOL_ID_WORKER_FWD);
	for (size_t i = 0; i < MESSAGES; i++)
		add_message(&scene, i, &ids);
	assert_int_equal(queue_filter_parse(SPAN_LIT("error=*later*"), &filter, &why), 0);
	struct queue_walk_events events = { .message = hand_out, .changed = changed, .end = end, .ctx = &scene };
	assert_int_equal(queue_walk_start(&scene.f, &filter, false, &events, &scene.walk), 0);
	loop_run(scene.f.loop);
	assert_int_equal(scene.handed_out, 2);
	assert_int_equal(scene.changed, 2);
	scene.messages[2]->outcomes = NULL;
	fwd_table_free(&scene.f.messages);
	loop_destroy(&scene.f.loop);
	spool_fixture_remove(&scene.spool);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(what_was_tried_meanwhile) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
