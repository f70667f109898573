#include "smtp_header.h"

enum state {
	LINE_START,          /* behind a field that is of no interest, or before the first */
	LINE_START_RECEIVED, /* behind a Received field that a fold would continue */
	NAME,
	OTHER_BODY,
	RECEIVED_BODY,
};

void smtp_header_init(struct smtp_header *header, struct span own_host)
{
	*header = (struct smtp_header){ .own_host = own_host, .state = LINE_START };
}

static void start_token(struct smtp_header *h)
{
	h->token_len = 0;
	h->is_by = true;
	h->is_own = h->own_host.len > 0;
}

static void end_token(struct smtp_header *h)
{
	if (h->token_len == 0)
		return;
	if (h->after_by && h->is_own && h->token_len == h->own_host.len && !h->is_own_field) {
		h->is_own_field = true;
		h->own_count++;
	}
	h->after_by = h->is_by && h->token_len == 2;
	start_token(h);
}

static void extend_token(struct smtp_header *h, char c)
{
	c = span_lower(c);
	h->is_by = h->is_by && h->token_len < 2 && c == "by"[h->token_len];
	h->is_own = h->is_own && h->token_len < h->own_host.len && c == span_lower(h->own_host.ptr[h->token_len]);
	h->token_len++;
}

static void start_received(struct smtp_header *h)
{
	h->received_count++;
	h->comment_depth = 0;
	h->is_quoted = h->is_escaped = h->after_by = h->is_own_field = false;
	start_token(h);
}

static bool name_is(const struct smtp_header *h, struct span name)
{
	return h->field_len == name.len && memcmp(h->field, name.ptr, name.len) == 0;
}

/* The colon was reached: which body follows? */
static enum state end_name(struct smtp_header *h)
{
	if (name_is(h, SPAN_LIT("received"))) {
		start_received(h);
		return RECEIVED_BODY;
	}
	if (name_is(h, SPAN_LIT("date")))
		h->has_date = true;
	else if (name_is(h, SPAN_LIT("message-id")))
		h->has_message_id = true;
	return OTHER_BODY;
}

static void take_name(struct smtp_header *h, char c)
{
	if (c == ':') {
		h->state = end_name(h);
	} else if (c == '\n') {
		h->is_done = name_is(h, SPAN_LIT("."));
		h->state = LINE_START;
	} else if (c != ' ' && c != '\t' && c != '\r') {
		if (h->field_len < sizeof h->field)
			h->field[h->field_len] = span_lower(c);
		h->field_len++;
	}
}

static void take_line_start(struct smtp_header *h, char c)
{
	if (c == '\r')
		return;
	if (c == '\n') {
		h->is_done = true;
	} else if (c == ' ' || c == '\t') {
		h->state = h->state == LINE_START_RECEIVED ? RECEIVED_BODY : OTHER_BODY;
	} else {
		h->state = NAME;
		h->field_len = 0;
		take_name(h, c);
	}
}

/* Comments and quoted strings of RFC 5322 section 3.2 hold no tokens. */
static void take_received(struct smtp_header *h, char c)
{
	bool is_hidden = h->is_quoted || h->comment_depth > 0;
	if (c == '\n') {
		end_token(h);
		h->state = LINE_START_RECEIVED;
	} else if (h->is_escaped) {
		h->is_escaped = false;
	} else if (is_hidden && c == '\\') {
		h->is_escaped = true;
	} else if (h->is_quoted) {
		h->is_quoted = c != '"';
	} else if (c == '(') {
		end_token(h);
		h->comment_depth++;
	} else if (h->comment_depth > 0) {
		h->comment_depth -= c == ')';
	} else if (c == '"') {
		end_token(h);
		h->is_quoted = true;
	} else if (c == ';') {
		end_token(h);
		h->state = OTHER_BODY; /* only the date is left */
	} else if (c == ' ' || c == '\t' || c == '\r') {
		end_token(h);
	} else {
		extend_token(h, c);
	}
}

void smtp_header_push(struct smtp_header *h, struct span wire)
{
	for (size_t i = 0; i < wire.len && !h->is_done; i++) {
		switch ((enum state)h->state) {
		case LINE_START:
		case LINE_START_RECEIVED: take_line_start(h, wire.ptr[i]); break;
		case NAME: take_name(h, wire.ptr[i]); break;
		case RECEIVED_BODY: take_received(h, wire.ptr[i]); break;
		case OTHER_BODY:
			i = span_find(wire, '\n', i);
			if (i < wire.len)
				h->state = LINE_START;
			break;
		}
	}
}
