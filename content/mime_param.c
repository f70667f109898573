#include "mime_param.h"

#include "err.h"
#include "mime_decode.h"

#define SECTION_MAX 9999

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Behind the comment that begins at i, or i when it does not end: then it is not one, for it would hide all that follows.  Comments nest. */
static size_t skip_comment(struct span s, size_t i)
{
	size_t depth = 0;
	for (size_t at = i; at < s.len; at++) {
		if (s.ptr[at] == '\\')
			at++;
		else if (s.ptr[at] == '(')
			depth++;
		else if (s.ptr[at] == ')' && --depth == 0)
			return at + 1;
	}
	return i;
}

struct reader {
	struct span in;
	size_t at;
	bool has_open_comment;
	struct mime_params *params;
};

static void keep(struct mime_params *params, char c)
{
	params->text.data[params->text.len++] = c; /* the cleaned text is no longer than the field: reserved at once */
}

static struct span kept(const struct mime_params *params, size_t from)
{
	return (struct span){ params->text.data + from, params->text.len - from };
}

/* Steps over a comment at the place we are at. */
static bool skips_comment(struct reader *r)
{
	if (r->in.ptr[r->at] != '(' || r->has_open_comment)
		return false;
	size_t end = skip_comment(r->in, r->at);
	r->has_open_comment = end == r->at; /* looked for once: none of those behind it ends either, or it is as good as one */
	r->at = end;
	return !r->has_open_comment;
}

/* The main value ends at ";", or where a word turns out to be a parameter. */
static void read_main(struct reader *r)
{
	size_t from = r->params->text.len, word = from, word_at = 0;
	while (r->at < r->in.len && r->in.ptr[r->at] != ';') {
		char c = r->in.ptr[r->at];
		if (c == '=') {
			r->params->text.len = word;
			r->at = word_at;
			break;
		}
		if (skips_comment(r))
			continue;
		r->at++;
		if (is_space(c)) {
			word = r->params->text.len;
			word_at = r->at;
		} else if (c != '"' && c != '\0') {
			keep(r->params, c);
		}
	}
	r->params->main = kept(r->params, from);
}

static struct span read_name(struct reader *r)
{
	size_t from = r->params->text.len;
	while (r->at < r->in.len && r->in.ptr[r->at] != ';' && r->in.ptr[r->at] != '=') {
		if (skips_comment(r))
			continue;
		char c = r->in.ptr[r->at++];
		if ((unsigned char)c > ' ' && c != '"' && c != 0x7f)
			keep(r->params, c);
	}
	return kept(r->params, from);
}

static void read_value(struct reader *r, struct mime_param *param)
{
	struct mime_params *params = r->params;
	size_t from = params->text.len, first_end = SIZE_MAX;
	bool is_quoted = false, was_quoted = false;
	while (r->at < r->in.len && is_space(r->in.ptr[r->at]))
		r->at++;
	while (r->at < r->in.len && (is_quoted || r->in.ptr[r->at] != ';')) {
		char c = r->in.ptr[r->at];
		if (!is_quoted && skips_comment(r))
			continue;
		r->at++;
		if (c == '"') {
			is_quoted = !is_quoted;
			if (!is_quoted && first_end == SIZE_MAX)
				first_end = params->text.len;
			was_quoted = true;
			continue;
		}
		if (is_quoted && c == '\\' && r->at < r->in.len)
			c = r->in.ptr[r->at++];
		else if (!is_quoted && is_space(c) && !was_quoted && first_end == SIZE_MAX && params->text.len > from)
			first_end = params->text.len;
		keep(params, c);
	}
	while (!was_quoted && params->text.len > from && is_space(params->text.data[params->text.len - 1]))
		params->text.len--;
	param->value = kept(params, from);
	param->first = first_end == SIZE_MAX ? param->value : span_sub(param->value, 0, first_end - from);
}

/* "filename*1*": section 1 of filename, extended (RFC 2231 section 4.1). */
static void split_name(struct mime_param *param)
{
	struct span name = param->name;
	size_t star = span_find(name, '*', 0);
	uint64_t section;
	param->section = -1;
	if (star == name.len)
		return;
	struct span rest = span_sub(name, star + 1, name.len);
	param->name = span_sub(name, 0, star);
	if (rest.len == 0 || rest.ptr[rest.len - 1] == '*') {
		param->is_extended = true;
		rest = span_sub(rest, 0, rest.len ? rest.len - 1 : 0);
	}
	if (rest.len > 0 && span_to_u64(rest, SECTION_MAX, &section) == 0)
		param->section = (int32_t)section;
}

