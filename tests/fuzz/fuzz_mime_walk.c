/* Messages of any bytes: every piece is valid UTF-8 of bounded length, pieces of a line follow one another, the outcome does not depend on the cuts, and what
 * comes out is bounded by what went in.  The first byte chooses the form and the cuts. */
#include "mime_walk.h"

#include <stdlib.h>
#include <string.h>

#include "err.h"

/* A byte may be shown in its field, and in several readings of a name with their variants; windows-1252 makes three bytes of one. */
#define OUT_PER_BYTE 100u
#define OUT_BASE 4096u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

struct tally {
	uint64_t hash, bytes, pieces;
	enum mime_kind kind;
	bool is_open;
};

static void mix(struct tally *t, uint64_t value)
{
	t->hash = (t->hash ^ value) * UINT64_C(1099511628211);
}

static bool is_utf8(struct span s)
{
	for (size_t i = 0; i < s.len;) {
		const unsigned char *p = (const unsigned char *)s.ptr + i;
		size_t len = *p < 0x80 ? 1 : *p < 0xe0 ? 2 : *p < 0xf0 ? 3 : 4;
		if ((*p >= 0x80 && *p < 0xc2) || *p > 0xf4 || len > s.len - i)
			return false;
		for (size_t k = 1; k < len; k++)
			if ((p[k] & 0xc0) != 0x80)
				return false;
		if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) || (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
			return false;
		i += len;
	}
	return true;
}

static void on_piece(void *owner, const struct mime_piece *piece)
{
	struct tally *t = owner;
	require(piece->text.len <= MIME_PIECE_MAX && is_utf8(piece->text));
	require(piece->is_first == !t->is_open && (piece->is_first || piece->kind == t->kind));
	t->is_open = !piece->is_last;
	t->kind = piece->kind;
	mix(t, piece->kind);
	mix(t, piece->part);
	mix(t, (uint64_t)piece->is_first << 1 | piece->is_last);
	for (size_t i = 0; i < piece->text.len; i++)
		mix(t, (unsigned char)piece->text.ptr[i]);
	t->bytes += piece->text.len;
	t->pieces++;
}

static unsigned walk(struct span message, enum mime_form form, size_t step, struct tally *out)
{
	struct mime_walk *w = NULL;
	*out = (struct tally){ .hash = 0 };
	if (mime_walk_open(form, on_piece, out, &w) != 0)
		abort();
	for (size_t at = 0; at < message.len; at = step < message.len - at ? at + step : message.len) {
		struct span piece = span_sub(message, at, step < message.len - at ? at + step : message.len);
		char *copy = malloc(piece.len);
		if (!copy)
			abort();
		memcpy(copy, piece.ptr, piece.len);
		require(mime_walk_push(w, (struct span){ copy, piece.len }) == 0);
		free(copy);
	}
	require(mime_walk_finish(w) == 0 && !out->is_open);
	unsigned flags = mime_walk_flags(w);
	mime_walk_close(&w);
	return flags;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	struct span message = { (const char *)data + 1, size - 1 };
	enum mime_form form = data[0] & 1 ? MIME_WIRE : MIME_PLAIN;
	struct tally whole, cut;
	unsigned flags = walk(message, form, SIZE_MAX, &whole);
	require(whole.bytes <= OUT_BASE + OUT_PER_BYTE * (uint64_t)message.len && whole.pieces <= OUT_BASE + OUT_PER_BYTE * (uint64_t)message.len);
	require(walk(message, form, 1 + (data[0] >> 1), &cut) == flags);
	require(cut.hash == whole.hash && cut.pieces == whole.pieces && cut.bytes == whole.bytes);
	return 0;
}
