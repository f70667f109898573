#include "regex.h"

#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "bre.h"

/* Enough for any sane expression on a name or an address; a hostile pair of expression and text ends after about a millisecond. */
#define MATCH_LIMIT 50000u
#define DEPTH_LIMIT 5000u
#define HEAP_LIMIT_KIB 1024u

/* For a line of mail of tens of kilobytes. */
#define LONG_MATCH_LIMIT 1000000u
#define LONG_DEPTH_LIMIT 20000u
#define LONG_HEAP_LIMIT_KIB 8192u
/* PCRE2's machine code counts its steps anew from each place where a match may begin, and does not count what a back-reference compares.  So there
 * is a limit of processor time as well: looked at behind some such places, and at each step of an expression with back-references. */
#define LONG_MATCH_NS UINT64_C(20000000)
/* Few looks: what PCRE2 has learned at one place of where there is no match it has forgotten behind them. */
#define STARTS_FIRST 8u
#define STARTS_FACTOR 8u
#define SHORT_TEXT 128u
#define STEPS_BETWEEN 64u
#define STACK_MIN (32u << 10)
#define STACK_MAX (2u << 20)

/* With `.` as any byte, and `$` at the very end only. */
#define BASIC_OPTIONS (PCRE2_CASELESS | PCRE2_DOLLAR_ENDONLY | PCRE2_DOTALL)
#define PCRE_TEXT_CAP (1u << 20)

struct regex {
	pcre2_code *code;
	pcre2_match_data *match;
	pcre2_match_context *limits;
	struct regex_scratch *scratch; /* whose match and limits are used then */
	bool is_utf, is_jit_tried;
};

struct regex_scratch {
	pcre2_match_data *match;
	pcre2_match_context *limits;
	pcre2_jit_stack *stack;
	uint64_t until_ns; /* of this thread's clock, for the match that is being made; 0: it was not begun */
	uint64_t begun_ns; /* of the other clock: when the places began that are being tried */
	unsigned steps;
};

