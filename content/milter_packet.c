#include "milter_packet.h"

#include <string.h>

#define LENGTH_BYTES 4u

static uint32_t get_u32(const char *at)
{
	const unsigned char *b = (const unsigned char *)at;
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static void put_u32(char *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (char)(unsigned char)(value >> (24 - 8 * i));
}

int milter_packet_read(struct span in, struct milter_packet *out, size_t *used_out)
{
	if (in.len < LENGTH_BYTES)
		return ERR_AGAIN;
	uint32_t len = get_u32(in.ptr);
	if (len == 0 || len > MILTER_PACKET_CAP)
		return ERR_PROTO;
	if (in.len - LENGTH_BYTES < len)
		return ERR_AGAIN;
	*out = (struct milter_packet){ in.ptr[LENGTH_BYTES], span_sub(in, MILTER_HEAD_BYTES, LENGTH_BYTES + len) };
	*used_out = LENGTH_BYTES + len;
	return 0;
}

/* ---- what a filter says */

static bool take_u32(struct span *data, uint32_t *out)
{
	if (data->len < 4)
		return false;
	*out = get_u32(data->ptr);
	*data = span_sub(*data, 4, data->len);
	return true;
}

/* A text and its NUL. */
static bool take_text(struct span *data, struct span *out)
{
	size_t end = span_find(*data, '\0', 0);
	if (end == data->len || end > MILTER_TEXT_CAP)
		return false;
	*out = span_sub(*data, 0, end);
	*data = span_sub(*data, end + 1, data->len);
	return true;
}

int milter_options_read(struct span data, struct milter_options *out)
{
	struct milter_options options = { .version = 0 };
	if (!take_u32(&data, &options.version) || !take_u32(&data, &options.actions) || !take_u32(&data, &options.steps) || options.version < 2)
		return ERR_PROTO;
	while (data.len) {
		uint32_t stage;
		struct span names;
		if (!take_u32(&data, &stage) || !take_text(&data, &names))
			return ERR_PROTO;
		/* A stage of a later version says nothing to us. */
		if (stage < MILTER_STAGES)
			options.macros[stage] = names;
	}
	*out = options;
	return 0;
}

static bool take_change(char command, struct span *data, struct milter_change *out)
{
	switch (command) {
	case MILTER_ADD_HEADER: return take_text(data, &out->first) && take_text(data, &out->second);
	case MILTER_INSERT_HEADER:
	case MILTER_CHANGE_HEADER: return take_u32(data, &out->index) && take_text(data, &out->first) && take_text(data, &out->second);
	case MILTER_CHANGE_FROM:
	case MILTER_ADD_RCPT_PAR: return take_text(data, &out->first) && (data->len == 0 || take_text(data, &out->second));
	case MILTER_ADD_RCPT:
	case MILTER_DEL_RCPT:
	case MILTER_QUARANTINE:
	case MILTER_REPLY_CODE: return take_text(data, &out->first);
	case MILTER_REPLACE_BODY:
		out->first = *data;
		*data = SPAN_NONE;
		return true;
	default: return true;
	}
}

int milter_change_read(const struct milter_packet *packet, struct milter_change *out)
{
	struct milter_change change = { .index = 0 };
	struct span data = packet->data;
	if (!take_change(packet->command, &data, &change) || data.len)
		return ERR_PROTO;
	*out = change;
	return 0;
}

/* ---- what we say */

static int begin(struct buf *out, char command, size_t *begin_out)
{
	size_t at = out->len;
	const char head[MILTER_HEAD_BYTES] = { 0, 0, 0, 0, command };
	int err = buf_append(out, head, sizeof head);
	if (!err)
		*begin_out = at;
	return err;
}

int milter_text_write(struct buf *out, struct span text)
{
	size_t start = out->len;
	int err = buf_append_span(out, span_sub(text, 0, span_find(text, '\0', 0)));
	if (!err)
		err = buf_append(out, "", 1);
	if (err)
		out->len = start;
	return err;
}

int milter_packet_end(struct buf *out, size_t begin)
{
	size_t len = out->len - begin - LENGTH_BYTES;
	if (len - 1 > MILTER_CHUNK_BYTES) {
		out->len = begin;
		return ERR_TOOLONG;
	}
	put_u32(out->data + begin, (uint32_t)len);
	return 0;
}

int milter_options_write(struct buf *out, uint32_t actions, uint32_t steps)
{
	char packet[MILTER_HEAD_BYTES + 12];
	put_u32(packet, sizeof packet - LENGTH_BYTES);
	packet[LENGTH_BYTES] = MILTER_NEGOTIATE;
	put_u32(packet + MILTER_HEAD_BYTES, MILTER_VERSION);
	put_u32(packet + MILTER_HEAD_BYTES + 4, actions);
	put_u32(packet + MILTER_HEAD_BYTES + 8, steps);
	return buf_append(out, packet, sizeof packet);
}

/* On failure everything behind start goes. */
static int finish(struct buf *out, size_t start, int err)
{
	if (!err)
		err = milter_packet_end(out, start);
	if (err)
		out->len = start;
	return err;
}

int milter_command_write(struct buf *out, enum milter_command command, const struct span *texts, size_t count)
{
	size_t start = out->len;
	int err = begin(out, (char)command, &start);
	for (size_t i = 0; !err && i < count; i++)
		err = milter_text_write(out, texts[i]);
	return finish(out, start, err);
}

int milter_connect_write(struct buf *out, struct span name, char family, uint16_t port, struct span address)
{
	size_t start = out->len;
	const char where[] = { family, (char)(unsigned char)(port >> 8), (char)(unsigned char)port };
	int err = begin(out, MILTER_CONNECT, &start);
	if (!err)
		err = milter_text_write(out, name);
	if (!err)
		err = buf_append(out, where, family == 'U' ? 1 : sizeof where);
	if (!err && family != 'U')
		err = milter_text_write(out, address);
	return finish(out, start, err);
}

int milter_macros_begin(struct buf *out, enum milter_command command, size_t *begin_out)
{
	size_t start = out->len;
	const char of = (char)command;
	int err = begin(out, MILTER_MACRO, begin_out);
	if (!err)
		err = buf_append(out, &of, 1);
	if (err)
		out->len = start;
	return err;
}

int milter_body_head_write(struct buf *out, size_t len)
{
	char head[MILTER_HEAD_BYTES];
	if (len > MILTER_CHUNK_BYTES)
		return ERR_TOOLONG;
	put_u32(head, (uint32_t)(len + 1));
	head[LENGTH_BYTES] = MILTER_BODY;
	return buf_append(out, head, sizeof head);
}
