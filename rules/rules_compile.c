#include <stdlib.h>

#include "rules_access.h"
#include "rules_parse.h"
#include "rules_set.h"

struct compiler {
	struct rules *rules;
	struct rules_diags *diags;
	struct pattern_builder builder;
};

/* Words are spans into the source; only those of joined lines live in the tree, which goes away, and have to be copied. */
static struct span own_word(struct compiler *c, struct span word)
{
	struct span text = rules_source_get(c->rules->source, 0)->text;
	uintptr_t at = (uintptr_t)word.ptr, begin = (uintptr_t)text.ptr;
	return at >= begin && at < begin + text.len ? word : arena_copy(&c->rules->arena, word);
}

static int compile_part(struct compiler *c, enum pattern_where where, const struct ast_part *part, struct pattern_set *set)
{
	set->items = arena_alloc(&c->rules->arena, part->word_count * sizeof *set->items);
	if (!set->items)
		return ERR_NOMEM;
	for (const struct ast_word *word = part->words; word; word = word->next) {
		struct span text = own_word(c, word->text);
		int err = text.ptr ? pattern_parse(&c->builder, where, text, &word->place, &set->items[set->count]) : ERR_NOMEM;
		if (err == ERR_NOMEM)
			return err;
		if (!err)
			set->count++;
	}
	pattern_set_finish(set);
	return 0;
}

static int compile_list(struct compiler *c, enum pattern_where where, const struct ast_list *ast, struct rule_list *list)
{
	list->parts = arena_alloc(&c->rules->arena, ast->part_count * sizeof *list->parts);
	if (!list->parts)
		return ERR_NOMEM;
	for (const struct ast_part *part = ast->parts; part; part = part->next) {
		struct pattern_set *set = &list->parts[list->part_count++];
		int err = compile_part(c, where, part, set);
		if (err)
			return err;
		list->facts |= set->facts;
	}
	return 0;
}

static int compile_message(struct compiler *c, const struct ast_rule *ast, struct rule *rule)
{
	struct reason why;
	size_t at = 0;
	rule->message = &c->rules->default_message;
	if (!ast->message.text.ptr)
		return 0;
	if (rule->action.kind == ACTION_ALLOW || rule->action.kind == ACTION_PASS || rule->action.kind == ACTION_DEBUG ||
	    rule->action.kind == ACTION_MARK)
		rules_diag_add(c->diags, RULES_WARNING, &ast->message.place, "the message of an %.*s rule is never sent",
			       SPAN_FMT(rule->action_text));
	struct rules_message *message = arena_alloc(&c->rules->arena, sizeof *message);
	if (!message)
		return ERR_NOMEM;
	int err = rules_message_parse(&c->rules->arena, ast->message.text, message, &at, &why);
	if (err == ERR_SYNTAX) {
		struct rules_place place = ast->message.place;
		place.column += (uint32_t)at;
		rules_diag_add(c->diags, RULES_ERROR, &place, "%s", why.text);
		return 0;
	}
	rule->message = message;
	return err;
}

/* The table of that file; NULL in *out when it can't be used, which was reported. */
static int access_file(struct compiler *c, const struct ast_word *path, const struct access_table **out)
{
	struct rules *rules = c->rules;
	const struct rules_source_file *file = rules_source_find(rules->source, path->text);
	for (const struct rules_access_file *known = rules->access_files; known; known = known->next)
		if (span_eq(known->path, path->text)) {
			*out = known->table;
			return 0;
		}
	if (!file || file->failure.len) {
		rules_diag_add(c->diags, RULES_ERROR, &path->place, "access table '%.*s': %.*s", SPAN_FMT(path->text),
			       SPAN_FMT(file ? file->failure : SPAN_LIT("not read")));
		return 0;
	}
	struct rules_access_file *access = arena_alloc(&rules->arena, sizeof *access);
	if (!access)
		return ERR_NOMEM;
	access->path = file->path;
	access->next = rules->access_files;
	rules->access_files = access;
	int err = access_table_build(&rules->arena, file, c->diags, &access->table);
	*out = access->table;
	return err == ERR_NOMEM ? err : 0;
}

static int compile_access(struct compiler *c, const struct ast_rule *ast, struct rule *rule)
{
	const struct ast_word *path = &ast->access_path;
	if (!path->text.ptr)
		return 0; /* reported by the parser */
	int err = access_file(c, path, &rule->access);
	if (!err && rule->access && access_needs_name(rule->access))
		c->rules->facts |= 1u << FACT_NAME;
	return err;
}

static int compile_rule(struct compiler *c, const struct ast_rule *ast, struct rule *rule)
{
	static const enum pattern_where where[RULES_LIST_COUNT] = { WHERE_SOURCE, WHERE_FROM, WHERE_TO };
	int err = 0;
	rule->line = ast->place.line;
	rule->action = ast->action;
	rule->action_text = arena_copy(&c->rules->arena, ast->action_text);
	if (!rule->action_text.ptr)
		return ERR_NOMEM;
	if (rule->action.kind == ACTION_ACCESS)
		return compile_access(c, ast, rule);
	for (int i = 0; i < RULES_LIST_COUNT && !err; i++)
		err = compile_list(c, where[i], &ast->lists[i], &rule->lists[i]);
	if (!err)
		err = compile_message(c, ast, rule);
	for (int i = 0; i < RULES_LIST_COUNT; i++)
		c->rules->facts |= rule->lists[i].facts;
	return err;
}

static int compile_all(struct compiler *c, const struct rules_ast *ast)
{
	struct rules *rules = c->rules;
	struct reason why;
	size_t at;
	int err = rules_message_parse(&rules->arena, SPAN_LIT(MESSAGE_DEFAULT), &rules->default_message, &at, &why);
	rules->items = arena_alloc(&rules->arena, ast->rule_count * sizeof *rules->items);
	if (!rules->items)
		return ERR_NOMEM;
	for (const struct ast_rule *rule = ast->first; rule && !err; rule = rule->next)
		err = compile_rule(c, rule, &rules->items[rules->count++]);
	if (!err)
		err = candidates_build(&rules->arena, rules->items, rules->count, &rules->candidates);
	if (!err)
		err = rules_prefetch_build(rules);
	return err ? err : rules_syn_lists_build(rules);
}

int rules_compile(struct rules_source *source, const struct rules_options *options, struct rules_diags *diags, struct rules **out)
{
	const struct rules_source_file *file = rules_source_get(source, 0);
	struct rules_diags own = { 0 };
	struct rules_ast ast = { 0 };
	struct rules *rules = calloc(1, sizeof *rules);
	if (!rules)
		return ERR_NOMEM;
	/* Whether a caller wants to read them or not, errors are counted. */
	struct rules_diags *counted = diags ? diags : &own;
	uint32_t errors_before = counted->errors;
	atomic_init(&rules->holders, 1);
	rules->source = rules_source_hold(source);
	rules->options = *options;
	struct compiler c = { .rules = rules, .diags = counted };
	c.builder = (struct pattern_builder){
		.arena = &rules->arena, .source = source, .diags = counted, .regexes = &rules->regexes, .files = &rules->files
	};
	int err = rules_parse(file->path, file->text, counted, &ast);
	if (!err)
		err = compile_all(&c, &ast);
	if (!err && counted->errors > errors_before)
		err = ERR_SYNTAX;
	rules_ast_free(&ast);
	rules_diags_free(&own);
	if (err)
		rules_release(&rules);
	else
		*out = rules;
	return err;
}
