#include "smtp_reply.h"

#include <assert.h>
#include <string.h>

#include "err.h"

#define CODE_LEN 3u

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_printable(char c)
{
	return c >= ' ' && c < 0x7f;
}

/* Cut off the next line, or as much of it as room holds; *text is SPAN_NONE behind the last piece. */
static struct span next_piece(struct span *text, size_t room)
{
	size_t newline = span_find(*text, '\n', 0);
	size_t end = newline;
	size_t behind = newline + 1;
	if (end > room) {
		end = span_rfind(span_sub(*text, 0, room + 1), ' ');
		bool has_space = end > 0 && end <= room;
		if (!has_space)
			end = room;
		behind = end + has_space;
	}
	struct span piece = span_sub(*text, 0, end);
	*text = behind <= text->len ? span_sub(*text, behind, text->len) : SPAN_NONE;
	return piece;
}

/* prefix: code, a place for the separator, and perhaps the enhanced status with a space. */
static int append_line(struct buf *out, struct span prefix, struct span piece, bool is_last)
{
	char line[SMTP_REPLY_LINE_CAP];
	size_t len = prefix.len;
	memcpy(line, prefix.ptr, prefix.len);
	line[CODE_LEN] = is_last ? ' ' : '-';
	for (size_t i = 0; i < piece.len; i++)
		if (piece.ptr[i] != '\r')
			line[len++] = is_printable(piece.ptr[i]) ? piece.ptr[i] : '?';
	while (line[len - 1] == ' ')
		len--;
	memcpy(line + len, "\r\n", 2);
	return buf_append(out, line, len + 2);
}

int smtp_reply_append(struct buf *out, unsigned code, const char *enhanced, struct span text)
{
	assert(code >= 200 && code <= 599);
	assert(!enhanced || strlen(enhanced) < SMTP_ENHANCED_CAP);
	char prefix[CODE_LEN + 1 + SMTP_ENHANCED_CAP + 1];
	const size_t enhanced_len = enhanced ? strlen(enhanced) : 0;
	prefix[0] = (char)('0' + code / 100);
	prefix[1] = (char)('0' + code / 10 % 10);
	prefix[2] = (char)('0' + code % 10);
	prefix[CODE_LEN] = ' ';
	if (enhanced_len) {
		memcpy(prefix + CODE_LEN + 1, enhanced, enhanced_len);
		prefix[CODE_LEN + 1 + enhanced_len] = ' ';
	}
	const struct span start = { prefix, CODE_LEN + 1 + (enhanced_len ? enhanced_len + 1 : 0) };
	const size_t len_before = out->len;
	int err;
	text = span_trim(text);
	do {
		struct span piece = next_piece(&text, SMTP_REPLY_LINE_CAP - 2 - start.len);
		err = append_line(out, start, piece, text.ptr == NULL);
	} while (err == 0 && text.ptr);
	if (err)
		out->len = len_before;
	return err;
}

void smtp_reply_reset(struct smtp_reply *reply)
{
	/* Everything but the text, which is large and guarded by text_len. */
	reply->code = reply->line_count = reply->line_code = 0;
	reply->is_complete = reply->is_cut = reply->is_last = false;
	reply->enhanced[0] = '\0';
	reply->text_len = reply->line_len = reply->line_text = 0;
}

static void put_text(struct smtp_reply *reply, char c)
{
	if (reply->text_len < sizeof reply->text)
		reply->text[reply->text_len++] = c;
	else
		reply->is_cut = true;
}

/* One to three digits at index at: one past them; 0 when there are none. */
static size_t skip_number(struct span text, size_t at)
{
	size_t end = at;
	while (end < text.len && end - at < 3 && is_digit(text.ptr[end]))
		end++;
	return end > at ? end : 0;
}

/* Length of an enhanced status code of that class at the start of text (RFC 2034), or 0. */
static size_t enhanced_len(struct span text, char class)
{
	if (text.len < 2 || text.ptr[0] != class || text.ptr[1] != '.')
		return 0;
	size_t at = skip_number(text, 2);
	if (at == 0 || at == text.len || text.ptr[at] != '.')
		return 0;
	at = skip_number(text, at + 1);
	return at > 0 && (at == text.len || text.ptr[at] == ' ') ? at : 0;
}

/* The line's enhanced status moves from the text to its own place. */
static void take_enhanced(struct smtp_reply *reply)
{
	struct span line = { reply->text + reply->line_text, reply->text_len - reply->line_text };
	size_t len = enhanced_len(line, (char)('0' + reply->line_code / 100));
	if (len == 0 || len >= sizeof reply->enhanced)
		return;
	memcpy(reply->enhanced, line.ptr, len);
	reply->enhanced[len] = '\0';
	size_t behind = len < line.len ? len + 1 : len;
	memmove(reply->text + reply->line_text, line.ptr + behind, line.len - behind);
	reply->text_len -= behind;
}

static int end_line(struct smtp_reply *reply)
{
	if (reply->line_len < CODE_LEN || (reply->line_count > 0 && reply->line_code != reply->code))
		return ERR_PROTO;
	if (reply->line_count >= SMTP_REPLY_READ_LINES_CAP)
		return ERR_PROTO;
	reply->code = reply->line_code;
	reply->line_count++;
	take_enhanced(reply);
	reply->is_complete = reply->is_last || reply->line_len == CODE_LEN;
	if (!reply->is_complete)
		put_text(reply, '\n');
	reply->line_text = reply->text_len;
	reply->line_len = 0;
	reply->line_code = 0;
	return reply->is_complete ? 0 : ERR_AGAIN;
}

static int take_code_digit(struct smtp_reply *reply, char c)
{
	bool is_class = reply->line_len == 0;
	if (!is_digit(c) || (is_class && (c < '2' || c > '5')))
		return ERR_PROTO;
	reply->line_code = (uint16_t)(reply->line_code * 10 + (c - '0'));
	return ERR_AGAIN;
}

static int take_byte(struct smtp_reply *reply, char c)
{
	if (c == '\n')
		return end_line(reply);
	if (c == '\0' || reply->line_len + 1 >= SMTP_REPLY_READ_LINE_CAP)
		return ERR_PROTO;
	int err = ERR_AGAIN;
	if (reply->line_len < CODE_LEN) {
		err = take_code_digit(reply, c);
	} else if (reply->line_len == CODE_LEN) {
		if (c != ' ' && c != '-' && c != '\r')
			return ERR_PROTO;
		reply->is_last = c != '-';
	} else if (c != '\r') {
		put_text(reply, is_printable(c) ? c : '?');
	}
	reply->line_len++;
	return err;
}

int smtp_reply_push(struct smtp_reply *reply, struct span in, size_t *consumed_out)
{
	size_t at = 0;
	int err = reply->is_complete ? 0 : ERR_AGAIN;
	while (err == ERR_AGAIN && at < in.len)
		err = take_byte(reply, in.ptr[at++]);
	if (err != ERR_PROTO)
		*consumed_out = at;
	return err;
}

struct span smtp_reply_span(const struct smtp_reply *reply)
{
	return (struct span){ reply->text, reply->text_len };
}
