/* What a worker remembers of its segments.  Includes the source: how the writer comes to so many at a time is another test's matter. */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>
#include <cmocka.h>

#include "worker_spool.c"

static void hear(struct worker_spool *s, unsigned number, bool is_sealed, bool is_void)
{
	struct spool_committed what = { .offset = 1000 + number, .is_sealed = is_sealed, .is_void = is_void };
	(void)snprintf(what.segment.text, sizeof what.segment.text, "%016u.w0.seg", number);
	committed(s, &what);
}

static bool knows(const struct worker_spool *s, unsigned number)
{
	for (size_t i = 0; i < s->standing_count; i++)
		if (s->standings[i].what.offset == 1000 + number)
			return true;
	return false;
}

/* A segment that little is written to, behind many that are full: nobody else could tell the next posternfwd how far to read it. */
static void live_segments_are_never_forgotten(void **state)
{
	(void)state;
	struct worker_spool s = { .forwarder = NULL };
	for (unsigned i = 1; i <= SPOOL_LANES_MAX; i++)
		hear(&s, i, false, false);
	for (unsigned i = 100; i < 200; i++)
		hear(&s, i, true, false);
	for (unsigned i = 1; i <= SPOOL_LANES_MAX; i++)
		assert_true(knows(&s, i));
	assert_true(knows(&s, 199));
}

/* What is void only the worker knows, so it outlasts what is merely full. */
static void void_outlasts_full(void **state)
{
	(void)state;
	struct worker_spool s = { .forwarder = NULL };
	hear(&s, 1, true, true);
	hear(&s, 2, false, false);
	for (unsigned i = 100; i < 200; i++)
		hear(&s, i, true, false);
	assert_true(knows(&s, 1));
	/* A disk that fails all the time: still no live one is given for them. */
	for (unsigned i = 200; i < 300; i++)
		hear(&s, i, true, true);
	assert_true(knows(&s, 2));
	assert_true(knows(&s, 299));
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(live_segments_are_never_forgotten), cmocka_unit_test(void_outlasts_full) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
