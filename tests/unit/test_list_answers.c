/* What the gate remembers of block lists: found under its own key only, for its time only, in fixed memory. */
#include "list_answers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "list_report.h"

#define A SPAN_LIT("a.test")
#define B SPAN_LIT("b.test")

static struct addr address(const char *text)
{
	struct addr a;
	assert_int_equal(addr_parse(span_of(text), &a), 0);
	return a;
}

static struct list_answers *create(void)
{
	struct list_answers *answers = NULL;
	const struct span zones[] = { A, B };
	assert_int_equal(list_answers_create(&answers), 0);
	assert_int_equal(list_answers_set_lists(answers, zones, 2), 0);
	return answers;
}

static struct syn_list_answer answer_of(const char *first, const char *second)
{
	struct syn_list_answer answer = { 0 };
	if (first)
		answer.addrs[answer.count++] = address(first);
	if (second)
		answer.addrs[answer.count++] = address(second);
	return answer;
}

/* -1: not known; else how many addresses. */
static int find(const struct list_answers *answers, uint32_t list, const char *client, uint64_t now_s)
{
	struct syn_list_answer found;
	const struct addr a = address(client);
	return list_answers_find(answers, list, &a, now_s, &found) ? (int)found.count : -1;
}

static bool put(struct list_answers *answers, struct span zone, const char *client, const struct syn_list_answer *answer, uint32_t hold_s, uint64_t now_s)
{
	const struct addr a = address(client);
	return list_answers_put(answers, zone, &a, answer, hold_s, now_s);
}

static void test_keys_and_time(void **unused)
{
	const struct syn_list_answer listed = answer_of("127.0.0.2", "127.0.0.9"), clean = answer_of(NULL, NULL);
	const struct addr client = address("10.0.0.1");
	struct syn_list_answer found;
	struct list_answers *answers = create();
	(void)unused;
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), -1);
	assert_true(put(answers, SPAN_LIT("A.Test"), "10.0.0.1", &listed, 10, 100));
	assert_true(put(answers, A, "2001:db8::1", &clean, 10, 100));
	assert_int_equal(find(answers, 0, "10.0.0.1", 109), 2);
	assert_true(list_answers_find(answers, 0, &client, 100, &found) && memcmp(&found, &listed, sizeof found) == 0);
	assert_int_equal(find(answers, 0, "2001:db8::1", 109), 0);
	/* Another list, another address, an IPv6 address with the same first bytes, no such list. */
	assert_int_equal(find(answers, 1, "10.0.0.1", 100), -1);
	assert_int_equal(find(answers, 0, "10.0.0.2", 100), -1);
	assert_int_equal(find(answers, 0, "2001:db8::2", 100), -1);
	assert_int_equal(find(answers, 0, "a00:1::", 100), -1);
	assert_int_equal(find(answers, 2, "10.0.0.1", 100), -1);
	/* Its time is over; a new answer is in the place of the old one. */
	assert_int_equal(find(answers, 0, "10.0.0.1", 110), -1);
	assert_true(put(answers, A, "10.0.0.1", &clean, 10, 200) && put(answers, A, "10.0.0.1", &listed, 10, 201));
	assert_int_equal(find(answers, 0, "10.0.0.1", 205), 2);
	assert_true(put(answers, A, "10.0.0.1", &clean, 10, 202));
	assert_int_equal(find(answers, 0, "10.0.0.1", 205), 0);
	list_answers_destroy(&answers);
	list_answers_destroy(&answers);
}

static void test_what_is_not_taken(void **unused)
{
	struct syn_list_answer answer = answer_of("127.0.0.2", NULL);
	const struct addr nobody = { .family = ADDR_NONE };
	struct list_answers *answers = create();
	(void)unused;
	assert_false(put(answers, SPAN_LIT("c.test"), "10.0.0.1", &answer, 10, 100));
	assert_false(put(answers, A, "10.0.0.1", &answer, 0, 100));
	assert_false(list_answers_put(answers, A, &nobody, &answer, 10, 100));
	answer.addrs[0] = address("2001:db8::1");
	assert_false(put(answers, A, "10.0.0.1", &answer, 10, 100));
	answer.count = SYN_LIST_ADDRS_MAX + 1;
	assert_false(put(answers, A, "10.0.0.1", &answer, 10, 100));
	answer.count = UINT32_MAX;
	assert_false(put(answers, A, "10.0.0.1", &answer, 10, 100));
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), -1);
	list_answers_destroy(&answers);
}

static void test_other_lists(void **unused)
{
	const struct syn_list_answer listed = answer_of("127.0.0.2", NULL);
	const struct span swapped[] = { B, A }, others[] = { SPAN_LIT("c.test") };
	struct list_answers *answers = create();
	(void)unused;
	assert_true(put(answers, A, "10.0.0.1", &listed, 1000, 100) && put(answers, B, "10.0.0.2", &listed, 1000, 100));
	/* In another place the list is still the same one. */
	assert_int_equal(list_answers_set_lists(answers, swapped, 2), 0);
	assert_int_equal(find(answers, 1, "10.0.0.1", 100), 1);
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), -1);
	assert_int_equal(find(answers, 0, "10.0.0.2", 100), 1);
	/* Gone, and here again: what was known then counts no more. */
	assert_int_equal(list_answers_set_lists(answers, others, 1), 0);
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), -1);
	assert_int_equal(list_answers_set_lists(answers, swapped, 2), 0);
	assert_int_equal(find(answers, 1, "10.0.0.1", 100), -1);
	assert_int_equal(find(answers, 0, "10.0.0.2", 100), -1);
	assert_int_equal(list_answers_set_lists(answers, NULL, 0), 0);
	assert_int_equal(find(answers, 0, "10.0.0.2", 100), -1);
	list_answers_destroy(&answers);
}