static uint64_t read_clock(clockid_t clock)
{
	struct timespec t;
	if (clock_gettime(clock, &t) != 0)
		return 0;
	return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

/* Of this thread. */
static uint64_t now_ns(void)
{
	return read_clock(CLOCK_THREAD_CPUTIME_ID);
}

/* Only expressions with back-references have places where it is called. */
static int on_step(pcre2_callout_block *block, void *ctx)
{
	struct regex_scratch *s = ctx;
	(void)block;
	return ++s->steps % STEPS_BETWEEN == 0 && now_ns() > s->until_ns ? PCRE2_ERROR_MATCHLIMIT : 0;
}

static int explain(struct reason *why, int code, PCRE2_SIZE offset)
{
	PCRE2_UCHAR text[128];
	if (code == PCRE2_ERROR_NOMEMORY)
		return reason_set(why, ERR_NOMEM, "no memory");
	if (pcre2_get_error_message(code, text, sizeof text) < 0)
		text[0] = '\0';
	return reason_set(why, ERR_SYNTAX, "at offset %zu: %s", (size_t)offset, (const char *)text);
}

static pcre2_match_context *make_limits(uint32_t matches, uint32_t depth, uint32_t heap_kib)
{
	pcre2_match_context *limits = pcre2_match_context_create(NULL);
	if (limits) {
		pcre2_set_match_limit(limits, matches);
		pcre2_set_depth_limit(limits, depth);
		pcre2_set_heap_limit(limits, heap_kib);
	}
	return limits;
}

static int compile_extended(struct span text, struct regex *regex, struct reason *why)
{
	PCRE2_UCHAR *converted = NULL;
	PCRE2_SIZE converted_len = 0, offset = 0;
	int code = pcre2_pattern_convert((PCRE2_SPTR)text.ptr, text.len, PCRE2_CONVERT_POSIX_EXTENDED, &converted, &converted_len, NULL);
	if (code)
		return explain(why, code, converted_len);
	regex->code = pcre2_compile(converted, converted_len, PCRE2_CASELESS | PCRE2_DOLLAR_ENDONLY, &code, &offset, NULL);
	pcre2_converted_pattern_free(converted);
	return regex->code ? 0 : explain(why, code, offset);
}

/* How much of text gives so much of PCRE2's text? */
static size_t offset_in_text(struct span text, size_t converted_offset)
{
	size_t at = 0, unused;
	for (; at < text.len; at++) {
		struct buf head = { .cap = PCRE_TEXT_CAP };
		/* A cut in the middle of something is no error here: what comes in front of it was written. */
		(void)bre_to_pcre(span_sub(text, 0, at + 1), &head, &unused, NULL);
		bool is_there = head.len >= converted_offset;
		buf_free(&head);
		if (is_there)
			break;
	}
	return at;
}

static pcre2_code *compile_converted(struct span text, unsigned flags, int *code, PCRE2_SIZE *offset)
{
	uint32_t options = BASIC_OPTIONS | PCRE2_USE_OFFSET_LIMIT | (flags & REGEX_UTF ? PCRE2_UTF | PCRE2_MATCH_INVALID_UTF : 0);
	uint32_t backref = 0;
	pcre2_code *compiled = pcre2_compile((PCRE2_SPTR)text.ptr, text.len, options, code, offset, NULL);
	if (!compiled || pcre2_pattern_info(compiled, PCRE2_INFO_BACKREFMAX, &backref) != 0 || backref == 0)
		return compiled;
	pcre2_code_free(compiled);
	return pcre2_compile((PCRE2_SPTR)text.ptr, text.len, options | PCRE2_AUTO_CALLOUT, code, offset, NULL);
}

static int compile_basic(const struct span *texts, size_t count, unsigned flags, struct regex *regex, size_t *at_out, struct reason *why)
{
	struct buf converted = { .cap = PCRE_TEXT_CAP };
	PCRE2_UCHAR message[128] = "";
	PCRE2_SIZE offset = 0;
	int code = 0, err = 0;
	*at_out = 0;
	for (size_t i = 0; !err && i < count; i++) {
		if (count > 1)
			err = buf_printf(&converted, "%s(?:", i ? "|" : "");
		if (!err)
			err = bre_to_pcre(texts[i], &converted, at_out, why);
		if (!err && count > 1)
			err = buf_append(&converted, ")", 1);
	}
	if (!err) {
		regex->code = compile_converted(buf_span(&converted), flags, &code, &offset);
		if (!regex->code) {
			(void)pcre2_get_error_message(code, message, sizeof message);
			*at_out = offset_in_text(texts[0], offset);
			err = reason_set(why, code == PCRE2_ERROR_NOMEMORY ? ERR_NOMEM : ERR_SYNTAX, "%s", (const char *)message);
		}
	}
	buf_free(&converted);
	return err;
}

int regex_compile(struct span text, enum regex_syntax syntax, struct regex **out, struct reason *why)
{
	size_t at;
	if (text.len == 0)
		return reason_set(why, ERR_SYNTAX, "an empty expression matches everything");
	struct regex *regex = calloc(1, sizeof *regex);
	if (!regex)
		return reason_set(why, ERR_NOMEM, "no memory");
	int err = syntax == REGEX_BASIC ? compile_basic(&text, 1, 0, regex, &at, why) : compile_extended(text, regex, why);
	if (err) {
		regex_destroy(&regex);
		return err == ERR_SYNTAX && syntax == REGEX_BASIC ? reason_prefix(why, err, "at offset %zu", at) : err;
	}
	regex->match = pcre2_match_data_create(1, NULL);
	regex->limits = make_limits(MATCH_LIMIT, DEPTH_LIMIT, HEAP_LIMIT_KIB);
	if (!regex->match || !regex->limits) {
		regex_destroy(&regex);
		return reason_set(why, ERR_NOMEM, "no memory");
	}
	/* A process that may not map executable memory matches with the interpreter: slower, the same result. */
	(void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
	*out = regex;
	return 0;
}

int regex_scratch_create(struct regex_scratch **out)
{
	struct regex_scratch *s = calloc(1, sizeof *s);
	if (!s)
		return ERR_NOMEM;
	s->match = pcre2_match_data_create(1, NULL);
	s->limits = make_limits(LONG_MATCH_LIMIT, LONG_DEPTH_LIMIT, LONG_HEAP_LIMIT_KIB);
	if (!s->match || !s->limits) {
		regex_scratch_destroy(&s);
		return ERR_NOMEM;
	}
	(void)pcre2_set_callout(s->limits, on_step, s);
	/* Without it the machine's own 32 KiB have to do. */
	s->stack = pcre2_jit_stack_create(STACK_MIN, STACK_MAX, NULL);
	if (s->stack)
		pcre2_jit_stack_assign(s->limits, NULL, s->stack);
	*out = s;
	return 0;
}

void regex_scratch_destroy(struct regex_scratch **scratch)
{
	struct regex_scratch *s = *scratch;
	*scratch = NULL;
	if (!s)
		return;
	pcre2_jit_stack_free(s->stack);
	pcre2_match_context_free(s->limits);
	pcre2_match_data_free(s->match);
	free(s);
}

int regex_compile_basic(struct regex_scratch *scratch, const struct span *texts, size_t count, unsigned flags, struct regex **out,
			size_t *at_out, struct reason *why)
{
	struct regex *regex = calloc(1, sizeof *regex);
	*at_out = 0;
	if (!regex)
		return reason_set(why, ERR_NOMEM, "no memory");
	int err = compile_basic(texts, count, flags, regex, at_out, why);
	regex->scratch = scratch;
	regex->is_utf = flags & REGEX_UTF;
	if (err)
		regex_destroy(&regex);
	else
		*out = regex;
	return err;
}

bool regex_has_backref(const struct regex *regex)
{
	uint32_t max = 0;
	return pcre2_pattern_info(regex->code, PCRE2_INFO_BACKREFMAX, &max) != 0 || max > 0;
}

static enum tri result_of(int code)
{
	if (code >= 0)
		return TRI_TRUE;
	return code == PCRE2_ERROR_NOMATCH ? TRI_FALSE : TRI_UNKNOWN;
}

enum tri regex_match(struct regex *regex, struct span text)
{
	/* PCRE2 wants a pointer even for no bytes. */
	PCRE2_SPTR bytes = (PCRE2_SPTR)(text.ptr ? text.ptr : "");
	return result_of(pcre2_match(regex->code, bytes, text.len, 0, 0, regex->match, regex->limits));
}

/* The first place behind so many where a match may begin: not within a character. */
static size_t next_start(const struct regex *regex, struct span text, size_t at, size_t count)
{
	if (count >= text.len - at)
		return text.len + 1;
	for (at += count; regex->is_utf && at < text.len && ((unsigned char)text.ptr[at] & 0xc0) == 0x80;)
		at++;
	return at;
}

/* The thread's clock is a system call, which takes longer than most matches: it is begun when the other one says that a match is long. */
static void begin_limit(struct regex_scratch *s, const struct regex *regex)
{
	s->begun_ns = read_clock(CLOCK_MONOTONIC);
	s->until_ns = regex_has_backref(regex) ? now_ns() + LONG_MATCH_NS : 0;
}

/* Behind some places where a match may begin: is that all the time there is?  And how many places next: as many as can be expected to fit in. */
static bool is_over_limit(struct regex_scratch *s, size_t *count)
{
	uint64_t now = read_clock(CLOCK_MONOTONIC), took = now - s->begun_ns;
	s->begun_ns = now;
	if (took * STARTS_FACTOR < LONG_MATCH_NS / 2)
		*count *= STARTS_FACTOR;
	if (s->until_ns)
		return now_ns() > s->until_ns;
	if (took > LONG_MATCH_NS / 32)
		s->until_ns = now_ns() + LONG_MATCH_NS;
	return false;
}

enum tri regex_match_piece(struct regex *regex, const struct regex_piece *piece)
{
	struct regex_scratch *s = regex->scratch;
	struct span text = piece->text;
	PCRE2_SPTR bytes = (PCRE2_SPTR)(text.ptr ? text.ptr : "");
	uint32_t options = (piece->is_line_begin ? 0 : PCRE2_NOTBOL) | (piece->is_line_end ? 0 : PCRE2_NOTEOL);
	/* Ordinary lines are not worth a look at the clock. */
	bool is_timed = text.len > SHORT_TEXT || regex_has_backref(regex);
	size_t count = text.len > SHORT_TEXT ? STARTS_FIRST : SHORT_TEXT + 1;
	if (!regex->is_jit_tried)
		(void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
	regex->is_jit_tried = true;
	if (is_timed)
		begin_limit(s, regex);
	for (size_t at = piece->from, next; at <= text.len; at = next) {
		next = next_start(regex, text, at, count);
		(void)pcre2_set_offset_limit(s->limits, next - 1);
		int code = pcre2_match(regex->code, bytes, text.len, at, options, s->match, s->limits);
		if (code != PCRE2_ERROR_NOMATCH || next > text.len)
			return result_of(code);
		if (is_over_limit(s, &count))
			return TRI_UNKNOWN;
	}
	return TRI_FALSE;
}

void regex_destroy(struct regex **regex)
{
	struct regex *r = *regex;
	if (!r)
		return;
	if (!r->scratch) {
		pcre2_match_context_free(r->limits);
		pcre2_match_data_free(r->match);
	}
	pcre2_code_free(r->code);
	free(r);
	*regex = NULL;
}
