/* A filter says anything: its packets, and what comes of its wishes in a message, must stay what they are. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "milter_edits.h"
#include "milter_headers.h"
#include "milter_packet.h"
#include "milter_refusal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Whatever was written into it, a header is fields, their continuations and one empty line at its end. */
static void check_wire(const struct milter_headers *headers)
{
	struct buf wire = { 0 };
	size_t end, body;
	assert(milter_headers_write(headers, &wire) == 0);
	assert(milter_headers_find_end(buf_span(&wire), &end, &body) == 0);
	assert(body == wire.len && end == wire.len - 2);
	buf_free(&wire);
}

static void apply(struct milter_headers *headers, const struct milter_packet *packet, const struct milter_change *change)
{
	switch (packet->command) {
	case MILTER_ADD_HEADER: (void)milter_headers_add(headers, change->first, change->second, false); break;
	case MILTER_INSERT_HEADER: (void)milter_headers_insert(headers, change->index, change->first, change->second, true); break;
	case MILTER_CHANGE_HEADER: (void)milter_headers_change(headers, change->index, change->first, change->second, false); break;
	default: break;
	}
}

static void take_packets(struct span in, struct milter_headers *headers)
{
	struct milter_packet packet;
	struct milter_change change;
	struct milter_options options;
	struct milter_refusal refusal;
	struct milter_edits edits;
	size_t used;
	milter_edits_init(&edits, true, 10000);
	while (milter_packet_read(in, &packet, &used) == 0) {
		in = span_sub(in, used, in.len);
		if (packet.command == MILTER_NEGOTIATE && milter_options_read(packet.data, &options) == 0)
			assert(options.version >= 2);
		if (milter_change_read(&packet, &change) != 0)
			continue;
		apply(headers, &packet, &change);
		(void)milter_edits_take(&edits, (enum milter_reply)packet.command, &change);
		if (packet.command == MILTER_REPLY_CODE && milter_refusal_read(change.first, &refusal) == 0) {
			char line[MILTER_REFUSAL_LINE_CAP];
			assert(refusal.code >= 400 && refusal.code < 600);
			assert(!strpbrk(milter_refusal_line(&refusal, line), "\r\n"));
			for (const char *c = refusal.text; *c; c++)
				assert(*c == '\n' || (*c >= ' ' && *c < 0x7f));
		}
	}
	assert(milter_edits_finish(&edits) == 0 || edits.body_len > 0);
	milter_edits_free(&edits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span in = { (const char *)data, size };
	struct milter_headers own = { .fields = NULL }, theirs = { .fields = NULL };
	size_t end, body;
	assert(milter_headers_read(&own, SPAN_LIT("A: 1\r\nB: 2\r\n\t3\r\nA: 4\r\n"), true) == 0);
	take_packets(in, &own);
	check_wire(&own);
	milter_headers_free(&own);
	/* The same bytes as a client's message. */
	if (milter_headers_find_end(in, &end, &body) == 0) {
		assert(milter_headers_read(&theirs, span_sub(in, 0, end), body > end) == 0);
		check_wire(&theirs);
		assert(milter_headers_insert(&theirs, 1, SPAN_LIT("X"), SPAN_LIT("y"), false) == 0);
		check_wire(&theirs);
	}
	milter_headers_free(&theirs);
	return 0;
}
