/* A worker's rules: replaced in jobs, the newest of many, kept when the new ones are no good, given back when nobody holds them. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "log.h"
#include "role_messages.h"
#include "worker_rules.h"

static struct session_host host; /* large */
static struct worker_rules *rules;
static uint64_t taken[8];
static int errs[8];
static size_t taken_count;

static void on_taken(void *ctx, uint64_t generation, int err)
{
	(void)ctx;
	assert_true(taken_count < 8);
	errs[taken_count] = err;
	taken[taken_count++] = generation;
}

static void on_idle(void *ctx)
{
	(void)ctx;
	if (!worker_rules_are_busy(rules))
		loop_stop(host.loop);
}

static int count_fds(void)
{
	int count = 0;
	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* What the master sends: a text of `count` rules. */
static struct ipc_message message(struct role_rules *what, uint64_t generation, unsigned count)
{
	char text[512] = "";
	struct rules_source *source = NULL;
	struct rule_hits hits = { NULL, 0, 0 };
	struct ipc_message msg = { .type = ROLE_RULES, .len = sizeof *what, .fds = { -1, -1, -1, -1 }, .fd_count = 2, .payload = what };
	*what = (struct role_rules){ generation };
	for (unsigned i = 0; i < count; i++)
		strcat(text, "allow:ALL:ALL:ALL\n");
	assert_int_equal(rules_source_from_text(SPAN_LIT("rules"), span_of(text), &source), 0);
	assert_int_equal(rules_source_to_fd(source, &msg.fds[0], NULL), 0);
	rules_source_release(&source);
	assert_int_equal(rule_hits_create(count, 1, &hits, &msg.fds[1]), 0);
	rule_hits_unmap(&hits);
	return msg;
}

static void reload(uint64_t generation, unsigned count)
{
	struct role_rules what;
	struct ipc_message msg = message(&what, generation, count);
	worker_rules_reload(rules, &msg);
	assert_true(msg.fds[0] == -1 && msg.fds[1] == -1);
}

static int setup(void **state)
{
	static const struct worker_rules_events events = { on_taken, on_idle, NULL };
	struct role_rules what;
	struct reason why = { "" };
	(void)state;
	log_setup("test", LOG_FORM_TERMINAL, (enum log_level)0);
	memset(&host, 0, sizeof host);
	conf_defaults(&host.conf.conf);
	taken_count = 0;
	assert_int_equal(worker_rules_create(&host, 1, &events, &rules), 0);
	struct ipc_message msg = message(&what, 1, 1);
	assert_int_equal(worker_rules_load(rules, &msg, &why), 0);
	assert_int_equal(loop_create(&host.loop), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	loop_destroy(&host.loop);
	worker_rules_destroy(&rules);
	assert_null(host.rules);
	return 0;
}

static void test_the_newest_counts(void **state)
{
	(void)state;
	reload(2, 2);
	reload(3, 3);
	reload(4, 4);
	/* Not before its turn. */
	assert_int_equal(rules_count(host.rules), 1);
	loop_run(host.loop);
	assert_int_equal(rules_count(host.rules), 4);
	assert_int_equal(host.hits.rule_count, 4);
	assert_int_equal(taken_count, 2);
	assert_true(taken[0] == 2 && taken[1] == 4 && errs[0] == 0 && errs[1] == 0);
}

static void test_what_is_no_good_changes_nothing(void **state)
{
	struct role_rules what;
	struct rules *before = host.rules;
	(void)state;
	int fds = count_fds();
	struct ipc_message msg = message(&what, 2, 2);
	(void)close(msg.fds[1]);
	msg.fds[1] = -1;
	msg.fd_count = 1; /* a process that is out of descriptors gets less */
	worker_rules_reload(rules, &msg);
	loop_run(host.loop);
	msg = message(&what, 3, 2);
	(void)dup2(msg.fds[1], msg.fds[0]); /* no texts, and not sealed */
	worker_rules_reload(rules, &msg);
	loop_run(host.loop);
	assert_true(taken_count == 2 && taken[0] == 2 && taken[1] == 3 && errs[0] && errs[1]);
	assert_ptr_equal(host.rules, before);
	/* And then good ones. */
	reload(4, 2);
	loop_run(host.loop);
	assert_int_equal(rules_count(host.rules), 2);
	assert_int_equal(count_fds(), fds);
}

static void test_who_holds_a_set_keeps_it(void **state)
{
	struct rules *held = rules_hold(host.rules);
	(void)state;
	reload(2, 2);
	loop_run(host.loop);
	worker_rules_tick(rules);
	assert_false(worker_rules_are_busy(rules));
	assert_int_equal(rules_count(held), 1);
	assert_true(rules_is_shared(held));
	rules_release(&held);
	worker_rules_tick(rules);
	assert_true(worker_rules_are_busy(rules));
	loop_run(host.loop);
	assert_false(worker_rules_are_busy(rules));
	worker_rules_tick(rules);
	assert_false(worker_rules_are_busy(rules));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_newest_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_good_changes_nothing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_who_holds_a_set_keeps_it, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
