#include "filter_file.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const kind_names[FILTER_KINDS] = { [FILTER_LINE] = "line", [FILTER_DECODE] = "decode", [FILTER_ATTACHMENT] = "attachment" };

const char *filter_kind_name(enum filter_kind kind)
{
	return kind_names[kind];
}

struct parser {
	struct span name;
	struct rules_diags *diags;
	struct filter_file *file;
	size_t room;
	uint32_t errors;
	int err; /* ERR_NOMEM */
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

__attribute__((format(printf, 4, 5))) static void complain(struct parser *p, uint32_t line, size_t at, const char *fmt, ...)
{
	const struct rules_place place = { p->name, line, (uint32_t)at + 1 };
	char text[256];
	va_list ap;
	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	rules_diag_add(p->diags, RULES_ERROR, &place, "%s", text);
	p->errors++;
}

static void warn(struct parser *p, uint32_t line, size_t at, const char *text)
{
	const struct rules_place place = { p->name, line, (uint32_t)at + 1 };
	rules_diag_add(p->diags, RULES_WARNING, &place, "%s", text);
}

/* How much of the line belongs to its prefix, and what that means. */
static size_t prefix_of(struct span line, enum filter_kind *kind_out)
{
	*kind_out = FILTER_LINE;
	for (int kind = FILTER_DECODE; kind < FILTER_KINDS; kind++) {
		struct span word = span_of(kind_names[kind]);
		size_t at = word.len + 1;
		if (!span_eq(span_sub(line, 0, word.len), word) || at > line.len || line.ptr[word.len] != ':')
			continue;
		while (at < line.len && is_blank(line.ptr[at]))
			at++;
		*kind_out = (enum filter_kind)kind;
		return at;
	}
	return 0;
}

static bool check(struct parser *p, uint32_t number, struct span pattern, size_t at, enum filter_kind kind)
{
	size_t nul = span_find(pattern, '\0', 0);
	if (pattern.len == 0)
		complain(p, number, at, "expected a pattern behind %s:", filter_kind_name(kind));
	else if (pattern.len > FILTER_PATTERN_MAX)
		complain(p, number, at, "the pattern is too long: at most %u bytes", FILTER_PATTERN_MAX);
	else if (nul < pattern.len)
		complain(p, number, at + nul, "a byte that is 0: is this a text?");
	else if (p->file->count == FILTER_RULES_MAX)
		complain(p, number, at, "too many patterns: at most %u", FILTER_RULES_MAX);
	else
		return true;
	return false;
}

static void warn_about(struct parser *p, uint32_t number, struct span pattern, size_t at)
{
	size_t first = 0;
	while (first < pattern.len && is_blank(pattern.ptr[first]))
		first++;
	if (first > 0 && pattern.ptr[first] == '#')
		warn(p, number, at, "a comment begins with # at the beginning of the line: this is a pattern");
	if (is_blank(pattern.ptr[pattern.len - 1]))
		warn(p, number, at + pattern.len - 1, "the blank at the end belongs to the pattern; [ ] says that it is meant");
}

static void add(struct parser *p, const struct filter_rule *rule)
{
	struct filter_file *file = p->file;
	if (file->count == p->room) {
		size_t room = p->room ? p->room * 2 : 64;
		struct filter_rule *rules = realloc(file->rules, room * sizeof *rules);
		if (!rules) {
			p->err = ERR_NOMEM;
			return;
		}
		file->rules = rules;
		p->room = room;
	}
	file->rules[file->count++] = *rule;
}

static void parse_line(struct parser *p, uint32_t number, struct span line)
{
	enum filter_kind kind;
	if (line.len && line.ptr[line.len - 1] == '\r')
		line.len--;
	if (span_trim(line).len == 0 || line.ptr[0] == '#')
		return;
	size_t at = prefix_of(line, &kind);
	struct span pattern = span_sub(line, at, line.len);
	if (!check(p, number, pattern, at, kind))
		return;
	warn_about(p, number, pattern, at);
	add(p, &(struct filter_rule){ kind, pattern, number, (uint32_t)at + 1 });
}

int filter_file_parse(struct span name, struct span text, struct rules_diags *diags, struct filter_file *out)
{
	struct filter_file file = { NULL, 0 };
	struct parser p = { .name = name, .diags = diags, .file = &file };
	struct span rest = text, line;
	uint32_t number = 0;
	while (!p.err && span_cut(&rest, '\n', &line))
		parse_line(&p, ++number, line);
	if (!p.err && p.errors)
		p.err = ERR_SYNTAX;
	if (p.err == ERR_NOMEM)
		filter_file_free(&file);
	*out = file;
	return p.err;
}

void filter_file_free(struct filter_file *file)
{
	free(file->rules);
	*file = (struct filter_file){ NULL, 0 };
}
