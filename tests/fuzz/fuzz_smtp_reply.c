/* Replies: a hostile server's bytes cut anywhere give the same reply; whatever text we write can be read back as one reply. */
#include "smtp_reply.h"

#include <stdlib.h>

#include "err.h"
#include "smtp_caps.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static int run(struct smtp_reply *reply, struct span in, size_t piece, size_t *used_out)
{
	int err = ERR_AGAIN;
	size_t used = 0;
	smtp_reply_reset(reply);
	while (err == ERR_AGAIN && used < in.len) {
		size_t consumed = SIZE_MAX;
		struct span part = span_sub(in, used, used + piece);
		err = smtp_reply_push(reply, part, &consumed);
		if (err == ERR_PROTO)
			break;
		require(consumed == part.len || (err == 0 && consumed < part.len));
		used += consumed;
	}
	*used_out = used;
	return err;
}

static void check_reply(const struct smtp_reply *reply)
{
	struct smtp_caps caps;
	struct span text = smtp_reply_span(reply);
	require(reply->code >= 200 && reply->code <= 599);
	require(reply->line_count >= 1 && reply->line_count <= SMTP_REPLY_READ_LINES_CAP);
	require(text.len <= SMTP_REPLY_TEXT_CAP);
	for (size_t i = 0; i < text.len; i++)
		require(text.ptr[i] == '\n' || (text.ptr[i] >= ' ' && text.ptr[i] < 0x7f));
	smtp_caps_parse(reply, &caps);
}

static void check_reading(struct span in, size_t piece)
{
	static struct smtp_reply whole, pieces;
	size_t used, used_in_pieces;
	int err = run(&whole, in, in.len + 1, &used);
	require(run(&pieces, in, piece, &used_in_pieces) == err);
	if (err == ERR_PROTO)
		return;
	require(used == used_in_pieces && whole.is_complete == (err == 0));
	require(span_eq(smtp_reply_span(&whole), smtp_reply_span(&pieces)));
	require(whole.code == pieces.code && strcmp(whole.enhanced, pieces.enhanced) == 0);
	if (err == 0)
		check_reply(&whole);
}

static void check_writing(struct span text, bool is_enhanced)
{
	static struct smtp_reply reply;
	struct buf out = { 0 };
	size_t used;
	/* More lines than a reader of ours would take are no fault of the writer. */
	text = span_sub(text, 0, 120);
	require(smtp_reply_append(&out, 550, is_enhanced ? "5.7.1" : NULL, text) == 0);
	require(run(&reply, buf_span(&out), out.len, &used) == 0);
	require(used == out.len && reply.code == 550);
	require(!is_enhanced || strcmp(reply.enhanced, "5.7.1") == 0);
	buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	if (size < 1)
		return 0;
	struct span in = { (const char *)bytes + 1, size - 1 };
	check_reading(in, bytes[0] % 16 + 1u);
	check_writing(in, bytes[0] & 1);
	return 0;
}