/* Others are not asked for, and must not take the room. */
static bool is_wanted(struct span name)
{
	static const struct span wanted[] = { SPAN_LIT("filename"), SPAN_LIT("name"), SPAN_LIT("boundary"), SPAN_LIT("charset") };
	for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++)
		if (span_eq_nocase(name, wanted[i]))
			return true;
	return false;
}

int mime_params_parse(struct span field, struct mime_params *out)
{
	struct reader r = { .in = field, .params = out };
	out->main = SPAN_NONE;
	out->count = 0;
	out->is_cut = false;
	out->text = (struct buf){ .cap = 0 };
	int err = buf_reserve(&out->text, field.len + 1);
	if (err)
		return err;
	read_main(&r);
	while (r.at < field.len) {
		char c = field.ptr[r.at];
		if (c == ';' || is_space(c)) {
			r.at++;
			continue;
		}
		struct mime_param param = { .name = read_name(&r) };
		if (r.at == field.len || field.ptr[r.at] != '=')
			continue;
		r.at++;
		read_value(&r, &param);
		split_name(&param);
		if (!is_wanted(param.name))
			continue;
		out->is_cut = out->count == MIME_PARAMS_MAX;
		if (out->is_cut)
			break;
		out->param[out->count++] = param;
	}
	return 0;
}

void mime_params_free(struct mime_params *params)
{
	buf_free(&params->text);
	params->count = 0;
}

/* "name*=" beside "name*0=" is a value of its own. */
static bool is_part_of(const struct mime_param *p, const struct mime_param *of)
{
	return (p->section >= 0 || p->is_extended) && (p->section < 0) == (of->section < 0) && span_eq_nocase(p->name, of->name);
}

/* The section that comes after the number given; of several with the same number the first or the last. */
static struct mime_param *next_section(struct mime_params *params, const struct mime_param *of, int32_t after, bool takes_last)
{
	struct mime_param *best = NULL;
	for (size_t i = 0; i < params->count; i++) {
		struct mime_param *p = &params->param[i];
		if (is_part_of(p, of) && p->section > after && (!best || p->section < best->section || (takes_last && p->section == best->section)))
			best = p;
	}
	return best;
}

/* From a place in the value to its end: a run of sections, for a byte may be cut in two between them. */
static void decode_percent(struct buf *value, size_t from)
{
	struct span s = span_sub(buf_span(value), from, value->len);
	size_t len = from;
	for (size_t i = 0; i < s.len; i++) {
		char c = s.ptr[i];
		if (c == '%' && i + 2 < s.len && mime_hex(s.ptr[i + 1]) >= 0 && mime_hex(s.ptr[i + 2]) >= 0) {
			c = (char)(mime_hex(s.ptr[i + 1]) << 4 | mime_hex(s.ptr[i + 2]));
			i += 2;
		}
		value->data[len++] = c;
	}
	value->len = len;
}

/* "charset'language'": cut off the first section; a value without both quotes has none. */
static struct span cut_charset(struct span *value)
{
	size_t first = span_find(*value, '\'', 0), second = first < value->len ? span_find(*value, '\'', first + 1) : value->len;
	if (second == value->len)
		return SPAN_NONE;
	struct span charset = span_sub(*value, 0, first);
	*value = span_sub(*value, second + 1, value->len);
	return charset;
}

int mime_params_join(struct mime_params *params, size_t *from, bool takes_last, struct span *name_out, struct span *charset_out, struct buf *value_out)
{
	while (*from < params->count && (!is_part_of(&params->param[*from], &params->param[*from]) || params->param[*from].is_joined == !takes_last))
		(*from)++;
	if (*from == params->count)
		return ERR_NOTFOUND;
	const struct mime_param *of = &params->param[*from];
	*name_out = of->name;
	*charset_out = SPAN_NONE;
	buf_clear(value_out);
	for (size_t i = *from; i < params->count; i++)
		if (is_part_of(&params->param[i], of))
			params->param[i].is_joined = !takes_last;
	bool is_begin = true;
	int32_t section = -2;
	size_t encoded = 0; /* where a run of percent-encoded sections begins */
	for (struct mime_param *p; (p = next_section(params, of, section, takes_last)) != NULL; section = p->section) {
		struct span value = p->value;
		if (is_begin && p->is_extended)
			*charset_out = cut_charset(&value);
		is_begin = false;
		if (!p->is_extended)
			decode_percent(value_out, encoded);
		int err = buf_append_span(value_out, value);
		if (err)
			return err;
		if (!p->is_extended)
			encoded = value_out->len;
	}
	decode_percent(value_out, encoded);
	return 0;
}

bool mime_params_has_duplicates(const struct mime_params *params)
{
	for (size_t i = 0; i < params->count; i++)
		for (size_t k = i + 1; k < params->count; k++)
			if (is_part_of(&params->param[i], &params->param[k]) && params->param[i].section == params->param[k].section)
				return true;
	return false;
}
