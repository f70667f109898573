#include "filter_work.h"

#include <time.h>

/* The clock is a system call: not for every comparison. */
#define CHECK_EVERY 8u

void filter_work_init(struct filter_work *work)
{
	*work = (struct filter_work){ .allowed_ns = FILTER_WORK_BASE_MS * UINT64_C(1000000) };
}

/* Of this thread: a machine that does something else is not our slowness. */
static uint64_t now_ns(void)
{
	struct timespec t;
	if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t) != 0)
		return 0;
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

void filter_work_begin(struct filter_work *work, size_t bytes)
{
	work->allowed_ns += (uint64_t)bytes * FILTER_WORK_NS_PER_BYTE;
	work->begun_ns = now_ns();
	work->checks = 0;
}

static uint64_t spent_now(const struct filter_work *work)
{
	uint64_t now = now_ns();
	return work->spent_ns + (now > work->begun_ns ? now - work->begun_ns : 0);
}

void filter_work_end(struct filter_work *work)
{
	work->spent_ns = spent_now(work);
}

bool filter_work_goes_on(struct filter_work *work)
{
	if (!work->is_over && ++work->checks % CHECK_EVERY == 0 && spent_now(work) > work->allowed_ns)
		filter_work_fail(work, "the patterns take too long");
	return !work->is_over;
}

void filter_work_fail(struct filter_work *work, const char *why)
{
	work->is_over = true;
	if (!work->unknown)
		work->unknown = why;
}

void filter_work_drop(struct filter_work *work, uint32_t rule_line)
{
	if (!work->unknown) {
		work->unknown = "the pattern runs into the match limit";
		work->unknown_line = rule_line;
	}
	if (work->dropped_count < FILTER_WORK_DROPPED_MAX)
		work->dropped[work->dropped_count++] = rule_line;
	else
		work->is_over = true;
}

bool filter_work_has_dropped(const struct filter_work *work, uint32_t rule_line)
{
	for (unsigned i = 0; i < work->dropped_count; i++)
		if (work->dropped[i] == rule_line)
			return true;
	return false;
}
