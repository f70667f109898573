#include "message_id.h"

#include <sys/random.h>
#include <time.h>

#include "err.h"

#define TIME_BITS 44
#define WORKER_BITS 10
#define COUNTER_BITS 16
#define BITS_A_CHAR 5

static const char alphabet[] = "0123456789abcdefghjkmnpqrstvwxyz";

static int digit_of(char c)
{
	if (c == '\0')
		return -1;
	const char *at = strchr(alphabet, c);
	return at ? (int)(at - alphabet) : -1;
}

static uint64_t wall_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* 70 bits do not fit one integer: the upper 44 are the time, the lower 26 worker and counter.  Characters do not respect that border. */
static void encode(uint64_t time_ms, uint32_t low, char text[SPOOL_ID_LEN + 1])
{
	unsigned __int128 bits = ((unsigned __int128)time_ms << (WORKER_BITS + COUNTER_BITS)) | low;
	for (int i = SPOOL_ID_LEN - 1; i >= 0; i--) {
		text[i] = alphabet[(unsigned)bits & ((1u << BITS_A_CHAR) - 1)];
		bits >>= BITS_A_CHAR;
	}
	text[SPOOL_ID_LEN] = '\0';
}

static unsigned __int128 decode(const char *text)
{
	unsigned __int128 bits = 0;
	for (int i = 0; i < SPOOL_ID_LEN; i++)
		bits = (bits << BITS_A_CHAR) | (unsigned)digit_of(text[i]);
	return bits;
}

void spool_id_source_init(struct spool_id_source *source, unsigned worker)
{
	*source = (struct spool_id_source){ .worker = worker & SPOOL_ID_WORKER_MAX };
	if (getrandom(&source->counter, sizeof source->counter, GRND_NONBLOCK) != (ssize_t)sizeof source->counter)
		source->counter = (uint16_t)wall_ms();
}

struct spool_id spool_id_next(struct spool_id_source *source)
{
	uint64_t now_ms = wall_ms();
	if (now_ms > source->last_ms) {
		source->last_ms = now_ms;
		source->left = UINT16_MAX;
	} else if (source->left == 0) {
		source->last_ms++;
		source->left = UINT16_MAX;
	}
	source->left--;
	struct spool_id id;
	encode(source->last_ms & ((UINT64_C(1) << TIME_BITS) - 1), (uint32_t)source->worker << COUNTER_BITS | source->counter++, id.text);
	return id;
}

int spool_id_parse(struct span text, struct spool_id *out)
{
	if (text.len != SPOOL_ID_LEN)
		return ERR_SYNTAX;
	for (size_t i = 0; i < text.len; i++) {
		if (digit_of(text.ptr[i]) < 0)
			return ERR_SYNTAX;
	}
	memcpy(out->text, text.ptr, SPOOL_ID_LEN);
	out->text[SPOOL_ID_LEN] = '\0';
	return 0;
}

bool spool_id_eq(const struct spool_id *a, const struct spool_id *b)
{
	return memcmp(a->text, b->text, SPOOL_ID_LEN) == 0;
}

uint64_t spool_id_time_ms(const struct spool_id *id)
{
	return (uint64_t)(decode(id->text) >> (WORKER_BITS + COUNTER_BITS));
}

unsigned spool_id_worker(const struct spool_id *id)
{
	return (unsigned)(decode(id->text) >> COUNTER_BITS) & SPOOL_ID_WORKER_MAX;
}
