/* test_cli_queue_files - the queue read from the files alone, and that reading changes none of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cli_queue_files.h"
#include "cli_record.h"
#include "spool_fixture.h"

#define BODY "Received: x\r\nSubject: one\r\n\r\n..dot\r\nend\r\n.\r\n"
#define NATIVE "Received: x\nSubject: one\n\n.dot\nend\n"

struct heard {
	unsigned lines;
	json_t *records; /* array */
	struct buf bytes;
};

static void hear_line(void *ctx, struct span line)
{
	struct heard *heard = ctx;
	heard->lines++;
	assert_int_equal(json_array_append_new(heard->records, cli_record_parse(line)), 0);
}

static void hear_bytes(void *ctx, struct span bytes)
{
	struct heard *heard = ctx;
	assert_int_equal(buf_append_span(&heard->bytes, bytes), 0);
}

struct scene {
	struct spool_fixture spool;
	struct heard heard;
	struct control_answer answer;
	struct spool_id id;
};

static void scene_clear(struct scene *scene)
{
	json_decref(scene->heard.records);
	buf_free(&scene->heard.bytes);
	memset(&scene->heard, 0, sizeof scene->heard);
	scene->heard.records = json_array();
}

/* count messages in a journal; the writer is gone unless it is kept by the caller. */
static void fill_journal(struct scene *scene, unsigned count)
{
	const struct spool_writer_options options = { .segment_limit_bytes = 1u << 20 };
	static struct writer_host host;
	writer_host_make(&host, &scene->spool.dirs, &options);
	for (unsigned i = 0; i < count; i++)
		writer_host_send(&host, SPAN_LIT(BODY));
	writer_host_run(&host, count);
	writer_host_remove(&host);
}

static int make(void **state)
{
	static struct scene scene;
	memset(&scene, 0, sizeof scene);
	spool_fixture_make(&scene.spool);
	scene.answer = (struct control_answer){ hear_line, hear_bytes, &scene.heard };
	scene_clear(&scene);
	*state = &scene;
	return 0;
}

static int unmake(void **state)
{
	struct scene *scene = *state;
	scene_clear(scene);
	json_decref(scene->heard.records);
	spool_fixture_remove(&scene->spool);
	return 0;
}

static void list(struct scene *scene, unsigned expected)
{
	struct reason why = { "" };
	size_t damaged = 99;
	scene_clear(scene);
	assert_int_equal(cli_queue_files_list(scene->spool.path, NULL, &scene->answer, &damaged, &why), 0);
	assert_int_equal(damaged, 0);
	assert_int_equal(scene->heard.lines, expected);
}

static struct spool_id id_of(const struct scene *scene, size_t index)
{
	struct spool_id id;
	assert_int_equal(spool_id_parse(span_of(cli_record_text(json_array_get(scene->heard.records, index), "id")), &id), 0);
	return id;
}

static void empty_spool(void **state)
{
	list(*state, 0);
}

static void journal_is_listed_and_not_changed(void **state)
{
	struct scene *scene = *state;
	fill_journal(scene, 3);
	list(scene, 3);
	list(scene, 3);
	const json_t *first = json_array_get(scene->heard.records, 0);
	assert_string_equal(cli_record_text(first, "state"), "stored");
	assert_int_equal(cli_record_number(first, "size"), sizeof BODY - 1);
	assert_true(cli_record_number(first, "rcpts") > 0);
	assert_int_equal(cli_record_number(first, "attempts"), 0);
	static struct recovered recovered;
	recover(&scene->spool.dirs, &recovered);
	assert_int_equal(recovered.messages, 3);
}

static void one_message_is_shown_and_read(void **state)
{
	struct scene *scene = *state;
	struct reason why = { "" };
	fill_journal(scene, 2);
	list(scene, 2);
	struct spool_id id = id_of(scene, 1);
	scene_clear(scene);
	assert_int_equal(cli_queue_files_show(scene->spool.path, &id, &scene->answer, &why), 0);
	assert_true(scene->heard.lines >= 2);
	assert_string_equal(cli_record_text(json_array_get(scene->heard.records, 0), "what"), "message");
	assert_string_equal(cli_record_text(json_array_get(scene->heard.records, 1), "what"), "recipient");
	assert_int_equal(cli_queue_files_cat(scene->spool.path, &id, &scene->answer, &why), 0);
	assert_true(span_eq(buf_span(&scene->heard.bytes), SPAN_LIT(NATIVE)));
}

static void an_unknown_message(void **state)
{
	struct scene *scene = *state;
	struct reason why = { "" };
	struct spool_id id;
	fill_journal(scene, 1);
	assert_int_equal(spool_id_parse(SPAN_LIT("3abcdefghjkmnp"), &id), 0);
	assert_int_equal(cli_queue_files_show(scene->spool.path, &id, &scene->answer, &why), ERR_NOTFOUND);
	assert_non_null(strstr(why.text, "3abcdefghjkmnp"));
	assert_int_equal(cli_queue_files_cat(scene->spool.path, &id, &scene->answer, &why), ERR_NOTFOUND);
}

static void move_to_queue(struct scene *scene, enum spool_place place)
{
	struct spool_id_source ids;
	struct buf lines = { 0 };
	const struct spool_status status = { .time = 1700000000, .attempt = 2, .next_time = 32503680000, .text = SPAN_LIT("451 later") };
	spool_id_source_init(&ids, SPOOL_ID_WORKER_FWD);
	assert_int_equal(spool_envelope_encode(sample_envelope(2), &lines), 0);
	const struct spool_queue_source source = { .record.id = spool_id_next(&ids), .envelope = buf_span(&lines), .body_bytes = SPAN_LIT(BODY),
						   .status = &status, .status_count = 1 };
	scene->id = source.record.id;
	assert_int_equal(spool_queue_create(&scene->spool.dirs, place, &source), 0);
	buf_free(&lines);
}

static void waiting_mail_tells_its_history(void **state)
{
	struct scene *scene = *state;
	struct reason why = { "" };
	move_to_queue(scene, SPOOL_IN_QUEUE);
	list(scene, 1);
	const json_t *record = json_array_get(scene->heard.records, 0);
	assert_string_equal(cli_record_text(record, "state"), "waiting");
	assert_int_equal(cli_record_number(record, "attempts"), 2);
	assert_true(cli_record_number(record, "next_s") > 0);
	assert_string_equal(cli_record_text(record, "error"), "451 later");
	assert_int_equal(cli_queue_files_cat(scene->spool.path, &scene->id, &scene->answer, &why), 0);
	assert_true(span_eq(buf_span(&scene->heard.bytes), SPAN_LIT(NATIVE)));
	assert_int_equal(spool_queue_move(&scene->spool.dirs, SPOOL_IN_QUEUE, SPOOL_IN_HOLD, &scene->id), 0);
	list(scene, 1);
	assert_string_equal(cli_record_text(json_array_get(scene->heard.records, 0), "state"), "held");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(empty_spool, make, unmake),
		cmocka_unit_test_setup_teardown(journal_is_listed_and_not_changed, make, unmake),
		cmocka_unit_test_setup_teardown(one_message_is_shown_and_read, make, unmake),
		cmocka_unit_test_setup_teardown(an_unknown_message, make, unmake),
		cmocka_unit_test_setup_teardown(waiting_mail_tells_its_history, make, unmake),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
