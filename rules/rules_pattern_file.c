#include "rules_pattern_file.h"

#include <stdio.h>
#include <stdlib.h>

#include "list_index.h"

/* A list while it is read: what has a key goes into the index, the rest is kept as patterns. */
struct list_reader {
	struct pattern_builder *b;
	enum pattern_where where;
	struct list_index_builder index;
	struct pattern *kept;
	uint32_t count;
	size_t room;
	uint32_t facts;
	bool has_name; /* one pattern about the name alone is kept: it stands for the others while the name is not known */
};

static int keep(struct list_reader *r, struct span word, const struct rules_place *place)
{
	struct pattern_builder silent = *r->b;
	silent.diags = NULL; /* whatever is wrong with it was reported already */
	if (r->count == r->room) {
		size_t room = r->room * 2 + 16;
		struct pattern *kept = realloc(r->kept, room * sizeof *kept);
		if (!kept)
			return ERR_NOMEM;
		r->kept = kept;
		r->room = room;
	}
	int err = pattern_parse(&silent, r->where, word, place, &r->kept[r->count]);
	r->count += !err;
	return err;
}

/* 1 to 3 octets ("208.33.75", "10."), as in the LocalIP file of sendmail's rule sets; 0 for anything else. */
static int count_octets(struct span line, struct span *octets_out)
{
	struct span rest = line.len && line.ptr[line.len - 1] == '.' ? span_sub(line, 0, line.len - 1) : line, octet;
	uint64_t value;
	int count = 0;
	*octets_out = rest;
	if (rest.len > 11)
		return 0;
	while (span_cut(&rest, '.', &octet))
		if (++count > 3 || octet.len > 3 || span_to_u64(octet, 255, &value))
			return 0;
	return count;
}

static bool is_bare_v6(struct span line)
{
	for (size_t i = 0; i < line.len; i++)
		if (!line.ptr[i] || !strchr("0123456789abcdefABCDEF:./", line.ptr[i]))
			return false;
	return line.len < 64 && span_find(line, ':', 0) < line.len;
}

/* In a source list octets are a network, and IPv6 needs no brackets, since no colon parts fields here.  Both are written out in the
 * way of the rule file, which always makes a network of them, so nothing keeps the text.  Anything else is the pattern it always is. */
static struct span written_out(const struct list_reader *r, struct span line, char text[96])
{
	struct span octets;
	int count = r->where == WHERE_SOURCE ? count_octets(line, &octets) : 0, len;
	size_t slash = span_rfind(line, '/');
	if (count)
		len = snprintf(text, 96, "%.*s/%d", SPAN_FMT(octets), count * 8);
	else if (r->where == WHERE_SOURCE && is_bare_v6(line))
		len = snprintf(text, 96, "[%.*s]%.*s", SPAN_FMT(span_sub(line, 0, slash)), SPAN_FMT(span_sub(line, slash, line.len)));
	else
		return line;
	return (struct span){ text, (size_t)len };
}

/* Parsed into memory that is given back at once: of most patterns nothing but the key stays. */
static int read_word(struct list_reader *r, struct span line, const struct rules_place *place)
{
	char text[96];
	const struct span word = written_out(r, line, text);
	struct arena arena = { 0 };
	struct pattern_regexes regexes = { 0 };
	struct pattern_builder scratch = *r->b;
	struct pattern pattern;
	struct pattern_key key;
	scratch.arena = &arena;
	scratch.regexes = &regexes;
	int err = pattern_parse(&scratch, r->where, word, place, &pattern);
	if (!err && pattern_key_of(&pattern, &key) && key.says_all && (!key_is_name(key.kind) || r->has_name)) {
		r->facts |= pattern.facts;
		err = list_index_add(&r->index, &key);
	} else if (!err) {
		r->has_name = r->has_name || pattern.facts == 1u << FACT_NAME;
		err = keep(r, word, place);
	}
	pattern_regexes_free(&regexes);
	arena_free(&arena);
	return err;
}

/* A list in UTF-16, say, would load, and match nothing. */
static int check_text(const struct list_reader *r, struct span line, const struct rules_place *place)
{
	if (!memchr(line.ptr, 0, line.len))
		return 0;
	rules_diag_add(r->b->diags, RULES_ERROR, place, "a NUL byte: expected text");
	return ERR_SYNTAX;
}

static int finish_list(struct list_reader *r, struct pattern_set *set)
{
	struct list_index *index = arena_alloc(r->b->arena, sizeof *index);
	set->items = arena_alloc(r->b->arena, r->count * sizeof *set->items);
	if (!index || !set->items)
		return ERR_NOMEM;
	if (r->count)
		memcpy(set->items, r->kept, r->count * sizeof *set->items);
	set->count = r->count;
	pattern_set_finish(set);
	set->facts |= r->facts;
	set->index = index;
	return list_index_finish(&r->index, r->b->arena, index);
}

static int build(struct pattern_builder *b, enum pattern_where where, const struct rules_source_file *file, struct pattern_file *out)
{
	struct span rest = file->text, line;
	struct rules_place place = { file->path, 0, 1 };
	struct list_reader r = { .b = b, .where = where, .index = { .source = file->text } };
	int first_err = 0;
	while (first_err != ERR_NOMEM && span_cut(&rest, '\n', &line)) {
		const char *begin = line.ptr;
		place.line++;
		line = span_trim(line);
		if (line.len == 0 || line.ptr[0] == '#')
			continue;
		place.column = (uint32_t)(line.ptr - begin) + 1;
		int err = check_text(&r, line, &place);
		if (!err)
			err = read_word(&r, line, &place);
		if (err)
			first_err = err;
		else
			out->entries++;
	}
	int err = finish_list(&r, &out->set);
	list_index_abandon(&r.index);
	free(r.kept);
	return err ? err : first_err;
}

int pattern_file_find(struct pattern_builder *b, enum pattern_where where, struct span path, const struct rules_place *place,
		      const struct pattern_set **set_out)
{
	for (const struct pattern_file *known = b->files->first; known; known = known->next)
		if (known->where == where && span_eq(known->path, path)) {
			*set_out = &known->set;
			return 0;
		}
	const struct rules_source_file *source = rules_source_find(b->source, path);
	if (!source || source->failure.len) {
		struct span failure = source ? source->failure : SPAN_LIT("not read");
		rules_diag_add(b->diags, RULES_ERROR, place, "list '%.*s': %.*s", SPAN_FMT(path), SPAN_FMT(failure));
		return ERR_SYNTAX;
	}
	struct pattern_file *file = arena_alloc(b->arena, sizeof *file);
	if (!file)
		return ERR_NOMEM;
	file->path = path;
	file->where = where;
	/* Known from here on, so that a list with errors is reported once, however many rules name it. */
	file->next = b->files->first;
	b->files->first = file;
	b->in_file = true;
	int err = build(b, where, source, file);
	b->in_file = false;
	*set_out = &file->set;
	return err;
}
