/* Envelopes: what can be decoded is encoded again to lines that mean the same, and every peer byte in them stays inside its line. */
#include <assert.h>
#include <stdint.h>

#include "envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_texts(const struct spool_envelope *e)
{
	const struct span texts[] = { e->from, e->iface, e->listener, e->client_name, e->helo, e->proto, e->tls, e->ident, e->envid };
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		for (size_t k = 0; k < texts[i].len; k++)
			assert(texts[i].ptr[k] != '\0' && texts[i].ptr[k] != '\r' && texts[i].ptr[k] != '\n');
		assert(texts[i].len <= SPOOL_VALUE_CAP);
	}
	assert(e->recipient_count > 0 && e->recipient_count <= SPOOL_RECIPIENTS_CAP);
	for (size_t i = 0; i < e->recipient_count; i++)
		assert(e->recipients[i].path.len > 0 && spool_envelope_recipient_len(&e->recipients[i]) > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena = { NULL, 0 };
	struct spool_envelope first, second;
	struct buf once = { .cap = 0 }, twice = { .cap = 0 };
	if (spool_envelope_decode((struct span){ (const char *)data, size }, &arena, &first) == 0) {
		check_texts(&first);
		/* Escapes that need none make a longer value than encode would write, but never one that it can't. */
		assert(spool_envelope_encode(&first, &once) == 0);
		assert(spool_envelope_decode(buf_span(&once), &arena, &second) == 0);
		assert(spool_envelope_encode(&second, &twice) == 0);
		assert(span_eq(buf_span(&once), buf_span(&twice)));
		assert(span_eq(first.from, second.from) && first.recipient_count == second.recipient_count);
	}
	buf_free(&once);
	buf_free(&twice);
	arena_free(&arena);
	return 0;
}
