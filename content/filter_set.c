#include "filter_set.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "filter_file.h"

struct filter_set {
	atomic_uint holders;
	struct filter_matcher *matchers[FILTER_KINDS];
};

/* All kinds, also behind an error: each has its own to tell. */
static int compile(struct filter_set *set, struct span name, const struct filter_file *file, struct rules_diags *diags)
{
	int err = 0;
	for (int kind = 0; kind < FILTER_KINDS && err != ERR_NOMEM; kind++) {
		int failed = filter_matcher_create(name, file->rules, file->count, (enum filter_kind)kind, diags, &set->matchers[kind]);
		if (failed)
			err = failed;
	}
	return err;
}

int filter_set_compile(struct span name, struct span text, struct rules_diags *diags, struct filter_set **out)
{
	struct filter_file file = { NULL, 0 };
	struct filter_set *set = calloc(1, sizeof *set);
	if (!set)
		return ERR_NOMEM;
	atomic_init(&set->holders, 1);
	int err = filter_file_parse(name, text, diags, &file);
	int failed = err == ERR_NOMEM ? 0 : compile(set, name, &file, diags);
	if (failed)
		err = failed;
	filter_file_free(&file);
	if (err)
		filter_set_release(&set);
	else
		*out = set;
	return err;
}

struct filter_set *filter_set_hold(struct filter_set *set)
{
	atomic_fetch_add(&set->holders, 1);
	return set;
}

void filter_set_release(struct filter_set **set)
{
	struct filter_set *s = *set;
	*set = NULL;
	if (!s || atomic_fetch_sub(&s->holders, 1) != 1)
		return;
	for (int kind = 0; kind < FILTER_KINDS; kind++)
		filter_matcher_destroy(&s->matchers[kind]);
	free(s);
}

bool filter_set_is_shared(const struct filter_set *set)
{
	return atomic_load(&set->holders) > 1;
}

struct filter_matcher *filter_set_matcher(struct filter_set *set, enum filter_kind kind)
{
	return set->matchers[kind];
}

struct filter_matcher_size filter_set_measure(const struct filter_set *set, enum filter_kind kind)
{
	return filter_matcher_measure(set->matchers[kind]);
}

size_t filter_set_count(const struct filter_set *set)
{
	size_t count = 0;
	for (int kind = 0; kind < FILTER_KINDS; kind++)
		count += filter_set_measure(set, (enum filter_kind)kind).patterns;
	return count;
}
