#include "filter_matcher.h"

#include <stdlib.h>

#include "buf.h"
#include "filter_fold.h"
#include "filter_index.h"

/* How many of the patterns that demand nothing are compared with a line at a time: a larger one gets slower than two. */
#define GROUP_MAX 32u

struct pattern {
	struct regex *regex;
	uint32_t line; /* of the rule */
	bool is_loose;
};

struct group {
	struct regex *regex;     /* any of them */
	const uint32_t *members; /* numbers of patterns, ascending */
	uint32_t count;          /* 1: no regex of its own */
};

struct filter_matcher {
	struct regex_scratch *scratch;
	struct pattern *patterns; /* in the order of the file */
	size_t count;
	struct filter_index *index;
	uint32_t *loose;
	size_t loose_count;
	struct group *groups;
	size_t group_count;

	bool is_utf;
	/* of one run */
	struct buf folded; /* what the texts are looked for in, if it is not the block itself */
	uint32_t *found; /* patterns whose text is on the line */
	size_t found_count;
	uint32_t *seen;  /* for each pattern: the number of the line on which it was found last */
	uint32_t line_number;
};

/* ---- compiling */

struct texts {
	struct filter_index_text *items;
	size_t count, room;
};

static int add_texts(struct texts *texts, const struct filter_literals *found, uint32_t id)
{
	if (texts->count + found->count > texts->room) {
		size_t room = texts->room * 2 + FILTER_LITERALS_MAX;
		struct filter_index_text *items = realloc(texts->items, room * sizeof *items);
		if (!items)
			return ERR_NOMEM;
		texts->items = items;
		texts->room = room;
	}
	for (unsigned i = 0; i < found->count; i++)
		texts->items[texts->count++] = (struct filter_index_text){ found->items[i], id };
	return 0;
}

/* What is hardly meant. */
static void warn(struct span file, const struct filter_rule *rule, enum filter_kind kind, struct regex *regex, struct rules_diags *diags)
{
	static const struct regex_piece nothing = { .text = { "", 0 }, .is_line_begin = true, .is_line_end = true };
	const struct rules_place place = { file, rule->line, rule->column };
	if (regex_match_piece(regex, &nothing) != TRI_TRUE)
		return;
	if (kind == FILTER_ATTACHMENT)
		rules_diag_add(diags, RULES_WARNING, &place, "the pattern matches every name");
	else
		rules_diag_add(diags, RULES_WARNING, &place, "the pattern matches an empty line, which is in every message");
}

static int compile_one(struct filter_matcher *m, struct span file, const struct filter_rule *rule, enum filter_kind kind, struct texts *texts,
		       struct rules_diags *diags)
{
	unsigned flags = m->is_utf ? REGEX_UTF : 0;
	struct pattern *p = &m->patterns[m->count];
	struct filter_literals demanded;
	struct reason why = { "" };
	size_t at = 0;
	*p = (struct pattern){ .line = rule->line };
	int err = regex_compile_basic(m->scratch, &rule->pattern, 1, flags, &p->regex, &at, &why);
	if (err == ERR_SYNTAX || err == ERR_TOOLONG) {
		const struct rules_place place = { file, rule->line, rule->column + (uint32_t)at };
		rules_diag_add(diags, RULES_ERROR, &place, "%s", why.text);
		return 0;
	}
	if (err)
		return err;
	warn(file, rule, kind, p->regex, diags);
	if (filter_literals_find(rule->pattern, m->is_utf, &demanded))
		err = add_texts(texts, &demanded, (uint32_t)m->count);
	else
		p->is_loose = true;
	m->count++;
	return err;
}

/* Which of the rules it is: those that did not compile are none. */
static struct span pattern_text(const struct filter_matcher *m, const struct filter_rule *rules, uint32_t number)
{
	while (rules->line != m->patterns[number].line)
		rules++;
	return rules->pattern;
}

