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
	bool has_name; /* one pattern about the name is kept: it stands for the others while the name is not known */
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

/* Parsed into memory that is given back at once: of most patterns nothing but the key stays. */
static int read_word(struct list_reader *r, struct span word, const struct rules_place *place)
{
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
		r->has_name = r->has_name || pattern.kind == PATTERN_HOST_GLOB;
		err = keep(r, word, place);
	}
	pattern_regexes_free(&regexes);
	arena_free(&arena);
	return err;
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

/* In a source list a line of 1 to 3 octets ("208.33.75", "10.") is a network, as in the LocalIP file of sendmail's rule sets: rewritten
 * into octets and bits.  Anything else is the pattern it always is. */
static struct span read_octets(struct pattern_builder *b, enum pattern_where where, struct span line)
{
	char text[24];
	struct span rest = line.len && line.ptr[line.len - 1] == '.' ? span_sub(line, 0, line.len - 1) : line, octet;
	struct span octets = rest;
	uint64_t value;
	int count = 0;
	if (where != WHERE_SOURCE || octets.len > 11)
		return line;
	while (span_cut(&rest, '.', &octet))
		if (++count > 3 || span_to_u64(octet, 255, &value))
			return line;
	int len = snprintf(text, sizeof text, "%.*s/%d", SPAN_FMT(octets), count * 8);
	return arena_copy(b->arena, (struct span){ text, (size_t)len });
}

static int build(struct pattern_builder *b, enum pattern_where where, const struct rules_source_file *file, struct pattern_set *set)
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
		struct span word = read_octets(b, where, line);
		int err = word.ptr ? read_word(&r, word, &place) : ERR_NOMEM;
		if (err)
			first_err = err;
	}
	int err = finish_list(&r, set);
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
	int err = build(b, where, source, &file->set);
	b->in_file = false;
	*set_out = &file->set;
	return err;
}
