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

void counters_clear_gauges(struct counter_slot *slot)
{
	for (int id = 0; id < COUNTER_COUNT; id++)
		if (table[id].is_gauge)
			counter_set(slot, (enum counter)id, 0);
}
