#include "counters.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
	const char *name;
	int is_gauge;
} table[COUNTER_COUNT] = {
#define X(id, name, gauge) { name, gauge },
	COUNTER_LIST(X)
#undef X
};

const char *counter_name(enum counter id)
{
	return table[id].name;
}

int counters_create(size_t slot_count, struct counters *out, int *fd_out)
{
	int fd = memfd_create("postern-counters", MFD_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	int err = 0;
	if (ftruncate(fd, (off_t)(slot_count * sizeof(struct counter_slot))) != 0)
		err = err_from_errno(errno);
	else
		err = counters_map(fd, slot_count, out);
	if (err)
		(void)close(fd);
	else
		*fd_out = fd;
	return err;
}

int counters_map(int fd, size_t slot_count, struct counters *out)
{
	struct stat st;
	size_t size = slot_count * sizeof(struct counter_slot);
	if (fstat(fd, &st) != 0)
		return err_from_errno(errno);
	if (st.st_size != (off_t)size)
		return ERR_PROTO;
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (mem == MAP_FAILED)
		return err_from_errno(errno);
	out->slots = mem;
	out->slot_count = slot_count;
	return 0;
}

uint64_t counters_sum(const struct counters *c, enum counter id)
{
	uint64_t sum = 0;
	for (size_t i = 0; i < c->slot_count; i++)
		sum += __atomic_load_n(&c->slots[i].values[id], __ATOMIC_RELAXED);
	return sum;
}

const char *milter_counter_name(enum milter_counter id)
{
	static const char *const names[] = {
#define X(id, name) name,
		MILTER_COUNTER_LIST(X)
#undef X
	};
	return names[id];
}

void milter_counters_failed(struct counter_slot *slot, size_t milter, int err, int64_t time)
{
	milter_counter_add(slot, milter, MILTER_COUNTER_FAILURES);
	__atomic_store_n(&slot->milters[milter].last_error, (uint64_t)-err, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->milters[milter].last_failed_time, (uint64_t)time, __ATOMIC_RELAXED);
}

void milter_counters_state(struct counter_slot *slot, size_t milter, enum milter_state_seen state, int64_t time)
{
	__atomic_store_n(&slot->milters[milter].state, (uint64_t)state, __ATOMIC_RELAXED);
	__atomic_store_n(&slot->milters[milter].state_time, (uint64_t)time, __ATOMIC_RELAXED);
}

void milter_counters_sum(const struct counters *c, size_t milter, struct milter_counters *out)
{
	*out = (struct milter_counters){ .last_error = 0 };
	for (size_t i = 0; i < c->slot_count; i++) {
		const struct milter_counters *from = &c->slots[i].milters[milter];
		uint64_t failed_time = __atomic_load_n(&from->last_failed_time, __ATOMIC_RELAXED);
		for (int id = 0; id < MILTER_COUNTER_COUNT; id++)
			out->values[id] += __atomic_load_n(&from->values[id], __ATOMIC_RELAXED);
		uint64_t state_time = __atomic_load_n(&from->state_time, __ATOMIC_RELAXED);
		uint64_t state = __atomic_load_n(&from->state, __ATOMIC_RELAXED);
		/* Who saw it last knows best. */
		if (state_time > out->state_time || (state_time == out->state_time && state > out->state)) {
			out->state_time = state_time;
			out->state = state;
		}
		if (failed_time > out->last_failed_time) {
			out->last_failed_time = failed_time;
			out->last_error = __atomic_load_n(&from->last_error, __ATOMIC_RELAXED);
		}
	}
}

void milter_counters_clear(struct counter_slot *slot)
{
	for (size_t i = 0; i < MILTERS_MAX; i++) {
		struct milter_counters *m = &slot->milters[i];
		for (int id = 0; id < MILTER_COUNTER_COUNT; id++)
			__atomic_store_n(&m->values[id], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&m->last_error, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&m->last_failed_time, 0, __ATOMIC_RELAXED);
		milter_counters_state(slot, i, MILTER_UNTRIED, 0);
	}
}

void counters_clear_gauges(struct counter_slot *slot)
{
	for (int id = 0; id < COUNTER_COUNT; id++)
		if (table[id].is_gauge)
			counter_set(slot, (enum counter)id, 0);
}
