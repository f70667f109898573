#include "smtp_data.h"

enum state {
	LINE_START,    /* the start of the data, or behind CRLF */
	LINE_START_LF, /* behind a bare LF */
	DOT,           /* CRLF and a dot */
	DOT_LF,        /* bare LF and a dot */
	DOT_CR,        /* CRLF, a dot and a CR: LF makes it the end */
	TEXT,
	TEXT_CR,
};

/* One call of smtp_data_push. */
struct push {
	struct smtp_data *data;
	struct span in;
	size_t pending; /* the first byte of in that was neither emitted nor withheld */
	smtp_data_emit_fn emit;
	void *ctx;
};

void smtp_data_init(struct smtp_data *data, bool normalize_bare_lf)
{
	*data = (struct smtp_data){ .is_normalizing = normalize_bare_lf, .state = LINE_START };
}

static void emit_span(struct push *push, struct span wire)
{
	if (wire.len == 0 || push->data->fault != SMTP_DATA_CLEAN)
		return;
	push->data->size_bytes += wire.len;
	push->emit(push->ctx, wire);
}

static void emit_up_to(struct push *push, size_t end)
{
	emit_span(push, span_sub(push->in, push->pending, end));
	push->pending = end;
}

/* What came before index end goes out first; then nothing more does. */
static void set_fault(struct push *push, enum smtp_data_fault fault, size_t end, uint64_t offset)
{
	emit_up_to(push, end);
	if (push->data->fault != SMTP_DATA_CLEAN)
		return;
	push->data->fault = fault;
	push->data->fault_offset = offset;
}

/* Put a constant in front of index at. */
static void insert(struct push *push, size_t at, struct span constant)
{
	emit_up_to(push, at);
	emit_span(push, constant);
}

/* The hot path: from index at, which is inside a line or starts one without a dot, over as many well-formed lines as there are.
 * Stops at the end of in, at a byte that step() must judge, or at a dot that starts a line. */
static size_t skip_text(struct smtp_data *data, struct span in, size_t at)
{
	const char *const end = in.ptr + in.len;
	const char *p = in.ptr + at;
	data->state = TEXT;
	while (p < end) {
		const char *lf = memchr(p, '\n', (size_t)(end - p));
		const char *stop = lf ? lf : end;
		const char *cr = memchr(p, '\r', (size_t)(stop - p));
		if (cr)
			stop = cr;
		const char *nul = memchr(p, '\0', (size_t)(stop - p));
		if (nul)
			return (size_t)(nul - in.ptr);
		if (!lf || !cr || cr + 1 != lf)
			return (size_t)(stop - in.ptr);
		p = lf + 1;
		if (p < end && *p != '.')
			continue;
		data->state = LINE_START;
		break;
	}
	return (size_t)(p - in.ptr);
}

static void take_bare_lf(struct push *push, size_t at)
{
	if (push->data->is_normalizing)
		insert(push, at, SPAN_LIT("\r"));
	else
		set_fault(push, SMTP_DATA_BARE_LF, at, push->data->seen_bytes + at);
	push->data->state = LINE_START_LF;
}

/* A line is a lone dot but not the end: a second dot keeps it from ever being taken for one. */
static void double_dot(struct push *push, size_t at)
{
	push->data->has_lone_dot = true;
	if (push->data->is_normalizing)
		insert(push, at, SPAN_LIT("."));
}

/* A byte with no CR before it. */
static void step(struct push *push, size_t at)
{
	struct smtp_data *data = push->data;
	const enum state before = (enum state)data->state;
	const bool has_dot = before == DOT || before == DOT_LF;
	data->state = TEXT;
	switch (push->in.ptr[at]) {
	case '\0': set_fault(push, SMTP_DATA_NUL, at, data->seen_bytes + at); break;
	case '\n':
		if (has_dot)
			double_dot(push, at);
		take_bare_lf(push, at);
		break;
	case '\r':
		if (before == DOT_LF)
			double_dot(push, at);
		data->state = before == DOT ? DOT_CR : TEXT_CR;
		break;
	case '.':
		if (before == LINE_START)
			data->state = DOT;
		else if (before == LINE_START_LF)
			data->state = DOT_LF;
		break;
	default: break;
	}
}

/* The byte behind a CR.  False when it is no LF: then it still has to be stepped over. */
static bool step_after_cr(struct push *push, size_t at)
{
	struct smtp_data *data = push->data;
	if (push->in.ptr[at] == '\n') {
		data->has_ended = data->state == DOT_CR;
		data->state = LINE_START;
		return true;
	}
	set_fault(push, SMTP_DATA_BARE_CR, at, data->seen_bytes + at - 1);
	data->state = TEXT;
	return false;
}

size_t smtp_data_push(struct smtp_data *data, struct span in, smtp_data_emit_fn emit, void *ctx)
{
	struct push push = { .data = data, .in = in, .emit = emit, .ctx = ctx };
	size_t at = 0;
	while (at < in.len && !data->has_ended) {
		bool starts_line = data->state == LINE_START || data->state == LINE_START_LF;
		if (data->state == TEXT || (starts_line && in.ptr[at] != '.')) {
			at = skip_text(data, in, at);
			if (at == in.len || data->state == LINE_START)
				continue;
		}
		bool after_cr = data->state == TEXT_CR || data->state == DOT_CR;
		if (!after_cr || !step_after_cr(&push, at))
			step(&push, at);
		at++;
	}
	emit_up_to(&push, at);
	data->seen_bytes += at;
	if (data->has_ended && at > 0 && data->fault == SMTP_DATA_CLEAN)
		data->size_bytes -= 3;
	return at;
}

const struct smtp_reply_text *smtp_data_fault_reply(enum smtp_data_fault fault)
{
	static const struct smtp_reply_text bare_cr = { 550, "5.5.2", "Message refused: bare <CR> in it, lines end in <CR><LF>" };
	static const struct smtp_reply_text bare_lf = { 550, "5.5.2", "Message refused: bare <LF> in it, lines end in <CR><LF>" };
	static const struct smtp_reply_text nul = { 550, "5.6.0", "Message refused: NUL byte in it" };
	switch (fault) {
	case SMTP_DATA_BARE_CR: return &bare_cr;
	case SMTP_DATA_BARE_LF: return &bare_lf;
	case SMTP_DATA_NUL: return &nul;
	case SMTP_DATA_CLEAN: break;
	}
	return NULL;
}
