#include "rules_parse.h"

#include "err.h"
#include "rules_lex.h"

struct parser {
	struct rules_ast *ast;
	struct rules_diags *diags;
	const struct lex_line *line;
};

#define ERROR_AT(p, ptr, ...) report(p, RULES_ERROR, ptr, __VA_ARGS__)
#define report(p, severity, ptr, ...)                                              \
	do {                                                                       \
		struct rules_place place_ = lex_place((p)->line, ptr);             \
		rules_diag_add((p)->diags, severity, &place_, __VA_ARGS__);        \
	} while (0)

static struct ast_part *add_part(struct parser *p, struct ast_list *list, struct ast_part *after)
{
	struct ast_part *part = arena_alloc(&p->ast->arena, sizeof *part);
	if (!part)
		return NULL;
	if (after)
		after->next = part;
	else
		list->parts = part;
	list->part_count++;
	return part;
}

static int parse_list(struct parser *p, enum rules_list which, struct span text, struct ast_list *list)
{
	struct span rest = text, word;
	struct ast_word **tail = NULL;
	struct ast_part *part = add_part(p, list, NULL);
	if (!part)
		return ERR_NOMEM;
	tail = &part->words;
	while (lex_word(&rest, &word)) {
		if (span_eq_nocase(word, SPAN_LIT("EXCEPT"))) {
			if (part->word_count == 0)
				ERROR_AT(p, word.ptr, "EXCEPT without patterns before it");
			if (list->part_count >= RULES_EXCEPT_MAX) {
				ERROR_AT(p, word.ptr, "too many EXCEPT in one list: expected at most %u", RULES_EXCEPT_MAX - 1);
				return 0;
			}
			part = add_part(p, list, part);
			if (!part)
				return ERR_NOMEM;
			tail = &part->words;
			continue;
		}
		struct ast_word *w = arena_alloc(&p->ast->arena, sizeof *w);
		if (!w)
			return ERR_NOMEM;
		w->text = word;
		w->place = lex_place(p->line, word.ptr);
		*tail = w;
		tail = &w->next;
		part->word_count++;
	}
	if (part->word_count == 0 && list->part_count > 1)
		ERROR_AT(p, text.ptr, "the %s list ends with EXCEPT: expected patterns after it", rules_list_name(which));
	else if (part->word_count == 0)
		ERROR_AT(p, text.ptr, "the %s list is empty: expected patterns, or ALL", rules_list_name(which));
	return 0;
}

static void set_word(struct parser *p, struct ast_word *word, struct span text)
{
	word->text = text;
	word->place = lex_place(p->line, text.ptr);
}

static int parse_access(struct parser *p, struct ast_rule *rule, const struct span *fields, uint32_t count)
{
	if (count < 2 || fields[1].len == 0)
		ERROR_AT(p, fields[0].ptr, "access without a file: expected access:/path");
	else if (count > 2 && !(fields[2].len && fields[2].ptr[0] == '#'))
		ERROR_AT(p, fields[2].ptr, "unexpected '%.*s': expected nothing behind access:/path", SPAN_FMT(span_sub(fields[2], 0, 60)));
	else
		set_word(p, &rule->access_path, fields[1]);
	return 0;
}

static bool is_comment(struct span field)
{
	return field.len && field.ptr[0] == '#';
}

static int parse_lists(struct parser *p, struct ast_rule *rule, const struct span *fields, uint32_t count)
{
	static const struct span all = { "ALL", 3 };
	int err = 0;
	if (count < 3) {
		ERROR_AT(p, fields[0].ptr, "%s: expected action:source:from:to[:message]",
			 count == 1 ? "a line without ':'" : "only two fields");
		return 0;
	}
	for (uint32_t i = 0; i < 2 && !err; i++)
		err = parse_list(p, (enum rules_list)i, fields[i + 1], &rule->lists[i]);
	if (err)
		return err;
	if (count == 3) {
		report(p, RULES_WARNING, fields[0].ptr, "three fields: the to list is taken as ALL");
		struct ast_part *part = add_part(p, &rule->lists[RULES_LIST_TO], NULL);
		struct ast_word *word = part ? arena_alloc(&p->ast->arena, sizeof *word) : NULL;
		if (!word)
			return ERR_NOMEM;
		*word = (struct ast_word){ .text = all, .place = rule->place };
		part->words = word;
		part->word_count = 1;
		return 0;
	}
	err = parse_list(p, RULES_LIST_TO, fields[3], &rule->lists[RULES_LIST_TO]);
	if (err || count == 4 || is_comment(fields[4]))
		return err;
	if (count > 5 && !is_comment(fields[5]))
		ERROR_AT(p, fields[5].ptr, "unexpected field behind the message: expected the end of the line (a colon is written %%C)");
	if (fields[4].len)
		set_word(p, &rule->message, fields[4]);
	return 0;
}

static int parse_line(struct parser *p)
{
	struct span fields[RULES_FIELDS_MAX];
	struct reason why;
	struct span text = span_trim(p->line->text);
	if (text.len == 0 || text.ptr[0] == '#')
		return 0;
	if (memchr(text.ptr, 0, text.len)) {
		ERROR_AT(p, (const char *)memchr(text.ptr, 0, text.len), "a NUL byte: expected text");
		return 0;
	}
	uint32_t count = lex_fields(text, fields);
	struct ast_rule *rule = arena_alloc(&p->ast->arena, sizeof *rule);
	if (!rule)
		return ERR_NOMEM;
	rule->place = lex_place(p->line, text.ptr);
	rule->action_text = fields[0];
	bool has_action = rules_action_parse(fields[0], &rule->action, &why) == 0;
	/* A line of plain text is one error, not two. */
	if (!has_action && count > 1)
		ERROR_AT(p, fields[0].ptr, "%s", why.text);
	bool is_access = has_action && rule->action.kind == ACTION_ACCESS;
	int err = is_access ? parse_access(p, rule, fields, count) : parse_lists(p, rule, fields, count);
	if (p->ast->last)
		p->ast->last->next = rule;
	else
		p->ast->first = rule;
	p->ast->last = rule;
	p->ast->rule_count++;
	return err;
}

int rules_parse(struct span name, struct span text, struct rules_diags *diags, struct rules_ast *out)
{
	struct rules_lex lex = { .file = name, .rest = text, .arena = &out->arena, .diags = diags };
	struct parser p = { .ast = out, .diags = diags };
	struct lex_line line;
	int err;
	*out = (struct rules_ast){ 0 };
	while ((err = rules_lex_next(&lex, &line)) == 0) {
		p.line = &line;
		err = parse_line(&p);
		if (err)
			break;
	}
	if (err == ERR_EOF)
		return 0;
	rules_ast_free(out);
	return err;
}
