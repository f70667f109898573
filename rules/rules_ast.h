/* rules_ast.h - a rule file as it was written: lines, actions, lists of words.  No meaning yet.
 * Owns: all of it lives in one arena, until rules_ast_free.  Borrows: the text it was parsed from (words that lie in one piece there
 * are spans into it).
 */
#ifndef POSTERN_RULES_AST_H
#define POSTERN_RULES_AST_H

#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "rules.h"
#include "rules_action.h"
#include "rules_diag.h"
#include "span.h"

struct ast_word {
	struct ast_word *next;
	struct span text;
	struct rules_place place;
};

/* The words between two EXCEPTs. */
struct ast_part {
	struct ast_part *next;
	struct ast_word *words;
	uint32_t word_count;
};

/* `A EXCEPT B EXCEPT C`: three parts. */
struct ast_list {
	struct ast_part *parts;
	uint32_t part_count;
};

struct ast_rule {
	struct ast_rule *next;
	struct rules_place place;
	struct span action_text;
	struct rules_action action;
	struct ast_list lists[RULES_LIST_COUNT]; /* no parts at all in an `access` rule */
	struct ast_word message;                 /* text.ptr NULL: none */
	struct ast_word access_path;             /* text.ptr NULL: none */
};

struct rules_ast {
	struct arena arena;
	struct ast_rule *first, *last;
	uint32_t rule_count;
};

/* The file that a word names (FILE=path), or false. */
bool ast_word_names_file(const struct ast_word *word, struct span *path_out);

void rules_ast_free(struct rules_ast *ast);

#endif
