#include "rules_pattern_file.h"

/* Lines that hold a pattern; the array is made in one piece. */
static uint32_t count_lines(struct span text)
{
	struct span rest = text, line;
	uint32_t count = 0;
	while (span_cut(&rest, '\n', &line)) {
		line = span_trim(line);
		if (line.len && line.ptr[0] != '#')
			count++;
	}
	return count;
}

static int build(struct pattern_builder *b, enum pattern_where where, const struct rules_source_file *file, struct pattern_set *set)
{
	struct span rest = file->text, line;
	struct rules_place place = { file->path, 0, 1 };
	int first_err = 0;
	set->items = arena_alloc(b->arena, count_lines(file->text) * sizeof *set->items);
	if (!set->items)
		return ERR_NOMEM;
	while (span_cut(&rest, '\n', &line)) {
		const char *begin = line.ptr;
		place.line++;
		line = span_trim(line);
		if (line.len == 0 || line.ptr[0] == '#')
			continue;
		place.column = (uint32_t)(line.ptr - begin) + 1;
		int err = pattern_parse(b, where, line, &place, &set->items[set->count]);
		if (err == ERR_NOMEM)
			return err;
		if (err)
			first_err = err;
		else
			set->count++;
	}
	pattern_set_finish(set);
	return first_err;
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
