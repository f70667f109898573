/* A worker that is taken over asks about recipients; and the cache's file, whatever is in it. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "verify_cache.h"
#include "verify_packet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is asked becomes a line of SMTP, what is answered a reply: neither may become two. */
static void try_packets(struct span in)
{
	struct verify_ask ask;
	struct verify_answer answer;
	char line[VERIFY_LINE_CAP];
	if (verify_ask_check(in, &ask) == 0)
		assert(strnlen(ask.path, sizeof ask.path) < sizeof ask.path && !strpbrk(ask.path, "\r\n>") && ask.path[0]);
	if (verify_answer_check(in, &answer) == 0)
		assert(strnlen(answer.line, sizeof answer.line) < sizeof answer.line && !strpbrk(answer.line, "\r\n"));
	if (verify_line_make(in, line) == 0)
		assert(line[0] == '5' && strlen(line) > 4 && !strpbrk(line, "\r\n"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = { (const char *)data, size };
	char ask[sizeof(struct verify_ask)] = { 0 };
	struct verify_cache *cache;
	struct buf text = { 0 };
	try_packets(in);
	/* Rarely is an input as long as a question by chance. */
	memcpy(ask, data, size < sizeof ask ? size : sizeof ask);
	try_packets((struct span){ ask, sizeof ask });
	try_packets((struct span){ ask, sizeof(struct verify_answer) });
	if (verify_cache_create(50, &cache) != 0)
		return 0;
	if (verify_cache_read(cache, in, 50) != 0)
		assert(verify_cache_count(cache) == 0);
	size_t count = verify_cache_count(cache);
	enum step step = STEP_WAIT;
	assert(count <= 50);
	verify_cache_write_begin(cache);
	while (step == STEP_WAIT)
		step = verify_cache_write_some(cache, 50, 3, &text);
	assert(step == STEP_DONE);
	verify_cache_clear(cache);
	assert(verify_cache_read(cache, buf_span(&text), 50) == 0 && verify_cache_count(cache) <= count);
	buf_free(&text);
	verify_cache_destroy(&cache);
	return 0;
}
