#include "rules_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

enum world_answer world_listed(const struct world *world, enum fact_kind kind, struct span zone, struct span subject)
{
	unsigned digit = zone.len ? (unsigned char)zone.ptr[zone.len - 1] : 0;
	if (kind == FACT_RHS && subject.len)
		digit += (unsigned char)subject.ptr[0];
	return world->listed[digit % 8];
}

void world_settle(const struct world *world, struct rules_facts *facts, const struct fact *fact)
{
	struct addr listed = { .family = ADDR_V4, .bytes = { 127, 0, 0, 2 } };
	struct fact_value value = { .addrs = &listed, .addr_count = 1 };
	enum world_answer answer = WORLD_FAILED;
	if (fact->key.kind == FACT_NAME) {
		answer = world->name;
		value.text = span_of(world->name_text);
	} else if (fact->key.kind == FACT_IDENT) {
		answer = world->ident;
		value.text = span_of(world->ident_text);
	} else if (fact->key.kind == FACT_RBL || fact->key.kind == FACT_RHS) {
		answer = world_listed(world, fact->key.kind, fact->key.zone, fact->key.subject);
	}
	int err = answer == WORLD_PRESENT ? facts_settle_present(facts, fact->id, &value) :
		  answer == WORLD_ABSENT  ? facts_settle_absent(facts, fact->id, SPAN_NONE) :
					    facts_settle_failed(facts, fact->id, SPAN_LIT("time-out"));
	assert_int_equal(err, 0);
}

struct rules *world_compile(const char *text, const struct rules_options *options)
{
	struct rules_source *source = NULL;
	struct rules *rules = NULL;
	struct rules_diags diags = { 0 };
	char line[RULES_DIAG_LINE_CAP];
	assert_int_equal(rules_source_from_text(SPAN_LIT("rules"), span_of(text), &source), 0);
	int err = rules_compile(source, options, &diags, &rules);
	for (const struct rules_diag *d = diags.first; d && err; d = d->next)
		print_error("%s\n", rules_diag_format(d, line));
	assert_int_equal(err, 0);
	rules_diags_free(&diags);
	rules_source_release(&source);
	return rules;
}

void world_judge(const struct world *world, struct rules *rules, const struct rules_client *client, const char *from, const char *to,
		 struct rules_verdict *out)
{
	struct rules_facts facts = { .client = *client };
	struct rules_eval eval;
	const struct fact *fact;
	rules_eval_start(&eval, rules, &facts, span_of(from), span_of(to), NULL);
	while (rules_eval_run(&eval, out) == STEP_WAIT) {
		assert_non_null(facts_next_unasked(&facts, 0));
		while ((fact = facts_next_unasked(&facts, 0)) != NULL)
			world_settle(world, &facts, fact);
	}
	rules_eval_end(&eval);
	facts_free(&facts);
}
