/* Command lines: any bytes, cut anywhere, give the same lines and faults, and no line holds what framing promises to keep out. */
#include "smtp_line.h"

#include <stdlib.h>

#include "buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_line(struct span line, bool normalize, size_t cap)
{
	require(line.len + (normalize ? 1 : 2) <= cap);
	for (size_t i = 0; i < line.len; i++)
		require(line.ptr[i] != '\0' && line.ptr[i] != '\r' && line.ptr[i] != '\n');
}

/* Events as text: lines and the digits of faults, LF between. */
static void run(struct span in, size_t piece, bool normalize, struct buf *events)
{
	enum { CAP = 24 };
	struct smtp_line state;
	struct buf waiting = { 0 };
	smtp_line_init(&state, CAP, normalize);
	for (size_t from = 0; from < in.len; from += piece) {
		enum smtp_line_result result;
		require(buf_append_span(&waiting, span_sub(in, from, from + piece)) == 0);
		do {
			struct span line = SPAN_NONE;
			size_t drop = SIZE_MAX;
			result = smtp_line_next(&state, buf_span(&waiting), &line, &drop);
			require(drop <= waiting.len);
			if (result == SMTP_LINE_READY) {
				check_line(line, normalize, CAP);
				require(buf_append_span(events, line) == 0);
			}
			if (result != SMTP_LINE_MORE)
				require(buf_printf(events, "%d\n", (int)result) == 0);
			buf_consume(&waiting, drop);
		} while (result != SMTP_LINE_MORE);
		require(waiting.len < CAP);
	}
	buf_free(&waiting);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 2)
		return 0;
	struct span in = { (const char *)bytes + 2, size - 2 };
	struct buf whole = { 0 }, pieces = { 0 };
	bool normalize = bytes[0] & 1;
	run(in, in.len + 1, normalize, &whole);
	run(in, bytes[1] % 16 + 1u, normalize, &pieces);
	require(span_eq(buf_span(&whole), buf_span(&pieces)));
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
