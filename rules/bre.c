#include "bre.h"

#include <ctype.h>

void bre_init(struct bre *bre, struct span text)
{
	*bre = (struct bre){ .text = text, .is_at_begin = true, .is_at_start = true };
}

static bool has(const struct bre *bre, size_t at, char c)
{
	return at < bre->text.len && bre->text.ptr[at] == c;
}

static bool has_escape(const struct bre *bre, size_t at, char c)
{
	return has(bre, at, '\\') && has(bre, at + 1, c);
}

/* ---- brackets */

/* [:alpha:] and the like: from the inner bracket to behind the closing one. */
static int skip_class(struct bre *bre, size_t *at, struct reason *why)
{
	char mark = bre->text.ptr[*at + 1];
	size_t end = *at + 2;
	while (end < bre->text.len && !(has(bre, end, mark) && has(bre, end + 1, ']')))
		end++;
	if (end >= bre->text.len)
		return reason_set(why, ERR_SYNTAX, "[%c is not closed by %c]", mark, mark);
	if (mark != ':') {
		bre->at = *at;
		return reason_set(why, ERR_SYNTAX, "[%c %c] is not supported: name the characters", mark, mark);
	}
	*at = end + 2;
	return 0;
}

static int next_set(struct bre *bre, struct bre_token *out, struct reason *why)
{
	size_t at = bre->at + 1;
	at += has(bre, at, '^');
	/* A bracket that comes first is a member. */
	at += has(bre, at, ']');
	while (at < bre->text.len && !has(bre, at, ']')) {
		bool is_class = has(bre, at, '[') && (has(bre, at + 1, ':') || has(bre, at + 1, '.') || has(bre, at + 1, '='));
		int err = is_class ? skip_class(bre, &at, why) : 0;
		if (err)
			return err;
		at += !is_class;
	}
	if (at >= bre->text.len)
		return reason_set(why, ERR_SYNTAX, "[ is not closed by ]");
	out->kind = BRE_SET;
	out->text = span_sub(bre->text, bre->at, at + 1);
	return 0;
}

/* ---- repetitions */

static bool take_number(const struct bre *bre, size_t *at, uint32_t *out)
{
	uint32_t value = 0;
	size_t begin = *at;
	while (*at < bre->text.len && isdigit((unsigned char)bre->text.ptr[*at]) && value <= BRE_REPEAT_MAX)
		value = value * 10 + (uint32_t)(bre->text.ptr[(*at)++] - '0');
	*out = value;
	return *at > begin;
}

static int next_bound(struct bre *bre, struct bre_token *out, struct reason *why)
{
	size_t at = bre->at + 2;
	bool has_min = take_number(bre, &at, &out->min);
	out->max = out->min;
	if (has(bre, at, ',')) {
		at++;
		if (!take_number(bre, &at, &out->max))
			out->max = BRE_NO_MAX;
		has_min = true;
	}
	if (!has_min || !has_escape(bre, at, '}') || out->min > out->max)
		return reason_set(why, ERR_SYNTAX, "expected \\{n\\}, \\{n,\\}, \\{,m\\} or \\{n,m\\}");
	if (out->min > BRE_REPEAT_MAX || (out->max > BRE_REPEAT_MAX && out->max != BRE_NO_MAX))
		return reason_set(why, ERR_SYNTAX, "at most %u repetitions", BRE_REPEAT_MAX);
	if (bre->is_at_begin)
		return reason_set(why, ERR_SYNTAX, "there is nothing to repeat");
	out->kind = BRE_REPEAT;
	out->text = span_sub(bre->text, bre->at, at + 2);
	return 0;
}

static void repeat(struct bre_token *out, uint32_t min, uint32_t max)
{
	out->kind = BRE_REPEAT;
	out->min = min;
	out->max = max;
}

/* ---- tokens */

