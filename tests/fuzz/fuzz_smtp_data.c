/* DATA: what is emitted holds the end of data at its end only and no bare CR, bare LF or NUL; cutting changes nothing; the header
 * scanner and both ways of dot-stuffing take whatever comes out. */
#include "smtp_data.h"

#include <stdlib.h>

#include "buf.h"
#include "smtp_dot.h"
#include "smtp_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void collect(void *ctx, struct span wire)
{
	require(wire.len > 0);
	require(buf_append_span(ctx, wire) == 0);
}

static struct smtp_data run(struct span in, size_t piece, bool normalize, struct buf *out)
{
	struct smtp_data data;
	smtp_data_init(&data, normalize);
	for (size_t from = 0; from < in.len && !data.has_ended; from += piece) {
		struct span part = span_sub(in, from, from + piece);
		size_t used = smtp_data_push(&data, part, collect, out);
		require(used == part.len || (used < part.len && data.has_ended));
	}
	return data;
}

/* A judge that shares nothing with the machine: byte by byte over the whole. */
static void check_wire(struct span wire, const struct smtp_data *data)
{
	static const char end[] = "\r\n.\r\n";
	bool is_faulty = data->fault != SMTP_DATA_CLEAN;
	for (size_t i = 0; i < wire.len; i++) {
		bool is_last = i + 1 == wire.len;
		require(wire.ptr[i] != '\0');
		require(wire.ptr[i] != '\n' || (i > 0 && wire.ptr[i - 1] == '\r'));
		require(wire.ptr[i] != '\r' || is_last || wire.ptr[i + 1] == '\n');
		if (i + 5 <= wire.len && memcmp(wire.ptr + i, end, 5) == 0)
			require(i + 5 == wire.len && data->has_ended && !is_faulty);
	}
	if (wire.len >= 3 && memcmp(wire.ptr, ".\r\n", 3) == 0)
		require(wire.len == 3 && data->has_ended && !is_faulty);
	if (data->has_ended && !is_faulty) {
		require(wire.len >= 3 && memcmp(wire.ptr + wire.len - 3, ".\r\n", 3) == 0);
		require(data->size_bytes == wire.len - 3);
	} else {
		require(data->size_bytes == wire.len);
	}
}

static void check_header(struct span wire, size_t piece)
{
	struct smtp_header whole, pieces;
	smtp_header_init(&whole, SPAN_LIT("gate.example.org"));
	smtp_header_init(&pieces, SPAN_LIT("gate.example.org"));
	smtp_header_push(&whole, wire);
	for (size_t from = 0; from < wire.len; from += piece)
		smtp_header_push(&pieces, span_sub(wire, from, from + piece));
	require(whole.is_done == pieces.is_done && whole.received_count == pieces.received_count);
	require(whole.own_count == pieces.own_count && whole.own_count <= whole.received_count);
	require(whole.has_date == pieces.has_date && whole.has_message_id == pieces.has_message_id);
}

/* Wire form to native and back: the same wire form, except for dots that nobody had to put there. */
static void check_undot(struct span wire, size_t piece)
{
	struct smtp_undot undot;
	struct smtp_dot dot;
	struct buf native = { 0 }, again = { 0 }, twice = { 0 };
	smtp_undot_init(&undot);
	for (size_t from = 0; from < wire.len; from += piece)
		require(smtp_undot_push(&undot, span_sub(wire, from, from + piece), &native) == 0);
	require(undot.has_ended);
	smtp_dot_init(&dot);
	require(smtp_dot_push(&dot, buf_span(&native), &again) == 0 && smtp_dot_finish(&dot, &again) == 0);
	smtp_undot_init(&undot);
	require(smtp_undot_push(&undot, buf_span(&again), &twice) == 0);
	require(undot.has_ended && span_eq(buf_span(&native), buf_span(&twice)));
	buf_free(&native);
	buf_free(&again);
	buf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 2)
		return 0;
	struct span in = { (const char *)bytes + 2, size - 2 };
	size_t piece = bytes[1] % 16 + 1u;
	bool normalize = bytes[0] & 1;
	struct buf whole = { 0 }, pieces = { 0 };
	struct smtp_data a = run(in, in.len + 1, normalize, &whole);
	struct smtp_data b = run(in, piece, normalize, &pieces);
	require(a.has_ended == b.has_ended && a.fault == b.fault && a.fault_offset == b.fault_offset);
	require(a.size_bytes == b.size_bytes && a.seen_bytes == b.seen_bytes && a.has_lone_dot == b.has_lone_dot);
	require(span_eq(buf_span(&whole), buf_span(&pieces)));
	check_wire(buf_span(&whole), &a);
	if (a.fault == SMTP_DATA_CLEAN && !normalize)
		require(span_eq(buf_span(&whole), span_sub(in, 0, (size_t)a.seen_bytes)));
	check_header(in, piece);
	if (a.has_ended && a.fault == SMTP_DATA_CLEAN)
		check_undot(buf_span(&whole), piece);
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
