#include "smtp_line.h"

#include <assert.h>

void smtp_line_init(struct smtp_line *state, uint32_t cap, bool normalize_bare_lf)
{
	assert(cap > 2);
	*state = (struct smtp_line){ .cap = cap, .is_normalizing = normalize_bare_lf };
}

/* Drop up to the end of the faulty line, looking from index from on.  True when the end was found. */
static bool discard(struct smtp_line *state, struct span buffered, size_t from, size_t *drop_out)
{
	state->scanned = 0;
	for (size_t at = span_find(buffered, '\n', from); at < buffered.len; at = span_find(buffered, '\n', at + 1)) {
		if (state->is_normalizing || (at > from && buffered.ptr[at - 1] == '\r')) {
			state->is_discarding = false;
			*drop_out = at + 1;
			return true;
		}
	}
	/* A CR at the very end may be the first half of the line's end: it stays until its neighbour is here. */
	bool keeps_cr = buffered.len > from && buffered.ptr[buffered.len - 1] == '\r';
	state->is_discarding = true;
	*drop_out = buffered.len - keeps_cr;
	return false;
}

static enum smtp_line_result fail(struct smtp_line *state, enum smtp_line_result fault, struct span buffered, size_t from,
				  size_t skipped, size_t *drop_out)
{
	(void)discard(state, buffered, from, drop_out);
	*drop_out += skipped;
	return fault;
}

static enum smtp_line_result ready(struct smtp_line *state, struct span line, size_t used, struct span *line_out, size_t *drop_out)
{
	state->scanned = 0;
	*line_out = line;
	*drop_out = used;
	return SMTP_LINE_READY;
}

enum smtp_line_result smtp_line_next(struct smtp_line *state, struct span buffered, struct span *line_out, size_t *drop_out)
{
	size_t skipped = 0;
	if (state->is_discarding) {
		if (!discard(state, buffered, 0, &skipped)) {
			*drop_out = skipped;
			return SMTP_LINE_MORE;
		}
		buffered = span_sub(buffered, skipped, buffered.len);
	}
	for (size_t i = state->scanned; i < buffered.len; i++) {
		char c = buffered.ptr[i];
		bool after_cr = i > 0 && buffered.ptr[i - 1] == '\r';
		bool is_end = c == '\n' && (after_cr || state->is_normalizing);
		if (is_end && i < state->cap)
			return ready(state, span_sub(buffered, 0, after_cr ? i - 1 : i), skipped + i + 1, line_out, drop_out);
		if (i + 1 >= state->cap)
			return fail(state, SMTP_LINE_TOO_LONG, buffered, i, skipped, drop_out);
		if (after_cr)
			return fail(state, SMTP_LINE_BARE_CR, buffered, i, skipped, drop_out);
		if (c == '\n')
			return fail(state, SMTP_LINE_BARE_LF, buffered, i + 1, skipped, drop_out);
		if (c == '\0')
			return fail(state, SMTP_LINE_NUL, buffered, i + 1, skipped, drop_out);
	}
	/* Each byte but the last had room left in the line. */
	state->scanned = (uint32_t)buffered.len;
	*drop_out = skipped;
	return SMTP_LINE_MORE;
}

const struct smtp_reply_text *smtp_line_fault_reply(enum smtp_line_result fault)
{
	static const struct smtp_reply_text bare_cr = { 500, "5.5.2", "Error: bare <CR> received, lines end in <CR><LF>" };
	static const struct smtp_reply_text bare_lf = { 500, "5.5.2", "Error: bare <LF> received, lines end in <CR><LF>" };
	static const struct smtp_reply_text nul = { 500, "5.5.2", "Error: NUL byte received" };
	static const struct smtp_reply_text too_long = { 500, "5.5.6", "Error: line too long" };
	switch (fault) {
	case SMTP_LINE_BARE_CR: return &bare_cr;
	case SMTP_LINE_BARE_LF: return &bare_lf;
	case SMTP_LINE_NUL: return &nul;
	case SMTP_LINE_TOO_LONG: return &too_long;
	case SMTP_LINE_MORE:
	case SMTP_LINE_READY: break;
	}
	return NULL;
}
