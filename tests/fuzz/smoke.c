/* smoke DIRECTORY: a fuzz target without libFuzzer, for the everyday tests: its seeds from DIRECTORY/NAME, and what a fixed random sequence makes
 * of them.  Finds what is broken outright; finding more is the work of make fuzz. */
#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROUNDS 20000u
#define INPUT_CAP 4096u
#define SEEDS_MAX 64u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seed {
	uint8_t bytes[INPUT_CAP];
	size_t size;
};

static struct seed seeds[SEEDS_MAX];
static size_t seed_count = 1; /* the first one is empty */
static uint64_t state = 1;

static uint32_t next(uint32_t below)
{
	state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(state >> 33) % below;
}

static void read_seeds(const char *directory)
{
	DIR *dir = opendir(directory);
	for (struct dirent *entry; dir && seed_count < SEEDS_MAX && (entry = readdir(dir)) != NULL;) {
		int fd = entry->d_name[0] == '.' ? -1 : openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
		ssize_t len = fd < 0 ? -1 : read(fd, seeds[seed_count].bytes, INPUT_CAP);
		if (len >= 0)
			seeds[seed_count++].size = (size_t)len;
		if (fd >= 0)
			(void)close(fd);
	}
	if (dir)
		(void)closedir(dir);
}

static void mutate(struct seed *s)
{
	switch (next(5)) {
	case 0: /* bytes of no meaning behind it */
		for (uint32_t n = next(64); n > 0 && s->size < INPUT_CAP; n--)
			s->bytes[s->size++] = (uint8_t)next(256);
		break;
	case 1: s->size = next((uint32_t)s->size + 1); break;
	case 2: /* a part of it again */
		if (s->size > 0) {
			size_t from = next((uint32_t)s->size), len = next((uint32_t)(s->size - from) + 1);
			if (s->size + len <= INPUT_CAP) {
				memmove(s->bytes + s->size, s->bytes + from, len);
				s->size += len;
			}
		}
		break;
	case 3: /* a part of another */
	{
		const struct seed *other = &seeds[next((uint32_t)seed_count)];
		size_t at = next((uint32_t)s->size + 1), len = other->size < INPUT_CAP - at ? other->size : INPUT_CAP - at;
		memcpy(s->bytes + at, other->bytes, len);
		s->size = at + len > s->size ? at + len : s->size;
		break;
	}
	default:
		for (uint32_t n = next(8) + 1; n > 0 && s->size > 0; n--)
			s->bytes[next((uint32_t)s->size)] = (uint8_t)next(256);
	}
}

int main(int argc, char **argv)
{
	static struct seed input;
	char directory[4096];
	const char *name = strrchr(argv[0], '/');
	(void)snprintf(directory, sizeof directory, "%s/%s", argc > 1 ? argv[1] : "tests/fuzz/seeds", name ? name + 1 : argv[0]);
	read_seeds(directory);
	for (size_t i = 0; i < seed_count; i++)
		(void)LLVMFuzzerTestOneInput(seeds[i].bytes, seeds[i].size);
	for (unsigned round = 0; round < ROUNDS; round++) {
		input = seeds[next((uint32_t)seed_count)];
		for (uint32_t n = next(4) + 1; n > 0; n--)
			mutate(&input);
		/* A copy without room behind it, so that a sanitizer sees a read beyond. */
		uint8_t *exact = malloc(input.size ? input.size : 1);
		if (!exact)
			return 1;
		memcpy(exact, input.bytes, input.size);
		(void)LLVMFuzzerTestOneInput(exact, input.size);
		free(exact);
	}
	printf("%zu seeds, %u inputs\n", seed_count, ROUNDS);
	return 0;
}
