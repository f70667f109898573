#include "verify_packet.h"

#include <string.h>

static bool is_printable(struct span text)
{
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < ' ' || text.ptr[i] > '~')
			return false;
	}
	return true;
}

/* Terminated within its array, and printable. */
static bool is_text(const char *text, size_t cap)
{
	size_t len = strnlen(text, cap);
	return len < cap && is_printable((struct span){ text, len });
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_refusal(struct span line)
{
	return line.len > 4 && line.ptr[0] == '5' && is_digit(line.ptr[1]) && is_digit(line.ptr[2]) && line.ptr[3] == ' ';
}

static bool is_path(struct span path)
{
	return path.len > 0 && is_printable(path) && span_find(path, ' ', 0) == path.len && span_find(path, '>', 0) == path.len;
}

int verify_ask_make(uint64_t id, const char *listener, const struct endpoint *dst, struct span path, struct verify_ask *out)
{
	struct verify_ask ask;
	memset(&ask, 0, sizeof ask); /* the padding leaves the process too */
	ask.id = id;
	ask.dst.addr = dst->addr;
	ask.dst.port = dst->port;
	if (span_to_cstr(span_of(listener), ask.listener, sizeof ask.listener) || span_to_cstr(path, ask.path, sizeof ask.path))
		return ERR_TOOLONG;
	if (!is_path(path))
		return ERR_INVAL;
	*out = ask;
	return 0;
}

int verify_ask_check(struct span payload, struct verify_ask *out)
{
	struct verify_ask ask;
	if (payload.len != sizeof ask)
		return ERR_PROTO;
	memcpy(&ask, payload.ptr, sizeof ask);
	bool is_family = ask.dst.addr.family == ADDR_NONE || ask.dst.addr.family == ADDR_V4 || ask.dst.addr.family == ADDR_V6;
	if (!is_family || !is_text(ask.listener, sizeof ask.listener) || !is_text(ask.path, sizeof ask.path) || !is_path(span_of(ask.path)))
		return ERR_PROTO;
	*out = ask;
	return 0;
}

int verify_answer_check(struct span payload, struct verify_answer *out)
{
	struct verify_answer answer;
	if (payload.len != sizeof answer)
		return ERR_PROTO;
	memcpy(&answer, payload.ptr, sizeof answer);
	if (answer.result > VERIFY_NO || !is_text(answer.line, sizeof answer.line))
		return ERR_PROTO;
	if ((answer.result == VERIFY_NO) != is_refusal(span_of(answer.line)))
		return ERR_PROTO;
	*out = answer;
	return 0;
}

int verify_line_make(struct span reply, char out[VERIFY_LINE_CAP])
{
	if (!is_refusal(reply))
		return ERR_INVAL;
	size_t len = reply.len < VERIFY_LINE_CAP ? reply.len : VERIFY_LINE_CAP - 1;
	for (size_t i = 0; i < len; i++)
		out[i] = reply.ptr[i] < ' ' || reply.ptr[i] > '~' ? '?' : reply.ptr[i];
	out[len] = '\0';
	return 0;
}
