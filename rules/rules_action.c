#include "rules_action.h"

#include <stdio.h>
#include <string.h>

#include "rules.h"

struct action_def {
	const char *name;
	struct rules_action action;
	bool is_joinable;
};

static const struct action_def actions[] = {
	{ "allow", { ACTION_ALLOW, DELAY_NONE, 0 }, true },
	{ "deny", { ACTION_DENY, DELAY_NONE, 0 }, false },
	{ "noto", { ACTION_NOTO, DELAY_NONE, 0 }, false },
	{ "deny_delay", { ACTION_DENY, DELAY_DENY, 0 }, false },
	{ "noto_delay", { ACTION_NOTO, DELAY_NOTO, 0 }, false },
	{ "debug", { ACTION_DEBUG, DELAY_NONE, 0 }, false },
	{ "allow-filter", { ACTION_ALLOW, DELAY_NONE, NEED_FILTER }, true },
	{ "allow-extchk", { ACTION_ALLOW, DELAY_NONE, NEED_EXTCHK }, true },
	{ "access", { ACTION_ACCESS, DELAY_NONE, 0 }, false },
};

#define ACTION_COUNT (sizeof actions / sizeof actions[0])

static const struct action_def *find(struct span name)
{
	for (size_t i = 0; i < ACTION_COUNT; i++)
		if (span_eq_nocase(name, span_of(actions[i].name)))
			return &actions[i];
	return NULL;
}

static int expected(struct reason *why, struct span found)
{
	char names[160] = "";
	size_t len = 0;
	for (size_t i = 0; i < ACTION_COUNT; i++)
		len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", i ? ", " : "", actions[i].name);
	return reason_set(why, ERR_SYNTAX, "unknown action '%.*s': expected one of %s", SPAN_FMT(span_sub(found, 0, 60)), names);
}

int rules_action_parse(struct span text, struct rules_action *out, struct reason *why)
{
	struct rules_action joined = { 0 };
	struct span rest = text, name;
	unsigned count = 0;
	bool all_joinable = true;
	if (!rest.ptr)
		return expected(why, text);
	while (span_cut(&rest, '|', &name)) {
		name = span_trim(name);
		const struct action_def *def = find(name);
		if (!def)
			return expected(why, name);
		all_joinable = all_joinable && def->is_joinable;
		if (count++ == 0)
			joined = def->action;
		else if (!all_joinable || def->action.kind != joined.kind)
			return reason_set(why, ERR_SYNTAX, "'%s' can't be joined with '|': expected only allow, allow-filter, allow-extchk",
					  def->name);
		joined.needs |= def->action.needs;
	}
	*out = joined;
	return 0;
}