static int next_escaped(struct bre *bre, struct bre_token *out, struct reason *why)
{
	if (bre->at + 1 >= bre->text.len)
		return reason_set(why, ERR_SYNTAX, "\\ at the end");
	out->c = bre->text.ptr[bre->at + 1];
	out->text = span_sub(bre->text, bre->at, bre->at + 2);
	switch (out->c) {
	case '(':
		if (bre->depth == BRE_DEPTH_MAX)
			return reason_set(why, ERR_SYNTAX, "groups are more than %u deep", BRE_DEPTH_MAX);
		out->kind = BRE_OPEN;
		break;
	case ')':
		if (bre->depth == 0)
			return reason_set(why, ERR_SYNTAX, "\\) without \\(");
		out->kind = BRE_CLOSE;
		break;
	case '{': return next_bound(bre, out, why);
	case '}': return reason_set(why, ERR_SYNTAX, "\\} without \\{");
	case '|': out->kind = BRE_OR; break;
	case '+':
	case '?':
		if (!bre->is_at_begin)
			repeat(out, out->c == '+', out->c == '+' ? BRE_NO_MAX : 1);
		break;
	case '<': case '>': case 'b': case 'B': case 'w': case 'W': case 's': case 'S': out->kind = BRE_GNU; break;
	default:
		if (!isdigit((unsigned char)out->c) || out->c == '0')
			break;
		if ((unsigned)(out->c - '0') > bre->groups)
			return reason_set(why, ERR_SYNTAX, "\\%c without a group of that number", out->c);
		out->kind = BRE_BACKREF;
	}
	return 0;
}

static int next_plain(struct bre *bre, struct bre_token *out, struct reason *why)
{
	size_t behind = bre->at + 1;
	switch (out->c) {
	case '[': return next_set(bre, out, why);
	case '.': out->kind = BRE_ANY; break;
	case '*':
		if (!bre->is_at_begin)
			repeat(out, 0, BRE_NO_MAX);
		break;
	case '^':
		if (bre->is_at_start)
			out->kind = BRE_BEGIN;
		break;
	case '$':
		if (behind == bre->text.len || has_escape(bre, behind, '|') || (bre->depth && has_escape(bre, behind, ')')))
			out->kind = BRE_END;
		break;
	default: break;
	}
	return 0;
}

static void step(struct bre *bre, const struct bre_token *token)
{
	bool is_branch = token->kind == BRE_OPEN || token->kind == BRE_OR;
	bool is_edge = token->kind == BRE_GNU && strchr("<>bB", token->c);
	bre->at += token->text.len;
	bre->depth += token->kind == BRE_OPEN;
	bre->depth -= token->kind == BRE_CLOSE;
	bre->groups += token->kind == BRE_CLOSE;
	bre->is_at_start = is_branch;
	bre->is_at_begin = is_branch || is_edge || token->kind == BRE_BEGIN;
}

int bre_next(struct bre *bre, struct bre_token *out, struct reason *why)
{
	struct bre_token token = { .kind = BRE_CHAR };
	if (bre->at >= bre->text.len)
		return bre->depth ? reason_set(why, ERR_SYNTAX, "\\( is not closed by \\)") : ERR_EOF;
	token.c = bre->text.ptr[bre->at];
	token.text = span_sub(bre->text, bre->at, bre->at + 1);
	int err = token.c == '\\' ? next_escaped(bre, &token, why) : next_plain(bre, &token, why);
	if (err)
		return err;
	step(bre, &token);
	*out = token;
	return 0;
}

/* ---- into PCRE2's syntax */

struct writer {
	struct buf *out;
	size_t open[BRE_DEPTH_MAX]; /* where each open group begins */
	unsigned depth;
	size_t atom;                /* where what can be repeated begins */
	bool is_repeated;           /* it has been once: */
	size_t repeat_at;           /*   where that stands, and how often */
	uint32_t min, max;
};

/* Everything that PCRE2 could take for more than a character is escaped; a letter must not be. */
static int put_char(struct buf *out, char c)
{
	bool is_sign = (unsigned char)c < 0x80 && !isalnum((unsigned char)c);
	return buf_printf(out, "%s%c", is_sign ? "\\" : "", c);
}