static int make_group(struct filter_matcher *m, const struct filter_rule *rules, unsigned flags, struct group *g, uint32_t count)
{
	struct span texts[GROUP_MAX];
	size_t at;
	*g = (struct group){ .members = g->members, .count = count };
	if (count == 1)
		return 0;
	for (uint32_t i = 0; i < count; i++) {
		/* Numbers of back-references would change. */
		if (regex_has_backref(m->patterns[g->members[i]].regex))
			return ERR_UNSUPPORTED;
		texts[i] = pattern_text(m, rules, g->members[i]);
	}
	return regex_compile_basic(m->scratch, texts, count, flags, &g->regex, &at, NULL);
}

/* Groups of GROUP_MAX; where that is not possible (too big, back-references), each pattern is one of its own. */
static int make_groups(struct filter_matcher *m, const struct filter_rule *rules)
{
	unsigned flags = m->is_utf ? REGEX_UTF : 0;
	for (uint32_t i = 0; i < m->count; i++)
		if (m->patterns[i].is_loose)
			m->loose[m->loose_count++] = i;
	m->groups = calloc(m->loose_count + 1, sizeof *m->groups);
	if (!m->groups)
		return ERR_NOMEM;
	for (size_t at = 0; at < m->loose_count;) {
		size_t left = m->loose_count - at;
		uint32_t count = left < GROUP_MAX ? (uint32_t)left : GROUP_MAX;
		struct group *g = &m->groups[m->group_count];
		g->members = m->loose + at;
		int err = make_group(m, rules, flags, g, count);
		if (err && count > 1)
			err = make_group(m, rules, flags, g, 1);
		if (err)
			return err;
		m->group_count++;
		at += g->count;
	}
	return 0;
}

static int allocate(struct filter_matcher *m, size_t count)
{
	m->patterns = calloc(count + 1, sizeof *m->patterns);
	m->loose = calloc(count + 1, sizeof *m->loose);
	m->found = calloc(count + 1, sizeof *m->found);
	m->seen = calloc(count + 1, sizeof *m->seen);
	return m->patterns && m->loose && m->found && m->seen ? regex_scratch_create(&m->scratch) : ERR_NOMEM;
}

int filter_matcher_create(struct span file, const struct filter_rule *rules, size_t count, enum filter_kind kind, struct rules_diags *diags,
			  struct filter_matcher **out)
{
	struct filter_matcher *m = calloc(1, sizeof *m);
	struct texts texts = { NULL, 0, 0 };
	size_t wanted = 0;
	if (!m)
		return ERR_NOMEM;
	m->is_utf = kind != FILTER_LINE;
	int err = allocate(m, count);
	for (size_t i = 0; !err && i < count; i++)
		if (rules[i].kind == kind) {
			wanted++;
			err = compile_one(m, file, &rules[i], kind, &texts, diags);
		}
	if (!err && m->count < wanted)
		err = ERR_SYNTAX;
	if (!err)
		err = make_groups(m, rules);
	if (!err)
		err = filter_index_create(texts.items, texts.count, &m->index);
	free(texts.items);
	if (err)
		filter_matcher_destroy(&m);
	else
		*out = m;
	return err;
}

/* ---- matching */

/* One line of a block. */
struct line {
	size_t begin, end; /* in the block; the end is behind its LF */
	struct regex_piece piece;
};

static struct line line_at(const struct filter_block *block, size_t begin)
{
	size_t end = span_find(block->bytes, '\n', begin);
	bool is_ended = end < block->bytes.len;
	struct line line = { .begin = begin, .end = is_ended ? end + 1 : end };
	struct span text = span_sub(block->bytes, begin, end);
	line.piece.is_line_begin = begin > 0 || block->is_line_begin;
	line.piece.is_line_end = is_ended || block->is_line_end;
	if (line.piece.is_line_end && text.len && text.ptr[text.len - 1] == '\r')
		text.len--;
	if (block->is_wire && line.piece.is_line_begin && text.len && text.ptr[0] == '.')
		text = span_sub(text, 1, text.len);
	line.piece.from = line.piece.is_line_begin || block->from > text.len ? 0 : block->from;
	line.piece.text = text;
	return line;
}

/* One run: what stands in filter_matcher_run's arguments. */
struct run {
	struct filter_matcher *matcher;
	const struct filter_block *block;
	struct filter_place *place;
	struct filter_work *work;
};

static void take(struct run *run, size_t line, uint32_t pattern)
{
	run->place->is_found = true;
	run->place->found_line = line;
	run->place->found = pattern;
}

