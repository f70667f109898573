#include "rules_action.h"

#include <stdio.h>
#include <string.h>

#include "rules.h"

struct action_def {
	const char *name;
	struct rules_action action;
	bool is_joinable;
	bool is_triable; /* may stand behind dry-run */
};

static const struct action_def actions[] = {
	{ "allow", { .kind = ACTION_ALLOW }, true, true },
	{ "deny", { .kind = ACTION_DENY }, false, true },
	{ "noto", { .kind = ACTION_NOTO }, false, true },
	{ "deny_delay", { .kind = ACTION_DENY, .delay = DELAY_DENY }, false, true },
	{ "noto_delay", { .kind = ACTION_NOTO, .delay = DELAY_NOTO }, false, true },
	{ "tarpit", { .kind = ACTION_DENY, .is_tarpit = true }, false, true },
	{ "debug", { .kind = ACTION_DEBUG }, false, false },
	{ "allow-filter", { .kind = ACTION_ALLOW, .needs = NEED_FILTER }, true, true },
	{ "allow-extchk", { .kind = ACTION_ALLOW, .needs = NEED_EXTCHK }, true, true },
	{ "allow-milter", { .kind = ACTION_ALLOW, .needs = NEED_MILTER }, true, true },
	{ "access", { .kind = ACTION_ACCESS }, false, true },
	{ "drop", { .kind = ACTION_DROP }, false, true },
	{ "pass", { .kind = ACTION_PASS }, false, true },
	{ "mark=", { .kind = ACTION_MARK }, false, false },
};

#define ACTION_COUNT (sizeof actions / sizeof actions[0])

static const struct action_def *find(struct span name)
{
	for (size_t i = 0; i < ACTION_COUNT; i++)
		if (span_eq_nocase(name, span_of(actions[i].name)) ||
		    (actions[i].action.kind == ACTION_MARK && span_starts_nocase(name, span_of(actions[i].name))))
			return &actions[i];
	return NULL;
}

static int expected(struct reason *why, struct span found)
{
	char names[256] = "";
	size_t len = 0;
	for (size_t i = 0; i < ACTION_COUNT; i++)
		len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", i ? ", " : "", actions[i].name);
	return reason_set(why, ERR_SYNTAX, "unknown action '%.*s': expected one of %s", SPAN_FMT(span_sub(found, 0, 60)), names);
}

/* Cuts "dry-run" and the space behind it off. */
static bool take_dry_run(struct span *text)
{
	static const struct span prefix = SPAN_LIT("dry-run");
	if (!span_starts_nocase(*text, prefix) || text->len == prefix.len || !strchr(" \t", text->ptr[prefix.len]))
		return false;
	*text = span_trim(span_sub(*text, prefix.len, text->len));
	return true;
}

int rules_action_parse(struct span text, struct rules_action *out, struct reason *why)
{
	struct rules_action joined = { 0 };
	struct span rest = text, name;
	bool is_dry_run = take_dry_run(&rest);
	unsigned count = 0;
	bool all_joinable = true;
	if (!rest.ptr)
		return expected(why, text);
	while (span_cut(&rest, '|', &name)) {
		name = span_trim(name);
		const struct action_def *def = find(name);
		if (!def)
			return expected(why, name);
		if (is_dry_run && !def->is_triable)
			return reason_set(why, ERR_SYNTAX, "'%s' can't stand behind dry-run: it has no outcome to try", def->name);
		all_joinable = all_joinable && def->is_joinable;
		if (count++ == 0)
			joined = def->action;
		else if (!all_joinable || def->action.kind != joined.kind)
			return reason_set(why, ERR_SYNTAX, "'%s' can't be joined with '|': expected only allow, allow-filter, allow-extchk, allow-milter",
					  def->name);
		joined.needs |= def->action.needs;
		if (def->action.kind == ACTION_MARK && mark_value_parse(span_sub(name, strlen(def->name), name.len), &joined.mark, why))
			return reason_prefix(why, ERR_SYNTAX, "mark=");
	}
	joined.is_dry_run = is_dry_run;
	*out = joined;
	return 0;
}
