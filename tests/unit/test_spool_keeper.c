/* The master's side of the spool: what workers ask for is made, for the right owner; what one asks for without end is refused. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "fault.h"
#include "log.h"
#include "spool_keeper.h"

#define OTHER_UID 64982 /* the forwarder's, where the test is root as the master is */

static struct loop *loop;
static struct spool_keeper *keeper;
static struct priv_user owner;
static char path[64];
static unsigned answers, made, refused, expected;
static struct role_segment last_segment;

static void count(int err, int fd)
{
	if (fd >= 0)
		(void)close(fd);
	assert_true((err == 0) == (fd >= 0));
	answers++;
	*(err ? &refused : &made) += 1;
	assert_true(err == 0 || err == ERR_NOSPACE || err == ERR_BUSY);
	if (answers == expected)
		loop_stop(loop);
}

static void segment(void *ctx, const struct spool_keeper_asker *asker, const struct role_segment *what, int fd)
{
	(void)ctx;
	(void)asker;
	last_segment = *what;
	count(what->err, fd);
}

static void large(void *ctx, const struct spool_keeper_asker *asker, const struct role_large *what, int fd)
{
	(void)ctx;
	(void)asker;
	count(what->err, fd);
}

static int setup(void **state)
{
	const struct spool_keeper_events events = { segment, large, NULL };
	struct reason why = { "" };
	(void)state;
	owner = (struct priv_user){ .uid = geteuid() ? geteuid() : OTHER_UID, .gid = geteuid() ? getegid() : OTHER_UID };
	answers = made = refused = expected = 0;
	log_setup("test", LOG_FORM_TERMINAL, LOG_LEVEL_ERR);
	strcpy(path, "/tmp/postern-keeper-XXXXXX");
	assert_non_null(mkdtemp(path));
	assert_int_equal(loop_create(&loop), 0);
	assert_int_equal(spool_keeper_open(path, &owner, 2, &keeper, &why), 0);
	spool_keeper_start(keeper, loop, &events);
	return 0;
}

static int teardown(void **state)
{
	char command[128];
	(void)state;
	spool_keeper_destroy(&keeper);
	loop_destroy(&loop);
	(void)snprintf(command, sizeof command, "rm -rf %s", path);
	assert_int_equal(system(command), 0);
	return 0;
}

static void wait_answers(unsigned so_many)
{
	expected = so_many;
	if (answers < so_many)
		loop_run(loop);
	assert_int_equal(answers, so_many);
}

static void assert_owned(const char *name, mode_t mode)
{
	char full[160];
	struct stat st;
	(void)snprintf(full, sizeof full, "%s/%s", path, name);
	assert_int_equal(lstat(full, &st), 0);
	assert_int_equal(st.st_uid, owner.uid);
	assert_int_equal(st.st_gid, owner.gid);
	assert_int_equal(st.st_mode & 07777, mode);
}

static void everything_is_the_forwarders(void **state)
{
	(void)state;
	static const char *const dirs[] = { "journal", "large", "ack", "queue", "hold", "bad", "cache" };
	struct spool_keeper_asker asker = { 1, 1 };
	struct reason why = { "" };
	char name[96];
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
		assert_owned(dirs[i], 0700);
	spool_keeper_need_segment(keeper, &asker);
	assert_int_equal(made, 1); /* made in advance */
	(void)snprintf(name, sizeof name, "journal/%s", last_segment.name.text);
	assert_owned(name, 0600);
	spool_keeper_need_segment(keeper, &asker);
	wait_answers(2);
	(void)snprintf(name, sizeof name, "journal/%s", last_segment.name.text);
	assert_owned(name, 0600);
	/* Again over what is there, as at each start. */
	assert_int_equal(spool_dir_prepare(path, owner.uid, owner.gid, &why), 0);
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
		assert_owned(dirs[i], 0700);
}

static void one_segment_at_a_time(void **state)
{
	(void)state;
	struct spool_keeper_asker asker = { 0, 1 }, sibling = { 1, 1 }, successor = { 0, 2 };
	spool_keeper_need_segment(keeper, &asker); /* from the stock */
	for (unsigned i = 0; i < 100; i++)
		spool_keeper_need_segment(keeper, &asker);
	assert_int_equal(refused, 99);
	spool_keeper_need_segment(keeper, &sibling); /* has its own */
	spool_keeper_need_segment(keeper, &sibling);
	spool_keeper_need_segment(keeper, &successor); /* does not pay for who was before it */
	wait_answers(1 + 100 + 2 + 1);
	assert_int_equal(refused, 99);
	spool_keeper_need_segment(keeper, &successor);
	wait_answers(105);
	assert_int_equal(refused, 99);
}

static void large_bodies_have_a_bound(void **state)
{
	(void)state;
	struct spool_keeper_asker asker = { 0, 1 };
	struct spool_id_source ids;
	spool_id_source_init(&ids, 0);
	for (unsigned round = 1; round <= 2; round++) {
		for (unsigned i = 0; i < 200; i++) {
			struct spool_id id = spool_id_next(&ids);
			spool_keeper_need_large(keeper, &asker, &id);
		}
		wait_answers(200 * round);
		assert_int_equal(made, 64 * round);
		assert_int_equal(refused, 136 * round);
	}
}

/* A disk that fails is left alone for a while, by all; but one worker's nonsense is nobody else's trouble. */
static void one_worker_holds_up_no_other(void **state)
{
	(void)state;
	struct spool_keeper_asker evil = { 0, 1 }, good = { 1, 1 };
	struct spool_id_source ids;
	spool_id_source_init(&ids, 0);
	struct spool_id id = spool_id_next(&ids);
	spool_keeper_need_segment(keeper, &good); /* from the stock */
	spool_keeper_need_large(keeper, &evil, &id);
	wait_answers(2);
	spool_keeper_need_large(keeper, &evil, &id);
	wait_answers(3);
	assert_int_equal(refused, 1);
	spool_keeper_need_segment(keeper, &good);
	wait_answers(4);
	assert_int_equal(refused, 1);
	assert_int_equal(spool_fault_arm("segment-create:enospc"), 0);
	spool_keeper_need_segment(keeper, &good);
	wait_answers(5);
	assert_int_equal(spool_fault_arm(NULL), 0);
	spool_keeper_need_segment(keeper, &good);
	assert_int_equal(refused, 3); /* at once */
}

#define keeper_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { keeper_test(everything_is_the_forwarders), keeper_test(one_segment_at_a_time),
					    keeper_test(large_bodies_have_a_bound), keeper_test(one_worker_holds_up_no_other) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