/* TRI_PENDING: it was not made, the slice is used up or the work over. */
static enum tri compare(struct run *run, uint32_t number, const struct line *line)
{
	const struct pattern *p = &run->matcher->patterns[number];
	if (filter_work_has_dropped(run->work, p->line))
		return TRI_FALSE;
	if (!filter_work_goes_on(run->work))
		return TRI_PENDING;
	enum tri result = regex_match_piece(p->regex, &line->piece);
	if (result != TRI_UNKNOWN)
		return result;
	filter_work_drop(run->work, p->line);
	return TRI_FALSE;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

/* The patterns whose texts were found on the line, from place->pattern on.  As compare. */
static enum tri compare_found(struct run *run, const struct line *line)
{
	struct filter_matcher *m = run->matcher;
	struct filter_place *place = run->place;
	enum tri result = TRI_FALSE;
	if (m->found_count == 0)
		return TRI_FALSE;
	if (m->found_count > 1)
		qsort(m->found, m->found_count, sizeof *m->found, by_number);
	place->line = line->begin;
	for (size_t i = 0; i < m->found_count && result == TRI_FALSE; i++) {
		if (m->found[i] < place->pattern)
			continue;
		place->pattern = m->found[i];
		result = compare(run, m->found[i], line);
	}
	if (result == TRI_TRUE)
		take(run, line->begin, place->pattern);
	if (result == TRI_FALSE)
		place->pattern = 0;
	return result;
}

static void next_line_number(struct filter_matcher *m)
{
	m->found_count = 0;
	if (++m->line_number != 0)
		return;
	memset(m->seen, 0, m->count * sizeof *m->seen);
	m->line_number = 1;
}

static void add_found(struct filter_matcher *m, uint32_t number)
{
	if (m->seen[number] == m->line_number)
		return;
	m->seen[number] = m->line_number;
	m->found[m->found_count++] = number;
}

static size_t begin_of_line(struct span bytes, size_t at, size_t not_before)
{
	const char *lf = memrchr(bytes.ptr + not_before, '\n', at - not_before);
	return lf ? (size_t)(lf + 1 - bytes.ptr) : not_before;
}

static bool is_ascii(struct span bytes)
{
	unsigned char all = 0;
	for (size_t i = 0; i < bytes.len; i++)
		all |= (unsigned char)bytes.ptr[i];
	return all < 0x80;
}

/* A copy of the same length, where letters are the same that are equal. */
static bool fold(struct filter_matcher *m, struct span bytes, struct span *out)
{
	*out = bytes;
	if (!m->is_utf || is_ascii(bytes))
		return true;
	buf_clear(&m->folded);
	if (buf_append_span(&m->folded, bytes) != 0)
		return false;
	filter_fold(m->folded.data, m->folded.len);
	*out = buf_span(&m->folded);
	return true;
}

/* All patterns that demand a text.  TRI_PENDING: not to the end. */
static enum tri run_demanding(struct run *run)
{
	struct filter_matcher *m = run->matcher;
	const size_t from = run->place->line;
	struct filter_index_pass pass;
	struct filter_find find;
	struct line line = { .end = from };
	struct span bytes;
	enum tri result = TRI_FALSE;
	if (!fold(m, span_sub(run->block->bytes, from, run->block->bytes.len), &bytes)) {
		filter_work_fail(run->work, "out of memory");
		return TRI_PENDING;
	}
	next_line_number(m);
	filter_index_start(m->index, &pass, bytes);
	while (filter_index_next(m->index, &pass, &find)) {
		size_t at = from + find.at;
		if (at >= line.end) {
			result = compare_found(run, &line);
			if (result != TRI_FALSE)
				return result;
			next_line_number(m);
			line = line_at(run->block, begin_of_line(run->block->bytes, at, line.end));
		}
		add_found(m, find.id);
	}
	return compare_found(run, &line);
}

/* The members of a group that stand in front of `below`, from place->member on. */
static enum tri compare_members(struct run *run, const struct group *g, uint32_t below, const struct line *line)
{
	enum tri result = TRI_FALSE;
	uint32_t i = run->place->member;
	for (; i < g->count && g->members[i] < below; i++) {
		run->place->member = i;
		result = compare(run, g->members[i], line);
		if (result != TRI_FALSE)
			break;
	}
	if (result == TRI_TRUE)
		take(run, line->begin, g->members[i]);
	return result;
}

/* The first pattern of a group that matches, if it stands in front of `below`. */
static enum tri compare_group(struct run *run, const struct group *g, uint32_t below, const struct line *line)
{
	struct filter_place *place = run->place;
	if (g->members[0] >= below)
		return TRI_FALSE;
	if (!place->is_in_group && g->count > 1 && !filter_work_has_spoiled(run->work, g)) {
		if (!filter_work_goes_on(run->work))
			return TRI_PENDING;
		enum tri any = regex_match_piece(g->regex, &line->piece);
		if (any == TRI_FALSE)
			return TRI_FALSE;
		if (any == TRI_UNKNOWN)
			filter_work_spoil(run->work, g);
	}
	place->is_in_group = true;
	unsigned dropped = run->work->dropped_count;
	enum tri result = compare_members(run, g, below, line);
	/* The group knows nothing of patterns that are not tried any more: they would say yes, or take long, again. */
	if (run->work->dropped_count > dropped)
		filter_work_spoil(run->work, g);
	if (result != TRI_PENDING) {
		place->is_in_group = false;
		place->member = 0;
	}
	return result;
}

/* All others, up to the line that was found already, where only an earlier pattern counts.  TRI_PENDING: not to the end. */
static enum tri run_loose(struct run *run)
{
	const struct filter_matcher *m = run->matcher;
	struct filter_place *place = run->place;
	while (place->line < run->block->bytes.len && (!place->is_found || place->line <= place->found_line)) {
		struct line line = line_at(run->block, place->line);
		/* The groups are in the order of their first members, not of all. */
		for (; place->group < m->group_count; place->group++) {
			uint32_t below = place->is_found && place->found_line == place->line ? place->found : UINT32_MAX;
			if (compare_group(run, &m->groups[place->group], below, &line) == TRI_PENDING)
				return TRI_PENDING;
		}
		place->group = 0;
		place->line = line.end;
	}
	return TRI_FALSE;
}

static enum tri run_all(struct run *run)
{
	const struct filter_matcher *m = run->matcher;
	struct filter_place *place = run->place;
	if (!place->is_loose && m->loose_count < m->count && run_demanding(run) == TRI_PENDING)
		return TRI_PENDING;
	if (!place->is_loose)
		place->line = 0;
	place->is_loose = true;
	return m->group_count ? run_loose(run) : TRI_FALSE;
}

enum filter_run filter_matcher_run(struct filter_matcher *m, const struct filter_block *block, struct filter_place *place, struct filter_work *work,
				   struct filter_match *out)
{
	struct run run = { m, block, place, work };
	if (m->count == 0 || work->is_over || block->bytes.len == 0)
		return FILTER_RUN_OVER;
	filter_work_begin(work);
	enum tri result = run_all(&run);
	filter_work_end(work);
	if (result == TRI_PENDING && !work->is_over)
		return FILTER_RUN_PAUSED;
	if (!place->is_found)
		return FILTER_RUN_OVER;
	const struct line line = line_at(block, place->found_line);
	*out = (struct filter_match){ m->patterns[place->found].line, line.piece.text };
	return FILTER_RUN_MATCH;
}

struct filter_matcher_size filter_matcher_measure(const struct filter_matcher *m)
{
	return (struct filter_matcher_size){ m->count, m->loose_count, filter_index_bytes(m->index) };
}

void filter_matcher_destroy(struct filter_matcher **matcher)
{
	struct filter_matcher *m = *matcher;
	*matcher = NULL;
	if (!m)
		return;
	for (size_t i = 0; i < m->group_count; i++)
		regex_destroy(&m->groups[i].regex);
	for (size_t i = 0; m->patterns && i < m->count; i++)
		regex_destroy(&m->patterns[i].regex);
	filter_index_destroy(&m->index);
	regex_scratch_destroy(&m->scratch);
	buf_free(&m->folded);
	free(m->groups);
	free(m->loose);
	free(m->patterns);
	free(m->found);
	free(m->seen);
	free(m);
}
