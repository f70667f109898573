#include "milter_headers.h"

#include <stdlib.h>
#include <string.h>

/* ---- reading */

static bool is_name_byte(char c)
{
	return c > ' ' && c < 127 && c != ':';
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* The name of the field that begins here, as it stands; empty: none does. */
static struct span name_of(struct span line)
{
	size_t end = 0, colon;
	while (end < line.len && is_name_byte(line.ptr[end]))
		end++;
	/* RFC 5322 section 4.5 has blanks in front of the colon. */
	for (colon = end; colon < line.len && is_blank(line.ptr[colon]); colon++)
		continue;
	return colon < line.len && line.ptr[colon] == ':' ? span_sub(line, 0, end) : SPAN_NONE;
}

static bool is_mailbox_line(struct span line)
{
	return span_starts_nocase(line, SPAN_LIT("From ")) || span_starts_nocase(line, SPAN_LIT(">From "));
}

/* The line at the start of rest, with its CRLF; false: it has no end. */
static bool next_line(struct span rest, struct span *out)
{
	for (size_t at = span_find(rest, '\n', 0); at < rest.len; at = span_find(rest, '\n', at + 1)) {
		if (at > 0 && rest.ptr[at - 1] == '\r') {
			*out = span_sub(rest, 0, at + 1);
			return true;
		}
	}
	return false;
}

int milter_headers_find_end(struct span wire, size_t *end_out, size_t *body_out)
{
	struct span line;
	for (size_t at = 0; next_line(span_sub(wire, at, wire.len), &line); at += line.len) {
		bool is_empty = line.len == 2;
		bool is_final = span_eq(line, SPAN_LIT(".\r\n"));
		bool is_part = at > 0 ? is_blank(line.ptr[0]) : is_mailbox_line(line);
		if (!is_empty && !is_final && (is_part || name_of(line).len))
			continue;
		*end_out = at;
		*body_out = is_empty ? at + 2 : at;
		return 0;
	}
	return ERR_AGAIN;
}

static int put_field(struct milter_headers *h, size_t at, const struct milter_field *field)
{
	if (h->count == MILTER_FIELDS_CAP)
		return ERR_TOOLONG;
	if (h->count == h->room) {
		size_t room = h->room ? h->room * 2 : 32;
		struct milter_field *grown = realloc(h->fields, room * sizeof *grown);
		if (!grown)
			return ERR_NOMEM;
		h->fields = grown;
		h->room = room;
	}
	memmove(&h->fields[at + 1], &h->fields[at], (h->count - at) * sizeof *h->fields);
	h->fields[at] = *field;
	h->count++;
	return 0;
}

static struct milter_field field_of(struct span raw)
{
	struct span name = name_of(raw);
	struct milter_field field = { .raw = raw };
	if (!name.len)
		return field;
	field.value = span_sub(raw, span_find(raw, ':', name.len) + 1, raw.len - 2);
	/* In wire form a name that begins with a dot has another one in front. */
	field.name = name.ptr[0] == '.' ? span_sub(name, 1, name.len) : name;
	return field;
}

int milter_headers_read(struct milter_headers *h, struct span wire, bool has_separator)
{
	struct span line;
	if (wire.len > MILTER_HEADERS_CAP)
		return ERR_TOOLONG;
	struct span copy = arena_copy(&h->arena, wire);
	if (!copy.ptr)
		return ERR_NOMEM;
	h->has_separator = has_separator;
	int err = 0;
	for (size_t at = 0; !err && next_line(span_sub(copy, at, copy.len), &line);) {
		size_t end = at + line.len;
		while (next_line(span_sub(copy, end, copy.len), &line) && is_blank(line.ptr[0]))
			end += line.len;
		const struct milter_field field = field_of(span_sub(copy, at, end));
		err = put_field(h, h->count, &field);
		at = end;
	}
	return err;
}

const struct milter_field *milter_headers_next(const struct milter_headers *h, size_t *at)
{
	while (*at < h->count) {
		const struct milter_field *field = &h->fields[(*at)++];
		if (field->name.len && !field->is_gone)
			return field;
	}
	return NULL;
}

int milter_field_show(const struct milter_field *field, bool has_space, size_t cap, struct buf *out)
{
	struct span value = field->value;
	size_t start = out->len;
	if (!has_space && value.len && value.ptr[0] == ' ')
		value = span_sub(value, 1, value.len);
	value = span_sub(value, 0, cap);
	int err = 0;
	for (size_t at = 0; !err && at < value.len;) {
		size_t cr = span_find(value, '\r', at);
		bool is_end = cr + 1 < value.len && value.ptr[cr + 1] == '\n';
		size_t to = is_end || cr == value.len ? cr : cr + 1;
		err = buf_append_span(out, span_sub(value, at, to));
		at = is_end ? cr + 1 : to;
	}
	if (err)
		out->len = start;
	return err;
}

/* ---- changing */

bool milter_field_is_name(struct span name)
{
	for (size_t i = 0; i < name.len; i++)
		if (!is_name_byte(name.ptr[i]))
			return false;
	return name.len > 0 && name.len <= MILTER_FIELD_NAME_CAP;
}

static bool is_line_end(char c)
{
	return c == '\r' || c == '\n';
}

/* The lines of a value in wire form: each but the first begins with a blank, and none is empty. */
static int append_value(struct buf *raw, struct span value)
{
	int err = 0;
	bool is_first = true;
	for (size_t at = 0; !err && at < value.len;) {
		size_t end = at;
		while (end < value.len && !is_line_end(value.ptr[end]))
			end++;
		struct span line = span_sub(value, at, end);
		if (!is_first && span_trim(line).len)
			err = buf_append(raw, "\r\n\t", is_blank(line.ptr[0]) ? 2 : 3);
		if (!err && (is_first || span_trim(line).len))
			err = buf_append_span(raw, line);
		is_first = false;
		for (at = end; at < value.len && is_line_end(value.ptr[at]); at++)
			continue;
	}
	return err ? err : buf_append(raw, "\r\n", 2);
}

static int compose(struct milter_headers *h, struct span name, struct span value, bool has_space, struct milter_field *out)
{
	struct buf raw = { .cap = MILTER_HEADERS_CAP };
	if (!milter_field_is_name(name))
		return ERR_INVAL;
	if (++h->changes > MILTER_CHANGES_CAP)
		return ERR_TOOLONG;
	int err = name.ptr[0] == '.' ? buf_append(&raw, ".", 1) : 0;
	if (!err)
		err = buf_append_span(&raw, name);
	if (!err)
		err = buf_append(&raw, ": ", has_space ? 1 : 2);
	if (!err)
		err = append_value(&raw, value);
	if (!err && (h->written_bytes += raw.len) > MILTER_HEADERS_CAP)
		err = ERR_TOOLONG;
	if (!err) {
		struct span copy = arena_copy(&h->arena, buf_span(&raw));
		*out = field_of(copy);
		err = copy.ptr ? 0 : ERR_NOMEM;
	}
	buf_free(&raw);
	return err;
}

static int put(struct milter_headers *h, size_t at, struct span name, struct span value, bool has_space)
{
	struct milter_field field;
	int err = compose(h, name, value, has_space, &field);
	return err ? err : put_field(h, at, &field);
}

int milter_headers_add(struct milter_headers *h, struct span name, struct span value, bool has_space)
{
	return put(h, h->count, name, value, has_space);
}

int milter_headers_insert(struct milter_headers *h, uint32_t index, struct span name, struct span value, bool has_space)
{
	size_t at = 0;
	while (at < h->count && (!h->fields[at].name.len || index > 0)) {
		index -= h->fields[at].name.len > 0;
		at++;
	}
	return put(h, at, name, value, has_space);
}

static struct milter_field *find(struct milter_headers *h, uint32_t index, struct span name)
{
	for (size_t i = 0; i < h->count; i++)
		if (span_eq_nocase(h->fields[i].name, name) && (index == 0 || --index == 0))
			return &h->fields[i];
	return NULL;
}

int milter_headers_change(struct milter_headers *h, uint32_t index, struct span name, struct span value, bool has_space)
{
	struct milter_field changed, *field = milter_field_is_name(name) ? find(h, index, name) : NULL;
	if (!field && value.len)
		return milter_headers_add(h, name, value, has_space);
	if (!field)
		return milter_field_is_name(name) ? 0 : ERR_INVAL;
	if (!value.len) {
		field->is_gone = true;
		return ++h->changes > MILTER_CHANGES_CAP ? ERR_TOOLONG : 0;
	}
	/* The name stays as the client wrote it. */
	int err = compose(h, field->name, value, has_space, &changed);
	if (!err)
		*field = changed;
	return err;
}

void milter_headers_forget_deleted(struct milter_headers *h)
{
	size_t kept = 0;
	for (size_t i = 0; i < h->count; i++)
		if (!h->fields[i].is_gone)
			h->fields[kept++] = h->fields[i];
	h->count = kept;
}

int milter_headers_write(const struct milter_headers *h, struct buf *out)
{
	int err = 0;
	for (size_t i = 0; !err && i < h->count; i++)
		err = h->fields[i].is_gone ? 0 : buf_append_span(out, h->fields[i].raw);
	return err ? err : buf_append(out, "\r\n", 2);
}

void milter_headers_free(struct milter_headers *h)
{
	arena_free(&h->arena);
	free(h->fields);
	*h = (struct milter_headers){ .fields = NULL };
}
