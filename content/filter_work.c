#include "filter_work.h"

#include <time.h>

/* The thread's clock is a system call: it is looked at when the other one, which costs next to nothing, says that so much may have been spent. */
#define LOOK_EVERY_NS UINT64_C(200000)

void filter_work_init(struct filter_work *work)
{
	*work = (struct filter_work){ .allowed_ns = FILTER_WORK_BASE_MS * UINT64_C(1000000), .slice_ns = FILTER_SLICE_NS };
	filter_work_next_slice(work);
}

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Of this thread: a machine that does something else is not our slowness. */
static uint64_t now_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

void filter_work_allow(struct filter_work *work, size_t bytes)
{
	work->allowed_ns += (uint64_t)bytes * FILTER_WORK_NS_PER_BYTE;
}

void filter_work_next_slice(struct filter_work *work)
{
	work->slice_end = work->spent_ns + work->slice_ns;
	work->slice_is_new = true;
}

void filter_work_begin(struct filter_work *work)
{
	work->begun_ns = now_ns();
	work->looked_ns = read_clock(CLOCK_MONOTONIC);
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

static bool is_time_to_look(struct filter_work *work)
{
	uint64_t now = read_clock(CLOCK_MONOTONIC);
	if (now - work->looked_ns < LOOK_EVERY_NS && work->slice_ns > LOOK_EVERY_NS)
		return false;
	work->looked_ns = now;
	return true;
}

bool filter_work_goes_on(struct filter_work *work)
{
	bool is_first = work->slice_is_new;
	if (work->is_over)
		return false;
	if (is_time_to_look(work)) {
		uint64_t spent = spent_now(work);
		if (spent > work->allowed_ns)
			filter_work_fail(work, "the patterns take too long");
		if (work->is_over || (spent >= work->slice_end && !is_first))
			return false;
	}
	work->slice_is_new = false;
	work->compared++;
	return true;
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

/* Of more than there is room for nothing is known: they cost on, within the budget. */
void filter_work_spoil(struct filter_work *work, const void *group)
{
	if (work->spoiled_count < FILTER_WORK_DROPPED_MAX && !filter_work_has_spoiled(work, group))
		work->spoiled[work->spoiled_count++] = group;
}

bool filter_work_has_spoiled(const struct filter_work *work, const void *group)
{
	for (unsigned i = 0; i < work->spoiled_count; i++)
		if (work->spoiled[i] == group)
			return true;
	return false;
}
