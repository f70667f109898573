#include "rules_ast.h"

bool ast_word_names_file(const struct ast_word *word, struct span *path_out)
{
	static const struct span prefix = { "FILE=", 5 };
	if (word->text.len <= prefix.len || !span_eq(span_sub(word->text, 0, prefix.len), prefix))
		return false;
	*path_out = span_sub(word->text, prefix.len, word->text.len);
	return true;
}

void rules_ast_free(struct rules_ast *ast)
{
	arena_free(&ast->arena);
	*ast = (struct rules_ast){ 0 };
}