static void test_forgotten(void **unused)
{
	const struct syn_list_answer listed = answer_of("127.0.0.2", NULL);
	struct list_answers *answers = create();
	(void)unused;
	assert_true(put(answers, A, "10.0.0.1", &listed, 1000, 100) && put(answers, B, "10.0.0.1", &listed, 1000, 100));
	list_answers_forget(answers, SPAN_LIT("c.test"));
	list_answers_forget(answers, A);
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), -1);
	assert_int_equal(find(answers, 1, "10.0.0.1", 100), 1);
	assert_true(put(answers, A, "10.0.0.1", &listed, 1000, 100));
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), 1);
	list_answers_clear(answers);
	assert_int_equal(find(answers, 0, "10.0.0.1", 100), -1);
	assert_int_equal(find(answers, 1, "10.0.0.1", 100), -1);
	list_answers_destroy(&answers);
}

/* However many come: the last ones are there, most of the first are not, and never more than there is room for. */
static void test_full(void **unused)
{
	const struct syn_list_answer listed = answer_of("127.0.0.2", NULL);
	const uint32_t count = 4 * LIST_ANSWERS_ENTRIES;
	struct syn_list_answer found;
	struct addr client = address("10.0.0.0");
	struct list_answers *answers = create();
	uint32_t kept = 0, kept_first = 0, kept_last = 0;
	(void)unused;
	for (uint32_t i = 0; i < count; i++) {
		memcpy(client.bytes, &i, sizeof i);
		assert_true(list_answers_put(answers, A, &client, &listed, 1000, 100));
		assert_true(list_answers_find(answers, 0, &client, 100, &found));
	}
	for (uint32_t i = 0; i < count; i++) {
		memcpy(client.bytes, &i, sizeof i);
		bool is_there = list_answers_find(answers, 0, &client, 100, &found);
		kept += is_there;
		kept_first += is_there && i < count / 4;
		kept_last += is_there && i >= count - 1000;
	}
	assert_in_range(kept, LIST_ANSWERS_ENTRIES * 9 / 10, LIST_ANSWERS_ENTRIES);
	assert_in_range(kept_first, 0, LIST_ANSWERS_ENTRIES / 20);
	assert_in_range(kept_last, 990, 1000);
	list_answers_destroy(&answers);
}

/* ---- what the master takes from a worker */

static void test_reports_are_checked(void **unused)
{
	static struct role_conf conf;
	static struct list_reports reports;
	struct role_list_report told = { .report = { .hold_s = 10, .zone_len = 6, .zone = "a.test" } };
	struct gate_list_report out;
	(void)unused;
	conf.conf.listen_count = 1;
	/* Nobody is shown, or nobody's connection. */
	assert_int_equal(list_report_check(&reports, &conf, 0, 1000, &told, -1, &out), ERR_PROTO);
	assert_int_equal(list_report_check(&reports, &conf, 0, 1000, &told, 0, &out), ERR_PROTO);
	told.listen_index = 1;
	assert_int_equal(list_report_check(&reports, &conf, 0, 1000, &told, 0, &out), ERR_PROTO);
	told.report.zone_len = LIST_ZONE_MAX + 1;
	assert_int_equal(list_report_check(&reports, &conf, 0, 1000, &told, -1, &out), ERR_PROTO);
	told.report.zone_len = 6;
	told.report.answer.count = SYN_LIST_ADDRS_MAX + 1;
	assert_int_equal(list_report_check(&reports, &conf, 0, 1000, &told, -1, &out), ERR_PROTO);
	/* A broken list needs no client. */
	told.report.answer.count = 0;
	told.report.hold_s = 0;
	assert_int_equal(list_report_check(&reports, &conf, 0, 1000, &told, -1, &out), 0);
	assert_true(out.client.family == ADDR_NONE && out.report.hold_s == 0 && out.report.zone_len == 6);
	/* So many a second of each worker. */
	unsigned taken = 0;
	for (unsigned i = 0; i < 2 * LIST_REPORTS_PER_S; i++)
		taken += list_report_check(&reports, &conf, 1, 1000, &told, -1, &out) == 0;
	assert_int_equal(taken, LIST_REPORTS_PER_S);
	assert_int_equal(list_report_check(&reports, &conf, 1, 1000, &told, -1, &out), ERR_AGAIN);
	assert_int_equal(list_report_check(&reports, &conf, 2, 1000, &told, -1, &out), 0);
	assert_int_equal(list_report_check(&reports, &conf, 1, 2000, &told, -1, &out), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_and_time), cmocka_unit_test(test_what_is_not_taken), cmocka_unit_test(test_other_lists),
		cmocka_unit_test(test_forgotten),     cmocka_unit_test(test_full),		cmocka_unit_test(test_reports_are_checked),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
