#include "rule_hits.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t size_of(size_t rule_count, size_t worker_count)
{
	return rule_count * worker_count * sizeof(uint64_t);
}

int rule_hits_create(size_t rule_count, size_t worker_count, struct rule_hits *out, int *fd_out)
{
	int fd = memfd_create("postern-rule-hits", MFD_CLOEXEC);
	if (fd < 0)
		return err_from_errno(errno);
	int err = ftruncate(fd, (off_t)size_of(rule_count, worker_count)) != 0 ? err_from_errno(errno) : 0;
	if (!err)
		err = rule_hits_map(fd, rule_count, worker_count, out);
	if (err)
		(void)close(fd);
	else
		*fd_out = fd;
	return err;
}

int rule_hits_map(int fd, size_t rule_count, size_t worker_count, struct rule_hits *out)
{
	struct stat st;
	size_t size = size_of(rule_count, worker_count);
	void *memory = NULL;
	if (fstat(fd, &st) != 0)
		return err_from_errno(errno);
	if (st.st_size != (off_t)size)
		return ERR_PROTO;
	if (size) {
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (memory == MAP_FAILED)
			return err_from_errno(errno);
	}
	*out = (struct rule_hits){ memory, rule_count, worker_count };
	return 0;
}

void rule_hits_unmap(struct rule_hits *hits)
{
	if (hits->counts)
		(void)munmap(hits->counts, size_of(hits->rule_count, hits->worker_count));
	*hits = (struct rule_hits){ .counts = NULL };
}

uint64_t rule_hits_sum(const struct rule_hits *hits, size_t rule)
{
	uint64_t sum = 0;
	for (size_t worker = 0; hits->counts && worker < hits->worker_count; worker++)
		sum += __atomic_load_n(&hits->counts[worker * hits->rule_count + rule], __ATOMIC_RELAXED);
	return sum;
}
