/* rules_action.h - the actions of the rule language: one table.  A new action is a new line there.
 * `dry-run` and a space may stand in front of an action whose outcome could be tried: the rule is judged, told of, and passed by.
 * Actions that are marked joinable and are of the same kind can be joined with `|`; their needs are united.
 */
#ifndef POSTERN_RULES_ACTION_H
#define POSTERN_RULES_ACTION_H

#include <stdbool.h>
#include <stdint.h>

#include "err.h"
#include "mark_value.h"
#include "span.h"

enum action_kind { ACTION_ALLOW, ACTION_DENY, ACTION_NOTO, ACTION_DEBUG, ACTION_ACCESS, ACTION_DROP, ACTION_PASS, ACTION_MARK };
enum action_delay { DELAY_NONE, DELAY_DENY, DELAY_NOTO };

struct rules_action {
	enum action_kind kind;
	enum action_delay delay; /* which of the configured delays */
	uint32_t needs;          /* enum verdict_need bits */
	bool is_tarpit;          /* the reply is to be stuttered */
	bool is_dry_run;         /* never the outcome: only what it would have been is told */
	struct mark_value mark;  /* ACTION_MARK */
};

/* False for a rule that only tells or marks something: the next one is asked, whatever it says. */
static inline bool rules_action_decides(const struct rules_action *action)
{
	return action->kind != ACTION_DEBUG && action->kind != ACTION_MARK && !action->is_dry_run;
}

/* The action field of a line, "allow-extchk|allow-filter" or "dry-run deny".  ERR_SYNTAX with what was found and what was expected. */
int rules_action_parse(struct span text, struct rules_action *out, struct reason *why);

#endif