static int put_set(struct buf *out, struct span set)
{
	size_t at = 1;
	int err = buf_append(out, "[", 1);
	if (!err && set.ptr[at] == '^')
		err = buf_append(out, &set.ptr[at++], 1);
	for (size_t first = at; !err && at + 1 < set.len; at++) {
		char c = set.ptr[at];
		size_t end = at;
		if (c == '[' && set.ptr[at + 1] == ':') {
			while (!(set.ptr[end] == ':' && set.ptr[end + 1] == ']' && end > at + 1))
				end++;
			err = buf_append(out, set.ptr + at, end + 2 - at);
			at = end + 1;
		} else if (c == '\\' || c == '[' || c == '^' || (c == ']' && at == first)) {
			err = buf_printf(out, "\\%c", c);
		} else {
			err = buf_append(out, &c, 1);
		}
	}
	return err ? err : buf_append(out, "]", 1);
}

static int put_times(struct buf *out, uint32_t min, uint32_t max)
{
	if (max == BRE_NO_MAX)
		return min > 1 ? buf_printf(out, "{%u,}", min) : buf_append(out, min ? "+" : "*", 1);
	return buf_printf(out, "{%u,%u}", min, max);
}

static bool is_simple(uint32_t min, uint32_t max)
{
	return min <= 1 && (max == 1 || max == BRE_NO_MAX);
}

static int put_into_group(struct writer *w)
{
	static const char begin[] = { '(', '?', ':' };
	int err = buf_reserve(w->out, sizeof begin);
	if (err)
		return err;
	memmove(w->out->data + w->atom + sizeof begin, w->out->data + w->atom, w->out->len - w->atom);
	memcpy(w->out->data + w->atom, begin, sizeof begin);
	w->out->len += sizeof begin;
	return buf_append(w->out, ")", 1);
}

/* PCRE2 would read a*+ and a*? as something else.  What was repeated already becomes one repetition where that means the same, because a
 * repetition of a repetition takes exponential time; else it is put into a group. */
static int put_repeat(struct writer *w, const struct bre_token *token)
{
	uint32_t min = token->min, max = token->max;
	int err = 0;
	if (w->is_repeated && is_simple(w->min, w->max) && is_simple(min, max)) {
		min *= w->min;
		max = max == 1 ? w->max : max;
		w->out->len = w->repeat_at;
	} else if (w->is_repeated) {
		err = put_into_group(w);
	}
	w->is_repeated = true;
	w->repeat_at = w->out->len;
	w->min = min;
	w->max = max;
	return err ? err : put_times(w->out, min, max);
}

static int put_gnu(struct buf *out, char c)
{
	switch (c) {
	case '<': return buf_printf(out, "\\b(?=\\w)");
	case '>': return buf_printf(out, "\\b(?<=\\w)");
	default: return buf_printf(out, "\\%c", c);
	}
}

static int put(struct writer *w, const struct bre_token *token)
{
	size_t here = w->out->len;
	if (token->kind == BRE_REPEAT)
		return put_repeat(w, token);
	w->is_repeated = false;
	/* The bytes of one character of UTF-8 stay together. */
	if (token->kind != BRE_CHAR || ((unsigned char)token->c & 0xc0) != 0x80)
		w->atom = here;
	switch (token->kind) {
	case BRE_CHAR: return put_char(w->out, token->c);
	case BRE_ANY: return buf_append(w->out, ".", 1);
	case BRE_SET: return put_set(w->out, token->text);
	case BRE_OPEN: w->open[w->depth++] = here; return buf_append(w->out, "(", 1);
	case BRE_CLOSE: w->atom = w->open[--w->depth]; return buf_append(w->out, ")", 1);
	case BRE_OR: return buf_append(w->out, "|", 1);
	case BRE_BACKREF: return buf_printf(w->out, "\\g{%c}", token->c);
	case BRE_BEGIN: return buf_append(w->out, "^", 1);
	case BRE_END: return buf_append(w->out, "$", 1);
	case BRE_GNU: return put_gnu(w->out, token->c);
	case BRE_REPEAT: break;
	}
	return 0;
}

int bre_to_pcre(struct span text, struct buf *out, size_t *at_out, struct reason *why)
{
	struct writer w = { .out = out };
	struct bre_token token;
	struct bre bre;
	int err;
	bre_init(&bre, text);
	while ((err = bre_next(&bre, &token, why)) == 0)
		if ((err = put(&w, &token)) != 0)
			return reason_set(why, err, err == ERR_NOMEM ? "no memory" : "the expression is too long");
	*at_out = bre.at;
	return err == ERR_EOF ? 0 : err;
}
