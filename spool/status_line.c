#include "status_line.h"

#include <inttypes.h>
#include <stdlib.h>

#include "crc32c.h"
#include "err.h"
#include "spool_text.h"

#define CRC_LEN 13u /* "crc=XXXXXXXX " */
#define NOTE_CAP 32u

/* Replies have line breaks, and longer ones than anybody wants to keep. */
static int put_text(struct buf *out, struct span text)
{
	char clean[SPOOL_STATUS_TEXT_CAP];
	size_t len = text.len < sizeof clean ? text.len : sizeof clean;
	for (size_t i = 0; i < len; i++) {
		char c = text.ptr[i];
		clean[i] = c == '\r' || c == '\n' || c == '\0' ? ' ' : c;
	}
	return spool_text_put(out, (struct span){ clean, len }, false, sizeof clean);
}

static int put_number(struct buf *out, const char *key, int64_t value)
{
	return value > 0 ? buf_printf(out, " %s=%" PRId64, key, value) : 0;
}

static int put_recipient(struct buf *out, const struct spool_status *status)
{
	if (!status->has_recipient)
		return 0;
	int err = status->recipient == SPOOL_ACK_ALL ? buf_append_span(out, SPAN_LIT(" rcpt=all")) :
						       buf_printf(out, " rcpt=%" PRIu32, status->recipient);
	return err ? err : buf_printf(out, " outcome=%s", spool_outcome_name(status->outcome));
}

static int put_all(struct buf *out, const struct spool_status *status)
{
	int err = buf_printf(out, "crc=00000000 time=%" PRId64, status->time > 0 ? status->time : 0);
	if (!err)
		err = put_number(out, "attempt", status->attempt);
	if (!err)
		err = put_number(out, "next", status->next_time);
	if (!err)
		err = put_recipient(out, status);
	if (!err && status->note.len > 0) {
		err = buf_append_span(out, SPAN_LIT(" note="));
		if (!err)
			err = spool_text_put(out, status->note, true, NOTE_CAP);
	}
	if (!err && status->text.len > 0) {
		err = buf_append_span(out, SPAN_LIT(" text="));
		if (!err)
			err = put_text(out, status->text);
	}
	return err;
}

int spool_status_encode(const struct spool_status *status, struct buf *out)
{
	size_t start = out->len;
	int err = put_all(out, status);
	if (!err)
		err = buf_append(out, "\n", 1);
	if (err) {
		out->len = start;
		return err;
	}
	static const char hex[] = "0123456789abcdef";
	char *line = out->data + start;
	uint32_t crc = crc32c(0, line + CRC_LEN, out->len - start - CRC_LEN - 1);
	for (int i = 0; i < 8; i++)
		line[4 + i] = hex[(crc >> (28 - 4 * i)) & 15];
	return 0;
}

static bool has_good_crc(struct span line)
{
	if (line.len < CRC_LEN || !span_eq(span_sub(line, 0, 4), SPAN_LIT("crc=")) || line.ptr[CRC_LEN - 1] != ' ')
		return false;
	uint32_t said = 0;
	for (size_t i = 4; i < CRC_LEN - 1; i++) {
		char c = line.ptr[i];
		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
			return false;
		said = said << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
	}
	return said == crc32c(0, line.ptr + CRC_LEN, line.len - CRC_LEN);
}

static int get_pair(struct span key, struct span value, struct arena *arena, struct spool_status *status)
{
	uint64_t number = 0;
	if (span_eq(key, SPAN_LIT("outcome")))
		return spool_outcome_parse(value, &status->outcome);
	if (span_eq(key, SPAN_LIT("note")))
		return spool_text_get(value, true, NOTE_CAP, arena, &status->note);
	if (span_eq(key, SPAN_LIT("rcpt")) && span_eq(value, SPAN_LIT("all"))) {
		status->has_recipient = true;
		status->recipient = SPOOL_ACK_ALL;
		return 0;
	}
	bool is_time = span_eq(key, SPAN_LIT("time")), is_next = span_eq(key, SPAN_LIT("next"));
	bool is_attempt = span_eq(key, SPAN_LIT("attempt")), is_recipient = span_eq(key, SPAN_LIT("rcpt"));
	if (!is_time && !is_next && !is_attempt && !is_recipient)
		return 0; /* a later version's */
	int err = span_to_u64(value, is_time || is_next ? INT64_MAX / 4 : UINT32_MAX - 1, &number);
	if (err)
		return err;
	if (is_time)
		status->time = (int64_t)number;
	else if (is_next)
		status->next_time = (int64_t)number;
	else if (is_attempt)
		status->attempt = (uint32_t)number;
	else {
		status->has_recipient = true;
		status->recipient = (uint32_t)number;
	}
	return 0;
}

int spool_status_decode(struct span line, struct arena *arena, struct spool_status *out)
{
	static const struct span text = { "text=", 5 };
	if (!has_good_crc(line))
		return ERR_CORRUPT;
	struct spool_status status = { .time = 0 };
	struct span rest = span_sub(line, CRC_LEN, line.len);
	int err = 0;
	while (!err && rest.len > 0) {
		if (span_eq(span_sub(rest, 0, text.len), text)) {
			err = spool_text_get(span_sub(rest, text.len, rest.len), false, SPOOL_STATUS_TEXT_CAP, arena, &status.text);
			break;
		}
		struct span value = spool_text_word(&rest), key;
		if (!span_cut(&value, '=', &key) || !value.ptr)
			return ERR_CORRUPT;
		err = get_pair(key, value, arena, &status);
	}
	if (err)
		return err == ERR_NOMEM ? err : ERR_CORRUPT;
	*out = status;
	return 0;
}
